"""Keys of service accounts, on each database: one gateway makes them, another recognises them."""

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.governing import GoverningError, Governor, now_us
from audit.tables import AUDIT_ENTRY
from gateway.auth.principal import Role
from gateway.auth.tokens import TokenError
from gateway.keys import tables
from gateway.keys.recognised import RecognisedKeys
from gateway.keys.registry import DAY_S, ApiKeys, NewKey
from gateway.problems import DatabaseUnavailableError

WANTED = NewKey("  nightly   report ", (Role.STAFF,), ("m1",), 30)


class Time:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Rig:
    def __init__(self, engine: AsyncEngine) -> None:
        self.engine, self.time, self.monotonic = engine, Time(), Time()
        self.keys = ApiKeys(Governor(engine), self.time)
        self.recognised = RecognisedKeys(engine, 60, unix_time=self.time, monotonic=self.monotonic)

    async def reason(self, token: str) -> str:
        await self.recognised.refresh()
        try:
            await self.recognised.principal(token)
        except TokenError as error:
            return error.reason
        return ""


@pytest.fixture
def rig(engine: AsyncEngine) -> Rig:
    return Rig(engine)


async def test_a_key_is_its_service_account(rig: Rig) -> None:
    made = await rig.keys.create(WANTED, "cli:root")
    assert made.token not in repr(made)
    principal = await rig.recognised.principal(made.token)
    assert (principal.subject, principal.name) == (f"service:{made.key.key_id}", "nightly report")
    assert (principal.roles, principal.models, principal.session) == (frozenset({Role.STAFF}), ("m1",), False)
    assert principal.may_ask("m1")
    assert not principal.may_ask("m2")
    async with rig.engine.connect() as connection:
        (row,) = (await connection.execute(sa.select(tables.api_key))).all()
        records = (await connection.execute(sa.select(AUDIT_ENTRY.c.leaf))).scalars().all()
    _, _, secret = made.token.split("_", 2)  # the secret itself may have a "_"
    assert secret not in repr(tuple(row))
    assert all(secret.encode() not in bytes(leaf) for leaf in records)


async def test_what_is_no_key_is_refused(rig: Rig) -> None:
    made = await rig.keys.create(WANTED, "ada")
    token = made.token
    for wrong, reason in (
        (token[:-1], "key_malformed"),
        (token + "a", "key_malformed"),
        ("attest_" + "é" * 56, "key_malformed"),
        ("attest_" + "0" * 12 + token[19:], "key_unknown"),
        (token[:-1] + ("a" if token[-1] != "a" else "b"), "key_unknown"),
    ):
        assert await rig.reason(wrong) == reason


async def test_a_rotated_key_counts_twice_for_its_overlap(rig: Rig) -> None:
    first = await rig.keys.create(WANTED, "ada")
    second = await rig.keys.rotate(first.key.key_id, "ada", days=30, overlap_s=3600)
    assert [await rig.reason(made.token) for made in (first, second)] == ["", ""]
    rig.time.now += 3600
    assert [await rig.reason(made.token) for made in (first, second)] == ["key_unknown", ""]
    third = await rig.keys.rotate(first.key.key_id, "ada", days=30, overlap_s=0)
    assert [await rig.reason(made.token) for made in (second, third)] == ["key_unknown", ""]


async def test_a_key_ends(rig: Rig) -> None:
    made = await rig.keys.create(WANTED, "ada")
    rig.time.now += 30 * DAY_S
    assert await rig.reason(made.token) == "key_expired"
    other = await rig.keys.create(WANTED, "ada")
    assert await rig.reason(other.token) == ""
    assert set(await rig.recognised.standing([other.key.key_id, made.key.key_id])) == {other.key.key_id}
    await rig.keys.revoke(other.key.key_id, "ada")
    await rig.keys.revoke(other.key.key_id, "ada")
    assert await rig.reason(other.token) == "key_revoked"
    assert await rig.recognised.standing([other.key.key_id]) == {}
    with pytest.raises(GoverningError):
        await rig.keys.rotate(other.key.key_id, "ada", days=1, overlap_s=0)
    async with rig.engine.connect() as connection:
        kinds = (await connection.execute(sa.select(AUDIT_ENTRY.c.kind).order_by(AUDIT_ENTRY.c.entry_id))).scalars()
        assert list(kinds) == ["api_key.created", "api_key.created", "api_key.revoked"]


async def test_a_change_is_noticed_although_the_clock_went_back(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    revoked, rotated = await rig.keys.create(WANTED, "ada"), await rig.keys.create(WANTED, "ada")
    assert [await rig.reason(made.token) for made in (revoked, rotated)] == ["", ""]
    monkeypatch.setattr("gateway.keys.registry.now_us", lambda: now_us() - 3_600_000_000)
    made = await rig.keys.create(WANTED, "ada")
    await rig.recognised.refresh()
    assert set(await rig.recognised.standing([made.key.key_id])) == {made.key.key_id}
    await rig.keys.revoke(revoked.key.key_id, "ada")
    anew = await rig.keys.rotate(rotated.key.key_id, "ada", days=30, overlap_s=0)
    assert [await rig.reason(made.token) for made in (revoked, rotated, anew)] == ["key_revoked", "key_unknown", ""]
    assert await rig.recognised.standing([revoked.key.key_id]) == {}


async def test_the_last_use_is_written_now_and_then(rig: Rig) -> None:
    made = await rig.keys.create(WANTED, "ada")
    await rig.recognised.principal(made.token)
    await rig.recognised.refresh()
    assert (await rig.keys.listed())[0].last_used_at is None
    rig.monotonic.now += 31
    await rig.recognised.refresh()
    assert (await rig.keys.listed())[0].last_used_at == int(rig.time.now)


@pytest.mark.parametrize(
    "wanted",
    [
        NewKey("", (Role.STAFF,), (), 30),
        NewKey("x" * 101, (Role.STAFF,), (), 30),
        NewKey("a\u202eb", (Role.STAFF,), (), 30),
        NewKey("a", (), (), 30),
        NewKey("a", (Role.STAFF,), ("",), 30),
        NewKey("a", (Role.STAFF,), ("m",) * 51, 30),
        NewKey("a", (Role.STAFF,), (), 0),
        NewKey("a", (Role.STAFF,), (), 367),
    ],
)
async def test_a_key_that_cannot_be_is_refused(rig: Rig, wanted: NewKey) -> None:
    with pytest.raises(GoverningError):
        await rig.keys.create(wanted, "ada")
    assert await rig.keys.listed() == ()


async def test_a_list_that_is_too_old_lets_nobody_in(rig: Rig) -> None:
    made = await rig.keys.create(WANTED, "ada")
    await rig.recognised.refresh()
    rig.monotonic.now += 61
    with pytest.raises(DatabaseUnavailableError):
        await rig.recognised.principal(made.token)
