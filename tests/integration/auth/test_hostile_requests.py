"""Requests that no browser sends: each gets an answer below 500 or a closed connection, and the gateway goes on."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.auth.trail import FAILURES_A_MINUTE
from tests.rig.sign_in import Browser, SmallGateway, small_gateway

LONG = b"a" * 30_000
REQUESTS = [
    (b"GET /auth/login?next=%ff%fe%00 HTTP/1.1", b""),
    (b"GET /auth/login?next=" + b"%61" * 9000 + b" HTTP/1.1", b""),
    (b"GET /auth/login?next=/a&next=//b HTTP/1.1", b""),
    (b"GET /auth/callback?state=%00&code=%ff HTTP/1.1", b""),
    (b"GET /auth/callback?state=" + b"s" * 43 + b"&code=%ed%a0%80&iss=%00 HTTP/1.1",
     b"Cookie: attest-sign-in=" + b"b" * 43),
    (b"GET /auth/callback?error=%3Cscript%3E&state=x HTTP/1.1", b""),
    (b"GET /auth/me HTTP/1.1", b"Cookie: attest=\xff\xfe\x80"),
    (b"GET /auth/me HTTP/1.1", b"Cookie: attest=" + LONG),
    (b"GET /auth/me HTTP/1.1", b'Cookie: ;;;=;attest;attest=;a=b=c;"attest=x'),
    (b"GET /auth/me HTTP/1.1", b"Authorization: Bearer \xff\xfe"),
    (b"GET /auth/me HTTP/1.1", b"Authorization: Bearer " + LONG),
    (b"GET /auth/me HTTP/1.1", b"Authorization: "),
    (b"GET /auth/me HTTP/1.1", b"Authorization: Bearer eyJhbGciOiJub25lIn0.e30."),
    (b"GET /auth/me HTTP/1.1", b"Authorization: Bearer " + b"." * 500),
    (b"POST /auth/logout HTTP/1.1", b"Origin: http://[:::\r\nCookie: attest=" + b"A" * 43),
    (b"DELETE /auth/me HTTP/1.1", b""),
    (b"GET /dev-provider/authorize?client_id=%00&response_type=%ff HTTP/1.1", b""),
    (b"GET /dev-provider/authorize?client_id=attest&client_id=attest HTTP/1.1", b""),
    (b"GET /dev-provider/authorize?" + b"&".join(b"a%d=1" % n for n in range(200)) + b" HTTP/1.1", b""),
    (b"GET /dev-provider/end-session?id_token_hint=" + b"a.b.c" * 50 + b" HTTP/1.1", b""),
    (b"GET /dev-provider/userinfo HTTP/1.1", b""),
    (b"GET /dev-provider/jwks HTTP/1.1", b"Host: \xff"),
    (b"GET /dev-provider/jwks HTTP/1.1", b"Host: [::1"),
]  # fmt: skip
BODIES = [
    b"",
    b"\xff\xfe\x00",
    b"{}",
    b"grant_type=client_credentials",
    b"grant_type=\x00&code=%ff",
    b"a=1&" * 5000,
    b"x" * 900_000,
]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[SmallGateway]:
    async with small_gateway(tmp_path) as running:
        yield running


async def answer(gateway: SmallGateway, line: bytes, header: bytes, body: bytes = b"") -> int:
    """Send bytes as they are; return the status, 0 where the connection was closed without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.settings.port)
    host = b"" if header.startswith(b"Host:") else b"Host: 127.0.0.1:%d\r\n" % gateway.settings.port
    head = host + (header + b"\r\n" if header else b"") + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
    try:
        writer.write(line + b"\r\n" + head + body)
        await writer.drain()
        status = await asyncio.wait_for(reader.readline(), 10)
    except ConnectionError:
        status = b""
    finally:
        writer.close()
    return int(status.split()[1]) if status else 0


@pytest.mark.parametrize(("line", "header"), REQUESTS)
async def test_hostile_requests_are_answered(gateway: SmallGateway, line: bytes, header: bytes) -> None:
    assert await answer(gateway, line, header) < 500
    await still_works(gateway)


@pytest.mark.parametrize("path", [b"/dev-provider/token", b"/dev-provider/authorize", b"/auth/logout"])
async def test_hostile_bodies_are_answered(gateway: SmallGateway, path: bytes) -> None:
    for body in BODIES:
        for kind in (b"application/x-www-form-urlencoded", b"application/json", b"\xff"):
            assert await answer(gateway, b"POST " + path + b" HTTP/1.1", b"Content-Type: " + kind, body) < 500
    await still_works(gateway)


async def still_works(gateway: SmallGateway) -> None:
    async with Browser() as browser:
        await browser.sign_in(gateway.url, "alice")
        assert (await browser.me(gateway.url))["subject"] == "alice"


async def test_refused_tokens_are_on_record_and_a_flood_of_them_is_summed_up(gateway: SmallGateway) -> None:
    statuses = [
        await answer(gateway, b"GET /auth/me HTTP/1.1", b"Authorization: Bearer forged.%d.x" % n)
        for n in range(FAILURES_A_MINUTE + 20)
    ]
    assert set(statuses) == {401}
    refused = gateway.log.entries
    assert {(entry.kind.value, entry.reason, entry.surface, entry.subject) for entry in refused} == {
        ("login.failed", "malformed", "api", "anonymous")
    }
    assert FAILURES_A_MINUTE <= len(refused) < len(statuses)  # the minute may turn meanwhile
