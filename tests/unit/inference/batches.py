"""A decode loop on a small checkpoint, and requests for it."""

import asyncio
import contextlib

from inference.engine.torch_engine import PREFILL_CHUNK, Limits, TorchEngine
from inference.ports import ChatRequest, Message, Role


@contextlib.asynccontextmanager
async def running(checkpoint, **sizes):
    chunk = sizes.pop("chunk", PREFILL_CHUNK)
    engine = TorchEngine(checkpoint, "tiny", Limits(**sizes), chunk=chunk)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


def request(text="hello", **fields):
    return ChatRequest(model="tiny", messages=(Message(Role.USER, text),), **({"temperature": 0.0} | fields))


async def ask(engine, wanted):
    deltas = [delta async for delta in engine.stream(wanted)]
    return "".join(delta.text for delta in deltas), deltas[-1].finish_reason, deltas[-1].usage


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another thread
            await asyncio.sleep(0.005)


async def drain(stream):
    return [delta async for delta in stream]


def various(count):
    return [
        request(
            f"{place} 你好 fox " * (1 + 3 * place), max_tokens=20 + place, temperature=0.9 * (place % 2), seed=place
        )
        for place in range(count)
    ]
