"""Places, the queue before them, and everything that can go wrong while somebody waits."""

import asyncio
import random

import pytest

from gateway.limits.gate import ConcurrencyGate
from gateway.problems import OverloadedError


async def hold(gate: ConcurrencyGate, name: str, order: list[str], leave: asyncio.Event) -> None:
    async with gate.place():
        order.append(name)
        await leave.wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_places_are_given_in_order_of_arrival() -> None:
    gate, order, leave = ConcurrencyGate(1, 10, 5), [], asyncio.Event()
    tasks = []
    for name in "abcdef":
        tasks.append(asyncio.create_task(hold(gate, name, order, leave)))
        await settle()
    assert (gate.running, gate.queued, order) == (1, 5, ["a"])
    leave.set()
    await asyncio.gather(*tasks)
    assert (gate.running, gate.queued, order) == (0, 0, list("abcdef"))


async def test_one_more_than_the_queue_holds_is_refused_at_once() -> None:
    gate, order, leave = ConcurrencyGate(2, 3, 5), [], asyncio.Event()
    tasks = [asyncio.create_task(hold(gate, str(n), order, leave)) for n in range(5)]
    await settle()
    with pytest.raises(OverloadedError) as refused:
        async with gate.place():
            pytest.fail("there was no place")
    assert refused.value.retry_after is not None
    assert 1 <= refused.value.retry_after <= 30
    assert (gate.running, gate.queued) == (2, 3)
    leave.set()
    await asyncio.gather(*tasks)


async def test_without_a_queue_nobody_waits() -> None:
    gate, leave = ConcurrencyGate(1, 0, 5), asyncio.Event()
    task = asyncio.create_task(hold(gate, "a", [], leave))
    await settle()
    with pytest.raises(OverloadedError):
        async with gate.place():
            pytest.fail("there was no place")
    leave.set()
    await task
    async with gate.place():
        assert gate.running == 1


async def test_a_wait_that_is_too_long_ends_and_leaves_the_queue() -> None:
    gate, order, leave = ConcurrencyGate(1, 5, 0.05), [], asyncio.Event()
    task = asyncio.create_task(hold(gate, "a", order, leave))
    await settle()
    with pytest.raises(OverloadedError):
        async with gate.place():
            pytest.fail("there was no place")
    assert (gate.running, gate.queued) == (1, 0)
    leave.set()
    await task
    assert gate.running == 0


async def test_a_cancelled_waiter_leaves_the_queue() -> None:
    gate, order, leave = ConcurrencyGate(1, 5, 5), [], asyncio.Event()
    tasks = [asyncio.create_task(hold(gate, name, order, leave)) for name in "abc"]
    await settle()
    tasks[1].cancel()
    await settle()
    assert gate.queued == 1
    leave.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (gate.running, order) == (0, ["a", "c"])


async def test_a_place_given_to_somebody_cancelled_in_the_same_moment_goes_on() -> None:
    gate, order = ConcurrencyGate(1, 5, 5), []
    first, rest = asyncio.Event(), asyncio.Event()
    holder = asyncio.create_task(hold(gate, "a", order, first))
    waiting = [asyncio.create_task(hold(gate, name, order, rest)) for name in "bc"]
    await settle()
    first.set()
    await asyncio.sleep(0)
    assert (order, gate.queued) == (["a"], 1), "the place is b's, who has not run yet"
    waiting[0].cancel()
    await settle()
    rest.set()
    await asyncio.gather(holder, *waiting, return_exceptions=True)
    assert (gate.running, gate.queued) == (0, 0)
    assert order == ["a", "c"]


async def test_a_place_offered_to_somebody_just_cancelled_goes_to_the_next() -> None:
    gate, order = ConcurrencyGate(1, 5, 5), []
    first, rest = asyncio.Event(), asyncio.Event()
    holder = asyncio.create_task(hold(gate, "a", order, first))
    waiting = [asyncio.create_task(hold(gate, name, order, rest)) for name in "bc"]
    await settle()
    waiting[0].cancel()
    first.set()
    await settle()
    rest.set()
    results = await asyncio.gather(holder, *waiting, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), asyncio.CancelledError, type(None)]
    assert (gate.running, gate.queued, order) == (0, 0, ["a", "c"])


async def test_an_error_inside_frees_the_place() -> None:
    gate = ConcurrencyGate(1, 0, 5)
    with pytest.raises(KeyError):
        async with gate.place():
            raise KeyError
    assert gate.running == 0


@pytest.mark.parametrize("seed", range(5))
async def test_a_storm_of_cancellations_loses_no_place_and_gives_none_twice(seed: int) -> None:
    chance = random.Random(seed)
    gate, inside, most = ConcurrencyGate(4, 16, 0.01), 0, 0

    async def turn() -> None:
        nonlocal inside, most
        async with gate.place():
            inside += 1
            most = max(most, inside)
            try:
                await asyncio.sleep(chance.random() * 0.004)
            finally:
                inside -= 1

    tasks = []
    for _ in range(300):
        tasks.append(asyncio.create_task(turn()))
        if chance.random() < 0.4:
            chance.choice(tasks).cancel()
        await asyncio.sleep(chance.random() * 0.001)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} <= {type(None), OverloadedError, asyncio.CancelledError}
    assert sum(result is None for result in results) > 100
    assert (gate.running, gate.queued, inside) == (0, 0, 0)
    assert most == 4


@pytest.mark.parametrize(("places", "queue", "wait_s"), [(0, 1, 1), (1, -1, 1), (1, 1, 0)])
def test_a_gate_without_places_is_a_mistake(places: int, queue: int, wait_s: float) -> None:
    with pytest.raises(ValueError, match="gate"):
        ConcurrencyGate(places, queue, wait_s)
