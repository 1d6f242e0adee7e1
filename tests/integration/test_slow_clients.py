"""Clients that dawdle, stop half-way or never read: nobody else notices, and nothing is lost."""

import json
import socket
import time

import pytest

from tests.integration.client import by_api
from tests.rig.process import accepts
from tests.rig.product import Product, eventually

BODY = json.dumps({"messages": [{"role": "user", "content": "PLAIN-EN"}]}).encode()
SLOW_STREAM = json.dumps({"messages": [{"role": "user", "content": "SLOW please"}], "stream": True}).encode()


def head(product: Product, body: bytes) -> bytes:
    lines = (
        "POST /v1/chat/completions HTTP/1.1",
        f"Host: 127.0.0.1:{product.port}",
        f"Authorization: Bearer {product.token('alice')}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def connect(product: Product) -> socket.socket:
    return socket.create_connection(("127.0.0.1", product.port), timeout=30)


def all_of(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_body_that_trickles_in_is_answered(product: Product):
    with connect(product) as slow:
        slow.sendall(head(product, BODY))
        for at in range(0, len(BODY), 8):
            slow.sendall(BODY[at : at + 8])
            time.sleep(0.02)
        assert all_of(slow).startswith(b"HTTP/1.1 200")


def test_half_closed_after_the_whole_request_is_no_fault_of_ours(product: Product):
    with connect(product) as half:
        half.sendall(head(product, BODY) + BODY)
        half.shutdown(socket.SHUT_WR)
        answer = all_of(half)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 200")
    assert by_api(product, "PLAIN-EN").outcome == "completed"


def test_a_request_that_breaks_off_starts_no_turn(product: Product):
    before = len(json.loads(product.attest("audit", "list", "--limit", "1000", "--json")))
    with connect(product) as broken:
        broken.sendall(head(product, BODY) + BODY[:10])
    time.sleep(0.5)
    assert len(json.loads(product.attest("audit", "list", "--limit", "1000", "--json"))) == before
    assert accepts(product.port)


def test_a_reader_that_never_reads_holds_nobody_up(product: Product):
    stalled = [connect(product) for _ in range(4)]
    try:
        for connection in stalled:
            connection.sendall(head(product, SLOW_STREAM) + SLOW_STREAM)
        assert by_api(product, "PLAIN-EN").outcome == "completed"

        def all_closed() -> bool:
            newest = json.loads(product.attest("audit", "list", "--limit", "5", "--json"))
            return all(turn["closing_kind"] for turn in newest)

        assert eventually(all_closed, 30)
    finally:
        for connection in stalled:
            connection.close()


@pytest.mark.parametrize("stream", [False, True])
def test_who_hangs_up_before_the_first_word_frees_the_place(product: Product, stream: bool):
    body = json.dumps({"messages": [{"role": "user", "content": "HANG please"}], "stream": stream}).encode()

    def newest() -> dict[str, object]:
        found: list[dict[str, object]] = json.loads(product.attest("audit", "list", "--limit", "1", "--json"))
        return found[0]

    before = newest()["turn_id"]
    with connect(product) as leaving:
        leaving.sendall(head(product, body) + body)
        assert eventually(lambda: newest()["turn_id"] != before, 20)
    assert eventually(lambda: newest()["closing_kind"] == "turn.aborted", 20)
    assert newest()["reason"] == "client_gone"


def test_bytes_that_are_no_http_are_refused(product: Product):
    with connect(product) as odd:
        odd.sendall(b"\x00\xff\xfe nonsense\r\n\r\n")
        assert all_of(odd).startswith(b"HTTP/1.1 400")
    assert by_api(product, "PLAIN-EN").outcome == "completed"
