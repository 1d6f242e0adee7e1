"""Clients that do not read what they are sent."""

import asyncio

import pytest

from inference.connection import StalledClients


async def answer(scope, receive, send):
    try:
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
    finally:
        scope["ended"].set()


async def test_a_client_that_stops_reading_is_given_up():
    sent, scope = [], {"type": "http", "ended": asyncio.Event()}

    async def stuck(message):
        sent.append(message)
        if len(sent) == 2:
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await StalledClients(answer, wait_s=0.02)(scope, None, stuck)
    assert scope["ended"].is_set()
    assert len(sent) == 2


async def test_a_client_that_reads_is_not():
    sent, scope = [], {"type": "http", "ended": asyncio.Event()}

    async def reading(message):
        sent.append(message)

    await StalledClients(answer, wait_s=5)(scope, None, reading)
    assert len(sent) == 3
