"""The development provider by itself: tokens for the command line, codes, and what it refuses."""

import asyncio
import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp
import pytest

from tests.rig.ports import free_port
from tests.rig.sign_in import Browser, SmallGateway, small_gateway


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[SmallGateway]:
    async with small_gateway(tmp_path) as running:
        yield running


async def ask_for_token(gateway: SmallGateway, secret: str, subject: str = "alice") -> tuple[int, dict[str, str]]:
    form = {"grant_type": "client_credentials", "subject": subject}
    url = f"{gateway.url}/dev-provider/token"
    auth = {"authorization": aiohttp.encode_basic_auth("attest-dev-token", secret)}
    async with aiohttp.ClientSession() as session, session.post(url, data=form, headers=auth) as answer:
        return answer.status, await answer.json()


async def test_dev_token_prints_a_token_that_works(gateway: SmallGateway) -> None:
    result = await run_dev_token(gateway, "carol")
    assert (result.returncode, result.stderr) == (0, "")
    headers = {"authorization": f"Bearer {result.stdout.strip()}"}
    async with aiohttp.ClientSession() as session, session.get(f"{gateway.url}/auth/me", headers=headers) as answer:
        assert answer.status == 200
        me = await answer.json()
    assert (me["subject"], me["roles"], me["session"]) == ("carol", ["compliance", "staff"], False)
    async with aiohttp.ClientSession() as session, session.post(f"{gateway.url}/change", headers=headers) as answer:
        assert answer.status == 200


async def test_dev_tokens_are_for_those_who_may_read_the_data_folder(gateway: SmallGateway) -> None:
    secret = (gateway.settings.data_dir / "development-provider" / "dev-token-secret").read_text()
    assert (await ask_for_token(gateway, secret))[0] == 200
    assert (await ask_for_token(gateway, "guessed"))[0] == 401
    assert (await ask_for_token(gateway, ""))[0] == 401
    assert (await ask_for_token(gateway, secret, "mallory"))[0] == 400


async def test_dev_token_without_a_gateway_says_so_in_one_line(gateway: SmallGateway, tmp_path: Path) -> None:
    result = await run_dev_token(gateway, "alice", ATTEST_PORT=str(free_port()))
    assert result.returncode != 0
    assert result.stderr.count("\n") == 1
    assert "make run" in result.stderr
    result = await run_dev_token(gateway, "alice", ATTEST_DATA_DIR=str(tmp_path / "other"))
    assert result.returncode != 0
    assert result.stderr.count("\n") == 1


async def run_dev_token(gateway: SmallGateway, name: str, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "ATTEST_DATA_DIR": str(gateway.settings.data_dir),
        "ATTEST_PORT": str(gateway.settings.port),
        **changes,
    }
    command = [sys.executable, "-m", "gateway", "dev-token", name]
    return await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, env=environment, check=False, timeout=60
    )


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"grant_type": "password", "username": "alice", "password": "x"},
        {"grant_type": "authorization_code", "code": "x", "client_id": "attest"},
        {"grant_type": "authorization_code", "code": "x", "client_id": "attest-dev-token"},
        {"grant_type": "client_credentials", "client_id": "attest", "subject": "alice"},
        {"grant_type": "refresh_token", "refresh_token": "x", "client_id": "attest"},
    ],
)
async def test_the_provider_refuses_other_grants(gateway: SmallGateway, form: dict[str, str]) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{gateway.url}/dev-provider/token", data=form) as answer,
    ):
        assert answer.status in (400, 401)
        assert "access_token" not in await answer.text()


async def begun(gateway: SmallGateway, browser: Browser) -> dict[str, str]:
    page = await browser.open(f"{gateway.url}/auth/login", follow=False)
    return dict(parse_qsl(urlsplit(page.headers["location"]).query))


@pytest.mark.parametrize(
    ("changes", "goes_back"),
    [
        ({"redirect_uri": "https://evil.example/cb"}, False),
        ({"redirect_uri": ""}, False),
        ({"client_id": "other"}, False),
        ({"client_id": "attest-dev-token"}, False),
        ({"code_challenge": ""}, True),
        ({"code_challenge_method": "plain"}, True),
        ({"nonce": ""}, True),
        ({"response_type": "token"}, True),
    ],
)
async def test_the_provider_checks_what_is_asked(
    gateway: SmallGateway, changes: dict[str, str], goes_back: bool
) -> None:
    async with Browser() as browser:
        query = {name: value for name, value in {**await begun(gateway, browser), **changes}.items() if value}
        page = await browser.open(f"{gateway.url}/dev-provider/authorize?{urlencode(query)}", follow=False)
    if goes_back:
        assert page.headers["location"].startswith(f"{gateway.url}/auth/callback?error=")
    else:
        assert page.status == 400
        assert "evil" not in page.body


async def code_for(gateway: SmallGateway, browser: Browser) -> tuple[str, dict[str, str]]:
    query = await begun(gateway, browser)
    verifier = "v" * 50
    query["code_challenge"] = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    page = await browser.open(f"{gateway.url}/dev-provider/authorize?{urlencode(query)}")
    answer = await browser.choose(page, "alice", follow=False)
    code = dict(parse_qsl(urlsplit(answer.headers["location"]).query))["code"]
    form = {
        "grant_type": "authorization_code", "client_id": "attest", "code": code, "code_verifier": verifier,
        "redirect_uri": query["redirect_uri"],
    }  # fmt: skip
    return code, form


async def test_a_code_is_used_once_and_with_its_verifier(gateway: SmallGateway) -> None:
    url = f"{gateway.url}/dev-provider/token"
    async with Browser() as browser:
        _, form = await code_for(gateway, browser)
        assert (await browser.open(url, "POST", form)).status == 200
        assert (await browser.open(url, "POST", form)).status == 400
        for change in ({"code_verifier": "w" * 50}, {"code_verifier": ""}, {"redirect_uri": "https://evil.example"}):
            _, form = await code_for(gateway, browser)
            assert (await browser.open(url, "POST", {**form, **change})).status == 400
            assert (await browser.open(url, "POST", form)).status == 400, "a code that failed once is used up"


async def test_an_id_token_is_no_bearer_token(gateway: SmallGateway) -> None:
    async with Browser() as browser:
        _, form = await code_for(gateway, browser)
        tokens = json.loads((await browser.open(f"{gateway.url}/dev-provider/token", "POST", form)).body)
    for name, status in (("access_token", 200), ("id_token", 401)):
        headers = {"authorization": f"Bearer {tokens[name]}"}
        async with aiohttp.ClientSession() as session, session.get(f"{gateway.url}/secret", headers=headers) as answer:
            assert answer.status == status


async def test_the_login_page_is_plain_strict_and_in_both_languages(gateway: SmallGateway) -> None:
    async with Browser() as browser:
        page = await browser.open(f"{gateway.url}/auth/login")
    assert "Choose a person" in page.body
    assert "选择登录身份" in page.body
    assert "<script" not in page.body
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page.body)
    assert page.body.count('name="person"') == 4
