"""Access that ends, on the real product and a real Keycloak: people who are disabled, moved or signed out there."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.auth.test_keycloak_sign_in import machine_client, submit
from tests.rig.keycloak import CLIENT_SECRET, Keycloak
from tests.rig.product import Product, running_product
from tests.rig.sign_in import Browser, small_gateway

pytestmark = pytest.mark.slow
INTERVAL_S = 6
SLACK_S = 10
"""What a loaded test machine may add."""
SCRIPT = {
    "default": {"text": "Here is one sentence of a long story. " * 400, "chunk": 6, "delay_ms": 60},
}


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory, real_keycloak: Keycloak) -> Iterator[Product]:
    settings = {
        "ATTEST_OIDC_ISSUER": real_keycloak.issuer,
        "ATTEST_OIDC_CLIENT_SECRET": CLIENT_SECRET,
        "ATTEST_ACCESS_CHECK_S": str(INTERVAL_S),
    }
    folder = tmp_path_factory.mktemp("access")
    with running_product(folder, SCRIPT, port=real_keycloak.gateway_port, **settings) as product:
        yield product


@pytest.fixture
async def browser(real_keycloak: Keycloak) -> AsyncIterator[Browser]:
    async with Browser(real_keycloak.url) as each:
        yield each


async def signed_in(browser: Browser, product: Product, name: str) -> Any:
    await submit(browser, await browser.open(f"{product.url}/auth/login?next=/auth/me"), name)
    return await browser.me(product.url)


def own(product: Product) -> dict[str, str]:
    return {"origin": product.url, "sec-fetch-site": "same-origin"}


async def events_of(answer: aiohttp.ClientResponse, first: asyncio.Event) -> list[tuple[str, Any]]:
    """Read a stream to its end; `first` is set with the first text."""
    found, name = [], ""
    async for line in answer.content:
        text = line.decode().rstrip("\n")
        if text.startswith("event: "):
            name = text[7:]
        elif text.startswith("data: ") and text != "data: [DONE]":
            found.append((name, json.loads(text[6:])))
            if name == "released" or "content" in str(found[-1][1]):
                first.set()
    return found


def records(product: Product, kind: str, subject: str) -> list[Any]:
    lines = product.attest("audit", "records", "--kind", kind).splitlines()
    return [record for record in map(json.loads, lines) if record["subject"] == subject]


async def in_thread(call: Any, *arguments: Any, **named: Any) -> Any:
    return await asyncio.to_thread(lambda: call(*arguments, **named))


async def test_keycloak_says_itself_that_a_session_has_ended(
    tmp_path: Path, real_keycloak: Keycloak, browser: Browser
) -> None:
    settings = {
        "port": real_keycloak.gateway_port, "oidc_issuer": real_keycloak.issuer,
        "oidc_client_secret": CLIENT_SECRET, "access_check_s": 3600,
    }  # fmt: skip
    await in_thread(real_keycloak.new_user, "hanna", ["/staff"])
    async with small_gateway(tmp_path, **settings) as gateway:
        await submit(browser, await browser.open(f"{gateway.url}/auth/login?next=/secret"), "hanna")
        assert await browser.me(gateway.url) is not None
        await in_thread(real_keycloak.sign_out, "hanna")
        end = time.monotonic() + SLACK_S
        while await browser.me(gateway.url) is not None:
            assert time.monotonic() < end
            await asyncio.sleep(0.2)
        async with aiohttp.ClientSession() as session:
            url = f"{gateway.url}/auth/backchannel-logout"
            for body, status in (("logout_token=a.b.c", 400), ("x=1", 400), ("logout_token=" + "a" * 40_000, 413)):
                headers = {"content-type": "application/x-www-form-urlencoded"}
                async with session.post(url, data=body, headers=headers) as answer:
                    assert answer.status == status
        assert gateway.log.entries[-1].reason == "logout_malformed"


async def test_a_person_disabled_in_the_middle_of_an_answer(
    governed: Product, real_keycloak: Keycloak, browser: Browser
) -> None:
    await in_thread(real_keycloak.new_user, "edgar", ["/staff"])
    me = await signed_in(browser, governed, "edgar")
    async with browser.session.post(f"{governed.url}/chat/conversations", headers=own(governed), json={}) as made:
        conversation = (await made.json())["id"]
    url, first = f"{governed.url}/chat/{conversation}/turns", asyncio.Event()
    async with browser.session.post(url, json={"text": "Tell me a story."}, headers=own(governed)) as answer:
        assert answer.status == 200
        reading = asyncio.create_task(events_of(answer, first))
        await asyncio.wait_for(first.wait(), 60)
        await in_thread(real_keycloak.change_user, "edgar", enabled=False)
        disabled = time.monotonic()
        events = await asyncio.wait_for(reading, INTERVAL_S + SLACK_S)
        assert time.monotonic() - disabled < INTERVAL_S + SLACK_S
    name, last = events[-1]
    assert (name, last["turn"]["outcome"], last["turn"]["reason"]) == ("ended", "aborted", "access_ended")
    assert "access" in last["notice"]
    shown = await in_thread(governed.show, last["turn"]["turn_id"])
    assert (shown["closing_kind"], shown["reason"]) == ("turn.aborted", "access_ended")
    assert shown["delivered"]
    assert await browser.me(governed.url) is None
    (ended,) = await in_thread(records, governed, "session.ended", me["subject"])
    assert (ended["reason"], ended["detail"]["by"]) == ("provider_refresh_refused", "provider")
    page = await submit(browser, await browser.open(f"{governed.url}/auth/login"), "edgar")
    assert page.url.startswith(real_keycloak.issuer), "nobody signs in who is disabled"
    row = await row_of_people(governed, real_keycloak, me)
    assert all(words in row for words in ("Sessions ended", "the provider no longer stands by it", "</time>"))


async def row_of_people(product: Product, real_keycloak: Keycloak, person: Any) -> str:
    """Return what the administrators' page says of a person, whom it must name."""
    await in_thread(real_keycloak.new_user, "olga", ["/admin"])
    async with Browser(real_keycloak.url) as browser:
        await signed_in(browser, product, "olga")
        page = await browser.open(f"{product.url}/console/people?who={person['name'].split()[0]}")
    (row,) = (row for row in page.body.split("<tr>") if person["subject"] in row)
    assert person["name"] != person["subject"]
    assert person["name"] in row
    return row


async def test_a_bearer_token_ends_with_its_person_and_so_does_its_stream(
    governed: Product, real_keycloak: Keycloak
) -> None:
    await in_thread(real_keycloak.new_user, "frida", ["/staff"])
    form = {**await in_thread(machine_client, real_keycloak, "robot", "attest"), "username": "frida"}
    token = (await in_thread(real_keycloak.token, "attest", **form))["access_token"]
    headers, first = {"authorization": f"Bearer {token}"}, asyncio.Event()
    body = {"model": "", "messages": [{"role": "user", "content": "Tell me a story."}], "stream": True}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.post(f"{governed.url}/v1/chat/completions", json=body) as answer:
            assert answer.status == 200
            reading = asyncio.create_task(events_of(answer, first))
            await asyncio.wait_for(first.wait(), 60)
            await in_thread(real_keycloak.change_user, "frida", enabled=False)
            events = await asyncio.wait_for(reading, INTERVAL_S + SLACK_S)
        assert events[-1][1]["error"]["code"] == "access-ended"
        async with session.get(f"{governed.url}/auth/me") as me:
            assert me.status == 401
            assert "inactive" in (await me.json())["detail"]
    refused = await in_thread(records, governed, "login.failed", "anonymous")
    assert refused[-1]["reason"] == "inactive"


async def test_a_person_who_is_moved_loses_the_role(
    governed: Product, real_keycloak: Keycloak, browser: Browser
) -> None:
    await in_thread(real_keycloak.new_user, "greta", ["/staff", "/compliance"])
    me = await signed_in(browser, governed, "greta")
    assert me["roles"] == ["compliance", "staff"]
    await in_thread(real_keycloak.leave_group, "greta", "compliance")
    end = time.monotonic() + INTERVAL_S + SLACK_S
    while me["roles"] != ["staff"]:
        assert time.monotonic() < end
        await asyncio.sleep(0.5)
        me = await browser.me(governed.url)
    (moved,) = await in_thread(records, governed, "person.moved", me["subject"])
    assert (moved["detail"]["gone"], moved["groups"]) == ("/compliance", ["/staff"])
    await asyncio.sleep(2 * INTERVAL_S)
    assert (await browser.me(governed.url))["roles"] == ["staff"], "the rotated refresh token goes on being good"
