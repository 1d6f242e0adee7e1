"""The routes and the middleware in process: fixation, CSRF, audit first, refusals of the development provider."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa
from litestar.testing import AsyncTestClient, RequestFactory

from audit.keys import FileMasterKey
from gateway.auth import tables
from gateway.auth.authentication import Authentication
from gateway.auth.development_provider.provider import DevelopmentProvider, loopback_only
from gateway.auth.principal import Principal, Role
from gateway.auth.roles import RoleMap
from gateway.auth.session import Sessions, SessionTimes
from gateway.database import make_engine
from gateway.ending import tables as ending
from gateway.problems import ForbiddenError
from gateway.settings import SettingsError, load
from tests.rig.sign_in import RecordingLog, application

ALICE = Principal(subject="alice", name="Alice", groups=("staff",), roles=frozenset({Role.STAFF}), session=True)
CAROL = Principal(subject="carol", name="Carol", groups=(), roles=frozenset({Role.STAFF}), session=True)
BASE = "http://127.0.0.1:8080"
OWN = {"origin": BASE, "sec-fetch-site": "same-origin"}


class Small:
    def __init__(self, client: AsyncTestClient[Any], sessions: Sessions, log: RecordingLog, engine: Any) -> None:
        self.client, self.sessions, self.log, self.engine = client, sessions, log, engine

    async def signed_in(self) -> str:
        secret = await self.sessions.open(ALICE, "", "t", None)
        self.client.cookies.set("attest", secret)
        return secret


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Small]:
    settings = load(data_dir=tmp_path)
    engine = make_engine(settings.database)
    async with engine.begin() as connection:
        await connection.run_sync(tables.metadata.create_all)
        await connection.run_sync(ending.metadata.create_all)
    log = RecordingLog()
    master = FileMasterKey.load_or_create(settings.master_key_path)
    authentication = Authentication.from_settings(settings, engine, log, master)  # type: ignore[arg-type]
    await authentication._access.ended.refresh()
    sessions = Sessions(engine, RoleMap.from_settings(settings), SessionTimes(600, 3600))
    async with AsyncTestClient(application(authentication), base_url=BASE) as client:
        yield Small(client, sessions, log, engine)
    await engine.dispose()


async def test_nobody_is_nobody(small: Small) -> None:
    assert (await small.client.get("/auth/me")).status_code == 401
    small.client.cookies.set("attest", "A" * 43)
    assert (await small.client.get("/auth/me")).status_code == 401


async def test_the_session_names_its_person(small: Small) -> None:
    await small.signed_in()
    answer = await small.client.get("/auth/me")
    assert answer.json() == {
        "subject": "alice", "name": "Alice", "groups": ["staff"], "roles": ["staff"], "session": True,
    }  # fmt: skip


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer x", "bearer a.b.c", "BEARER é", "Bearer a b"])
async def test_a_bad_bearer_token_is_refused_even_with_a_session(small: Small, header: str) -> None:
    await small.signed_in()
    answer = await small.client.get("/secret", headers={"authorization": header.encode()})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_token_in_the_address_counts_nothing(small: Small) -> None:
    assert (await small.client.get("/secret?access_token=x")).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (OWN, 200),
        ({"origin": BASE}, 200),
        ({"origin": BASE.upper().replace("HTTP", "http")}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "null", "sec-fetch-site": "same-origin"}, 200),
        ({}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "https://evil.example", "sec-fetch-site": "same-origin"}, 403),
        ({"origin": BASE, "sec-fetch-site": "cross-site"}, 403),
        ({"origin": BASE, "sec-fetch-site": "same-site"}, 403),
        ({"origin": BASE, "sec-fetch-site": "none"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"origin": "http://127.0.0.1:8081"}, 403),
        ({"origin": "http://127.0.0.1:8080.evil.example"}, 403),
        ({"referer": f"{BASE}/chat"}, 403),
    ],
)
async def test_an_unsafe_request_must_come_from_our_own_page(
    small: Small, headers: dict[str, str], status: int
) -> None:
    await small.signed_in()
    assert (await small.client.post("/change", headers=headers)).status_code == status


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("page_of", "status"), [(ALICE.digest, 200), (CAROL.digest, 409), ("", 409), ("é", 409), (None, 200)]
)
async def test_a_page_that_another_person_loaded_does_nothing(
    small: Small, method: str, page_of: str | None, status: int
) -> None:
    await small.signed_in()
    headers = OWN | ({"x-attest-person": page_of.encode()} if page_of is not None else {})
    answer = await small.client.request(method, "/secret" if method == "GET" else "/change", headers=headers)
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["type"] == "urn:attest:problem:other-person"


async def test_sign_out_from_another_site_is_refused(small: Small) -> None:
    secret = await small.signed_in()
    answer = await small.client.post("/auth/logout", headers={"origin": "https://evil.example"})
    assert answer.status_code == 403
    found = await small.sessions.find(secret)
    assert found is not None
    assert found.subject == "alice"


async def test_sign_out_ends_the_session_and_is_recorded(small: Small) -> None:
    secret = await small.signed_in()
    answer = await small.client.post("/auth/logout", headers=OWN)
    assert answer.status_code == 200
    assert 'attest=""' in answer.headers["set-cookie"] or "Max-Age=0" in answer.headers["set-cookie"]
    assert await small.sessions.find(secret) is None
    assert [(e.kind.value, e.subject) for e in small.log.entries] == [("logout", "alice")]


async def test_sign_out_works_while_the_log_is_down(small: Small) -> None:
    secret = await small.signed_in()
    small.log.broken = True
    assert (await small.client.post("/auth/logout", headers=OWN)).status_code == 200
    assert await small.sessions.find(secret) is None


@pytest.mark.parametrize("query", ["", "?state=x&code=y", "?state=" + "s" * 43 + "&code=y", "?error=access_denied"])
async def test_a_callback_out_of_nowhere_is_refused_and_recorded(small: Small, query: str) -> None:
    answer = await small.client.get(f"/auth/callback{query}")
    assert answer.status_code == 400
    assert "Sign in again" in answer.text
    assert "重新登录" in answer.text
    assert "attest" not in answer.cookies
    assert [(e.kind.value, e.reason, e.subject) for e in small.log.entries] == [
        ("login.failed", "state_mismatch", "anonymous")
    ]


async def test_nothing_of_a_request_is_shown(small: Small) -> None:
    mark = "<script>alert(1)</script>MARK"
    answer = await small.client.get("/auth/callback", params={"error": mark, "state": mark, "error_description": mark})
    assert "MARK" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"


async def test_a_flood_of_refused_sign_ins_is_summed_up(small: Small) -> None:
    for _ in range(70):
        assert (await small.client.get("/auth/callback")).status_code == 400
    assert len(small.log.entries) == 60


async def test_the_provider_down_is_a_page_of_its_own(small: Small) -> None:
    answer = await small.client.get("/auth/login", follow_redirects=False)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert "Traceback" not in answer.text


async def test_the_log_down_is_a_page_of_its_own(small: Small) -> None:
    small.log.broken = True
    answer = await small.client.get("/auth/callback")
    assert answer.status_code == 503


async def test_another_name_of_ours_is_left_once(small: Small) -> None:
    answer = await small.client.get(
        "/auth/login?next=/chat", headers={"host": "localhost:8080"}, follow_redirects=False
    )
    assert answer.status_code == 303
    target = urlsplit(answer.headers["location"])
    assert f"{target.scheme}://{target.netloc}" == BASE
    assert parse_qs(target.query)["next"] == ["/chat"]
    again = await small.client.get(
        f"{target.path}?{target.query}", headers={"host": "localhost:8080"}, follow_redirects=False
    )
    assert again.status_code == 503  # it went on: the provider itself is not running here


async def test_the_database_gone_is_503_and_public_pages_go_on(small: Small) -> None:
    await small.signed_in()
    async with small.engine.begin() as connection:
        await connection.execute(sa.text("DROP TABLE signin_session"))
    assert (await small.client.get("/secret")).status_code == 503
    assert (await small.client.get("/auth/signed-out")).status_code == 200


@pytest.mark.parametrize(
    "settings",
    [
        {"public_url": "https://chat.example.org"},
        {"public_url": "http://192.0.2.1:8080"},
    ],
)
def test_the_development_provider_refuses_anything_but_loopback(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        DevelopmentProvider(load(**settings))


def test_the_development_provider_refuses_production() -> None:
    settings = load().model_copy(update={"env": load(env="production", oidc_issuer="https://id.example",
                                                      public_url="https://chat.example").env})  # fmt: skip
    with pytest.raises(SettingsError, match="production"):
        DevelopmentProvider(settings)
    with pytest.raises(SettingsError):
        DevelopmentProvider(load().model_copy(update={"host": "0.0.0.0"}))  # noqa: S104 - must be refused


@pytest.mark.parametrize(
    ("client", "headers", "let_in"),
    [
        ("127.0.0.1", {"host": "127.0.0.1:8080"}, True),
        ("127.9.9.9", {"host": "localhost"}, True),
        ("::1", {"host": "[::1]:8080"}, True),
        ("192.0.2.1", {"host": "127.0.0.1:8080"}, False),
        ("10.0.0.1", {"host": "localhost"}, False),
        ("unix", {"host": "localhost"}, False),
        ("127.0.0.1", {"host": "evil.example:8080"}, False),
        ("127.0.0.1", {"host": "127.0.0.1.evil.example"}, False),
        ("127.0.0.1", {}, False),
        ("127.0.0.1", {"host": "localhost", "x-forwarded-for": "127.0.0.1"}, False),
        ("127.0.0.1", {"host": "localhost", "forwarded": "for=192.0.2.1"}, False),
        ("127.0.0.1", {"host": "localhost", "x-real-ip": "192.0.2.1"}, False),
    ],
)
def test_the_development_provider_answers_this_computer_only(
    client: str, headers: dict[str, str], let_in: bool
) -> None:
    request = RequestFactory().get("/dev-provider/jwks", headers=headers)
    request.scope["client"] = (client, 5)
    if let_in:
        loopback_only(request, None)  # type: ignore[arg-type]
    else:
        with pytest.raises(ForbiddenError):
            loopback_only(request, None)  # type: ignore[arg-type]
