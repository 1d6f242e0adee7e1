"""What was acknowledged survives the process; turns of dead processes are closed, those of living ones are not."""

import asyncio
import random
import sys
from pathlib import Path

import pytest

from audit.log import LogLimits
from audit.ports import AuditOverloadedError, AuditUnavailableError, TurnFilter
from tests.contract.audit.conftest import opened
from tests.contract.audit.turns import accepted, completed, released

ROOT = Path(__file__).parents[3]


async def writing(database: str, prefix: str, workers: int, count: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.contract.audit.writing_process", database, prefix, str(workers), str(count)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )


async def killed_at(database: str, prefix: str, lines: int) -> list[str]:
    """Start a writing process, kill it after it has acknowledged so many steps; return all that it acknowledged."""
    process = await writing(database, prefix, 8, 1000)
    try:
        seen = [await process.stdout.readline() for _ in range(lines)]
    finally:
        process.kill()
    rest = await process.stdout.read()
    await process.wait()
    whole = b"".join(seen) + rest
    return whole[: whole.rfind(b"\n") + 1].decode().splitlines()[1:]


async def check(log, acknowledged: list[str]) -> None:
    shown: dict[str, tuple[str, int]] = {}
    for line in acknowledged:
        turn, step, offset = line.split()
        shown[turn] = (step, int(offset))
    for turn, (step, offset) in shown.items():
        trail = await log.turn(turn)
        assert trail is not None
        assert trail.message == "Hello?"
        assert [one.text for one in trail.dialogue] == ["Shared start", "Hello?"]
        assert "One. Two. "[:offset] == trail.delivered[:offset]
        assert trail.closing_kind == ("turn.completed" if step == "completed" else trail.closing_kind)
        assert trail.closing_kind in {"turn.completed", "turn.interrupted"}
        if trail.closing_kind == "turn.interrupted":
            assert trail.records[-1].length == len(trail.delivered)
            assert trail.reason == "process_ended"


async def test_what_a_killed_process_acknowledged_is_there(database):
    chance = random.Random(7141)
    for run in range(4):
        acknowledged = await killed_at(database, f"run{run}", chance.randrange(2, 200))
        async with opened(database) as log:
            await log.recover()
            assert await log.recover() == 0
            await check(log, acknowledged)


async def test_two_processes_write_at_once(database, raw):
    processes = [await writing(database, name, 4, 25) for name in ("left", "right")]
    outputs = [(await process.communicate())[0].decode().splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert [len(lines) for lines in outputs] == [401, 401]
    async with opened(database) as log:
        for lines in outputs:
            await check(log, lines[1:])
        assert len(await log.turns(TurnFilter(limit=1000))) == 200
    assert await raw.run("SELECT count(*) FROM audit_entry") == [(800,)]
    assert await raw.run("SELECT count(*) FROM subject_key") == [(5,)]  # one per person, whoever came first
    assert await raw.run("SELECT count(*) FROM audit_text") == [(10,)]


async def test_turns_of_a_living_process_are_left_alone(database):
    async with opened(database) as alive, opened(database) as other:
        await alive.append(accepted("t1"))
        assert await other.recover() == 0
        assert await alive.recover() == 0
        await alive.append(completed("done", "t1"))
    async with opened(database) as later:
        assert await later.recover() == 0
        assert (await later.turn("t1")).closing_kind == "turn.completed"


async def test_orphans_are_closed_once_by_whoever_starts_first(database):
    async with opened(database) as before:
        for number in range(130):
            await before.append(accepted(f"t{number}"), released("Half", 0, f"t{number}"))
    async with opened(database) as one, opened(database) as other:
        closed = await asyncio.gather(one.recover(), other.recover())
        assert sum(closed) == 130
        trails = [await one.turn(f"t{number}") for number in range(130)]
    assert {(trail.closing_kind, trail.delivered, len(trail.records)) for trail in trails} == {
        ("turn.interrupted", "Half", 3)
    }
    assert {trail.verdict for trail in trails} == {"allow"}


async def test_a_turn_that_this_process_gave_up_is_closed_by_name(log):
    await log.append(accepted("lost"), accepted("running"))
    assert await log.recover(abandoned={"lost"}) == 1
    assert (await log.turn("lost")).closing_kind == "turn.interrupted"
    assert (await log.turn("running")).closing_kind == ""


async def test_entries_of_one_call_are_all_there_or_none(database):
    async with opened(database) as log:
        calls = [
            asyncio.create_task(log.append(accepted(f"t{number}"), completed("x", f"t{number}")))
            for number in range(200)
        ]
        await asyncio.sleep(0)
        for number, call in enumerate(calls):
            if number % 3:
                await asyncio.sleep(0)
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await log.append(accepted("last"))
        assert log.queued == 0
        trails = [await log.turn(f"t{number}") for number in range(200)]
    assert {len(trail.records) for trail in trails if trail is not None} == {2}


async def test_what_is_queued_at_the_end_is_committed(database):
    async with opened(database) as log:
        calls = [asyncio.create_task(log.append(accepted(f"t{number}"))) for number in range(300)]
        await asyncio.sleep(0)
    assert all(len(call.result()) == 1 for call in calls)
    with pytest.raises(AuditUnavailableError, match="closed"):
        await log.append(accepted("late"))
    async with opened(database) as log:
        assert len(await log.turns(TurnFilter(limit=1000))) == 300


async def test_a_full_queue_says_so_and_takes_records_again(database):
    async with opened(database, LogLimits(queued_entries=10, queued_characters=1000)) as log:
        results = await asyncio.gather(*(log.append(accepted(f"t{n}")) for n in range(50)), return_exceptions=True)
        assert len([one for one in results if isinstance(one, AuditOverloadedError)]) == 40
        results = await asyncio.gather(
            *(log.append(accepted(f"u{n}", message="x" * 400)) for n in range(3)), return_exceptions=True
        )
        assert len([one for one in results if isinstance(one, AuditOverloadedError)]) == 2
        await log.append(accepted("large", message="x" * 5000))  # alone it fits
        assert log.queued == 0


async def test_a_process_leaves_nothing_of_its_own_behind(database, raw, tmp_path):
    await killed_at(database, "run", 3)
    async with opened(database) as log:
        await log.append(accepted("t1"))
        await log.recover()
        places = list(tmp_path.glob("*-writer-*"))
        assert len(places) == (1 if raw.sqlite else 0)  # our own
    assert list(tmp_path.glob("*-writer-*")) == []
    assert await raw.run("SELECT count(*) FROM audit_writer") == [(1,)]  # the killed one's
