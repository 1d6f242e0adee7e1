"""The client of the inference benchmark, a process of its own without torch: `inference_client URL TOKENS`."""

import asyncio
import sys

import aiohttp

STREAMS = 8
WORDS = list(range(300, 332))
"""Ids of a short prompt; which they are does not matter."""


async def client(url: str, tokens: int) -> None:
    """For each line on stdin: eight streams at once over HTTP, and then a line on stdout. A process of its own."""
    body = {"model": "bench", "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True}

    async def ask(session: aiohttp.ClientSession, place: int) -> None:
        prompt = [*WORDS, 400 + place]
        async with session.post(f"{url}/v1/completions", json=body | {"prompt": prompt}) as response:
            response.raise_for_status()
            while await response.content.readany():
                pass

    async with aiohttp.ClientSession() as session:
        while await asyncio.to_thread(sys.stdin.readline):
            await asyncio.gather(*(ask(session, place) for place in range(STREAMS)))
            sys.stdout.write("done\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(client(sys.argv[1], int(sys.argv[2])))
