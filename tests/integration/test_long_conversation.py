"""A conversation may go on for as long as a person likes: what goes to the model is what it has room for."""

import asyncio
import json
from pathlib import Path

from gateway.database import make_engine
from gateway.history.store import HistoryStore
from gateway.identifiers import uuid7
from gateway.turn_events import Outcome, TurnEnded
from tests.integration.client import post
from tests.rig.product import Product, running_product

MESSAGES = ("Question number {}", "Thanks, {} times", "第 {} 个问题：会议改到什么时候？", "Call 1381234{:04}")
TURNS = 100
CONTEXT_TOKENS = 2048
"""What the model that ships takes."""


async def long_conversation(product: Product) -> str:
    """Store a hundred exchanges of Alice's; return the conversation's id."""
    engine = make_engine(f"sqlite+aiosqlite:///{product.data_dir}/attest.db")
    history = HistoryStore(engine)
    made = await history.create("alice", "long")
    for number in range(TURNS):
        turn_id = uuid7()
        opened = await history.begin_turn(made.id, turn_id, MESSAGES[number % 4].format(number))
        ended = TurnEnded(turn_id=turn_id, outcome=Outcome.COMPLETED)
        await history.end_turn(made.id, opened, "Gladly. What else would you like to know about it?", ended)
    await engine.dispose()
    return made.id


def test_the_model_that_ships_answers_in_a_long_conversation(tmp_path: Path) -> None:
    with running_product(tmp_path) as product:
        conversation = asyncio.run(long_conversation(product))
        for text in ("Hello, who are you?", "Good morning " * 100):
            with post(product, f"/chat/{conversation}/turns", {"text": text}) as answer:
                last = answer.read().decode().strip().rpartition("data: ")[2]
            turn = json.loads(last)["turn"]
            assert (turn["outcome"], turn["reason"]) == ("completed", "")
            assert turn["usage"]["prompt_tokens"] < CONTEXT_TOKENS
            (trail,) = product.trails([turn["turn_id"]])
            (accepted, *_) = trail.records
            sent = len(trail.dialogue)
            assert accepted.detail["messages"] == sent
            assert 1 < sent < 2 * TURNS
            assert trail.dialogue[-1].text == text
