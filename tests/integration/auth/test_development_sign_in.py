"""The development provider and the gateway over real HTTP."""

import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.rig.sign_in import Browser, SmallGateway, small_gateway


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[SmallGateway]:
    async with small_gateway(tmp_path) as running:
        yield running


@pytest.mark.parametrize(
    ("person", "roles"),
    [
        ("alice", ["staff"]),
        ("carol", ["compliance", "staff"]),
        ("sam", ["security", "staff"]),
        ("ada", ["admin", "staff"]),
    ],
)
async def test_each_person_signs_in_with_their_roles(gateway: SmallGateway, person: str, roles: list[str]) -> None:
    async with Browser() as browser:
        page = await browser.sign_in(gateway.url, person)
        me = await browser.me(gateway.url)
    assert page.status == 200
    assert page.url == f"{gateway.url}/secret"
    assert me["subject"] == person
    assert me["roles"] == roles
    assert me["session"] is True
    assert gateway.log.kinds() == ["login"]
    assert gateway.log.entries[0].subject == person
    assert gateway.log.entries[0].source_ip == "127.0.0.1"


async def test_keys_are_private(gateway: SmallGateway) -> None:
    folder = gateway.settings.data_dir / "development-provider"
    files = list(folder.iterdir())
    assert len(files) == 2
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_each_sign_in_gives_a_new_id_and_ends_the_old_one(gateway: SmallGateway) -> None:
    async with Browser() as browser:
        await browser.sign_in(gateway.url, "alice")
        first = browser.cookie("attest")
        await browser.sign_in(gateway.url, "carol")
        second = browser.cookie("attest")
        assert first != second
        assert (await browser.me(gateway.url))["subject"] == "carol"
        browser.set_cookie(gateway.url, "attest", first)
        assert await browser.me(gateway.url) is None


async def test_a_planted_id_is_never_kept(gateway: SmallGateway) -> None:
    planted = "A" * 43
    async with Browser() as browser:
        browser.set_cookie(gateway.url, "attest", planted)
        await browser.sign_in(gateway.url, "alice")
        assert browser.cookie("attest") not in ("", planted)
        browser.set_cookie(gateway.url, "attest", planted)
        assert await browser.me(gateway.url) is None


async def test_the_cookie_is_for_the_browser_alone(gateway: SmallGateway) -> None:
    async with Browser() as browser:
        page = await browser.open(f"{gateway.url}/auth/login")
        answer = await browser.choose(page, "alice", follow=False)
        back = await browser.open(answer.headers["location"], follow=False)
    cookie = back.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie
    assert back.headers["cache-control"] == "no-store"


async def test_a_callback_works_once(gateway: SmallGateway) -> None:
    async with Browser() as browser:
        page = await browser.sign_in(gateway.url, "alice")
        callback = next(step for step in page.path if "/auth/callback" in step)
        again = await browser.open(callback)
    assert again.status == 400
    assert gateway.log.entries[-1].reason == "state_mismatch"


async def test_a_callback_belongs_to_the_browser_that_began(gateway: SmallGateway) -> None:
    async with Browser() as attacker, Browser() as victim:
        page = await attacker.open(f"{gateway.url}/auth/login")
        answer = await attacker.choose(page, "sam", follow=False)
        await victim.open(f"{gateway.url}/auth/login")
        page = await victim.open(answer.headers["location"])
        assert page.status == 400
        assert await victim.me(gateway.url) is None


async def test_two_tabs_may_sign_in_at_the_same_time(gateway: SmallGateway) -> None:
    async with Browser() as browser:
        first = await browser.open(f"{gateway.url}/auth/login?next=/secret?tab=1")
        second = await browser.open(f"{gateway.url}/auth/login?next=/secret?tab=2")
        assert (await browser.choose(first, "alice")).url.endswith("?tab=1")
        assert (await browser.choose(second, "alice")).url.endswith("?tab=2")


async def test_an_answer_of_another_issuer_is_refused(gateway: SmallGateway) -> None:
    async with Browser() as browser:
        page = await browser.open(f"{gateway.url}/auth/login")
        answer = await browser.choose(page, "alice", follow=False)
        page = await browser.open(answer.headers["location"].replace("dev-provider", "other-provider"))
    assert page.status == 400
    assert gateway.log.entries[-1].reason == "issuer_mismatch"


@pytest.mark.parametrize("target", ["//evil.example", "/\\evil.example", "https://evil.example", "/%09/evil.example"])
async def test_signing_in_never_leads_elsewhere(gateway: SmallGateway, target: str) -> None:
    async with Browser() as browser:
        page = await browser.sign_in(gateway.url, "alice", target)
    assert page.url == f"{gateway.url}/"


async def test_the_log_down_means_nobody_signs_in(gateway: SmallGateway) -> None:
    gateway.log.broken = True
    async with Browser() as browser:
        page = await browser.sign_in(gateway.url, "alice")
        assert page.status == 503
        assert "审计" in page.body
        assert browser.cookie("attest") == ""
        assert await browser.me(gateway.url) is None


async def test_a_person_without_a_role_gets_a_clear_page(tmp_path: Path) -> None:
    async with small_gateway(tmp_path, oidc_roles="risk=compliance") as gateway, Browser() as browser:
        page = await browser.sign_in(gateway.url, "alice")
        assert page.status == 403
        assert "no access" in page.body
        assert "访问权限" in page.body
        assert browser.cookie("attest") == ""
        (entry,) = gateway.log.entries
        assert (entry.kind.value, entry.reason, entry.subject, entry.groups) == (
            "login.failed", "no_role", "alice", ("staff",),
        )  # fmt: skip


async def test_signing_out_goes_through_the_provider(gateway: SmallGateway) -> None:
    async with Browser() as browser:
        await browser.sign_in(gateway.url, "alice")
        page = await browser.open(f"{gateway.url}/auth/logout", "POST")
        assert page.url == f"{gateway.url}/auth/signed-out"
        assert any("/dev-provider/end-session" in step and "id_token_hint=" in step for step in page.path)
        assert await browser.me(gateway.url) is None
    assert gateway.log.kinds() == ["login", "logout"]


async def test_the_gateway_may_be_a_client_with_a_secret(tmp_path: Path) -> None:
    async with small_gateway(tmp_path, oidc_client_secret="a secret: 100%+ß") as gateway, Browser() as browser:
        await browser.sign_in(gateway.url, "alice")
        assert (await browser.me(gateway.url))["subject"] == "alice"
