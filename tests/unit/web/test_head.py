"""What stands before a body is bounded in size and time, before anybody is signed in."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import uvicorn

from gateway.http import head
from gateway.http.head import LONGEST_HEAD, BoundedHead

SLOW_S = 0.8


async def echo(scope, receive, send):
    """Answer with how long the body was; `early` without reading it, `late` some time after it, `slow` in two parts."""
    size, more = 0, "early" not in scope["path"]
    if "late" in scope["path"]:
        await asyncio.sleep(SLOW_S)
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = f"{scope['path']} {size}".encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if "slow" in scope["path"]:
        await send({"type": "http.response.body", "body": body[:2], "more_body": True})
        await asyncio.sleep(SLOW_S)
        body = body[2:]
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[int]:
    options = {"http": BoundedHead, "log_config": None, "lifespan": "off", "timeout_keep_alive": 1}
    config = uvicorn.Config(echo, host="127.0.0.1", port=0, **options)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while not server.started:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await running


async def answers(*pieces: bytes, wait_s: float = 0.0) -> bytes:
    """Return everything that comes back for what is sent, piece by piece."""
    async with served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(wait_s)
            async with asyncio.timeout(10):
                with contextlib.suppress(ConnectionError):
                    return await reader.read()
            return b""
        finally:
            writer.close()


HOST = b"Host: x\r\n"
END = b"Connection: close\r\n\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        [b"GET / HTTP/1.1\r\n" + HOST, *[b"X-A: b\r\n" * 2000] * 40],
        [b"GET / HTTP/1.1\r\n" + HOST + b"X-A: ", *[b"y" * 20_000] * 40],
        [b"GET /", *[b"y" * 20_000] * 40],
        [b"GET /" + b"y" * 200_000 + b" HTTP/1.1\r\n" + HOST + END],
        [
            b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: ",
            *[b"y" * 20_000] * 40,
        ],
        [
            b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            *[b"X-T: y\r\n" * 2000] * 40,
        ],
    ],
    ids=["headers", "a header", "an address", "an address at once", "a trailer", "trailers"],
)
async def test_a_head_without_end_is_refused(pieces):
    answer = await answers(*pieces, wait_s=0.002)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("before", [1, 500])
@pytest.mark.parametrize(
    ("start", "piece"), [(b"GET /", b"y" * 20_000), (b"GET / HTTP/1.1\r\n" + HOST, b"X-A: b\r\n" * 2000)]
)
async def test_small_requests_before_a_head_without_end_do_not_help_it(before, start, piece):
    small = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
    answer = await answers(small * before + start, *[piece] * 40, wait_s=0.002)
    assert answer.count(b"HTTP/1.1 200") <= before


async def test_the_refusal_is_read_by_whoever_reads():
    answer = await answers(b"GET / HTTP/1.1\r\n" + HOST + b"X-A: " + b"y" * (LONGEST_HEAD + 10) + b"\r\n" + END)
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_long_heads_and_bodies_in_pieces_are_answered():
    long = b"X-Long: " + b"y" * (LONGEST_HEAD - 200) + b"\r\n"
    assert b"/a 0" in await answers(b"GET /a HTTP/1.1\r\n" + HOST + long + END)
    body = b"POST /b HTTP/1.1\r\n" + HOST + b"Content-Length: 3000000\r\n" + END
    assert b"/b 3000000" in await answers(body, *[b"y" * 100_000] * 30)
    chunked = b"POST /c HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n" + END
    assert b"/c 20000" in await answers(chunked, *[b"1\r\ny\r\n" * 1000] * 20, b"0\r\n\r\n")


async def test_requests_on_one_connection_are_counted_one_by_one():
    one = b"POST /d HTTP/1.1\r\n" + HOST + b"X-Long: " + b"y" * 40_000 + b"\r\nContent-Length: 5\r\n\r\nhello"
    answer = await answers(one, one, one + one, b"GET /e HTTP/1.1\r\n" + HOST + END)
    assert answer.count(b"HTTP/1.1 200") == 5
    assert b"/e 0" in answer


async def test_a_request_that_begins_in_the_last_piece_of_a_body_is_answered_like_the_one_before():
    size = 400_000
    one = b"POST /g HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size + b"y" * size
    answer = await answers(one[:-300_000], one[-300_000:] + b"GET /h HTTP/1.1\r\nHo", b"st: x\r\n" + END, wait_s=0.05)
    assert b"/g 400000" in answer
    assert b"/h 0" in answer


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost:"])
async def test_a_head_that_does_not_come_ends_the_connection(monkeypatch, sent):
    monkeypatch.setattr(head, "HEAD_S", 0.2)
    assert await answers(sent) == b""


@pytest.mark.parametrize(
    "pieces",
    [
        [b"GET /i HTTP/1.1\r\n" + HOST + b"\r\n", b"\r\n"],
        [b"GET /i HTTP/1.1\r\n" + HOST + b"\r\n", *[b"\r\n"] * 2],
        [b"POST /early HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\n", b"yy"],
    ],
    ids=["an empty line", "empty lines", "the body of an answered request"],
)
async def test_what_begins_no_request_keeps_no_connection(monkeypatch, pieces):
    monkeypatch.setattr(head, "HEAD_S", 0.3)
    assert (await answers(*pieces, wait_s=0.1)).count(b"HTTP/1.1 200") == 1


async def test_empty_lines_between_requests_harm_none(monkeypatch):
    monkeypatch.setattr(head, "HEAD_S", 0.4)
    one = b"GET /j HTTP/1.1\r\n" + HOST + b"\r\n"
    lines = [b"\r\n", one] * 6
    answer = await answers(one, *lines, b"\r\nGET /k HTTP/1.1\r\n" + HOST + END, wait_s=0.1)
    assert answer.count(b"HTTP/1.1 200") == 8


@pytest.mark.parametrize("behind", [b"", b"\r\n", b"GET /l HTTP/1.1\r\nHo"])
async def test_an_answer_may_take_longer_than_a_head(monkeypatch, behind):
    monkeypatch.setattr(head, "HEAD_S", SLOW_S / 4)
    answer = await answers(b"GET /slow HTTP/1.1\r\n" + HOST + (b"\r\n" if behind else END) + behind)
    assert answer.endswith(b"/slow 0")


async def test_a_request_may_take_longer_than_its_head(monkeypatch):
    monkeypatch.setattr(head, "HEAD_S", 0.2)
    body = b"POST /f HTTP/1.1\r\n" + HOST + b"Content-Length: 6\r\n" + END
    assert b"/f 6" in await answers(body, b"abc", b"def", wait_s=0.4)


LONG = b" HTTP/1.1\r\n" + HOST + b"Content-Length: 400000\r\n" + END
CHUNKS = b"POST /m HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\ny\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        [b"POST /m" + LONG],
        [b"POST /m" + LONG, b"y", b"y"],
        [b"POST /early HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\n", b"y", b"y"],
        [b"POST /m HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n"],
        [b"POST /m HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\nContent-Length: 9\r\n\r\n"],
        [CHUNKS + b"1;a=", b"y", b"y"],
        [CHUNKS + b"0\r\n", b"X-T: y\r\n", b"X-T: y\r\n"],
    ],
    ids=["nothing", "little", "after the answer", "asked for", "of HTTP/1.0", "an extension", "trailers"],
)
async def test_a_body_that_does_not_come_ends_the_connection(monkeypatch, pieces):
    monkeypatch.setattr(head, "BODY_S", 0.4)
    answer = await answers(*pieces, wait_s=0.1)
    assert answer.count(b"HTTP/1.1 200") == (b"/early" in pieces[0])


async def test_a_body_may_take_its_time(monkeypatch):
    monkeypatch.setattr(head, "BODY_S", 0.3)
    assert b"/n 400000" in await answers(b"POST /n" + LONG, *[b"y" * 40_000] * 10, wait_s=0.1)


@pytest.mark.parametrize("path", [b"/late", b"/early-slow"])
async def test_nobody_is_hurried_by_a_server_that_does_not_read_or_still_answers(monkeypatch, path):
    monkeypatch.setattr(head, "BODY_S", SLOW_S / 4)
    body = b"" if path == b"/early-slow" else b"y" * 400_000
    assert path in await answers(b"POST " + path + LONG, body)
