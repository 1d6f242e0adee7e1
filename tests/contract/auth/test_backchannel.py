"""Back-channel logout on each database: a token counts once, but only when what it says was done."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.governing import Governor
from audit.tables import AUDIT_ENTRY
from gateway.auth.backchannel import BackChannel, LogoutTokens
from gateway.auth.principal import Principal, Role
from gateway.auth.roles import RoleMap
from gateway.auth.session import Sessions, SessionTimes
from gateway.ending.endings import Endings
from gateway.problems import AuditUnavailableProblemError
from tests.unit.auth.test_logout_tokens import KEY, NOW, claims
from tests.unit.auth.tokens_rig import Documents, provider, sign

ALICE = Principal("u-1", "Alice", ("staff",), frozenset({Role.STAFF}), session=True)


class Sent:
    """A request of the provider."""

    def __init__(self, **changes: Any) -> None:
        self.headers = {"content-type": "application/x-www-form-urlencoded"}
        self._token = sign(KEY, claims(**changes))

    async def stream(self) -> AsyncIterator[bytes]:
        yield f"logout_token={self._token}".encode()


class Refusals:
    """Stands where the trail stands."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    async def token_refused(self, request: Any, reason: str) -> None:
        del request
        self.reasons.append(reason)


class Rig:
    def __init__(self, engine: AsyncEngine) -> None:
        self.engine, self.refusals, self.endings = engine, Refusals(), Endings(Governor(engine))
        self.sessions = Sessions(engine, RoleMap("groups", {"staff": "staff"}), SessionTimes(3600, 36_000))
        tokens = LogoutTokens(provider(Documents(KEY)), "attest", lambda: NOW)
        self.back_channel = BackChannel(tokens, self.endings, self.refusals)  # type: ignore[arg-type]

    async def send(self, **changes: Any) -> int:
        return (await self.back_channel.logout(Sent(**changes))).status_code or 0  # type: ignore[arg-type]

    async def ended(self) -> int:
        query = sa.select(sa.func.count()).where(AUDIT_ENTRY.c.kind == "session.ended")
        async with self.engine.connect() as connection:
            return (await connection.execute(query)).scalar_one()


@pytest.fixture
def rig(engine: AsyncEngine) -> Rig:
    return Rig(engine)


async def test_each_counts_once(rig: Rig) -> None:
    assert [await rig.send(), await rig.send(), await rig.send(jti="j-2")] == [200, 400, 200]
    assert rig.refusals.reasons == ["logout_replayed"]
    assert await rig.ended() == 2


@pytest.mark.parametrize("names", [{"sub": None}, {"sid": None}])
async def test_a_logout_that_could_not_be_carried_out_can_be_sent_again(
    rig: Rig, names: dict[str, None], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = await rig.sessions.open(ALICE, "s-1", "t", None)

    async def full(*_: object) -> None:
        raise OSError

    with monkeypatch.context() as broken:
        broken.setattr(rig.endings, "_delete", full)
        with pytest.raises(AuditUnavailableProblemError):
            await rig.send(**names)
    assert await rig.sessions.find(secret)
    assert await rig.send(**names) == 200
    assert await rig.sessions.find(secret) is None
    assert rig.refusals.reasons == []
