"""A bundle of chosen turns has every record of theirs that was there when it was asked for, or there is none."""

import asyncio
import json
import zipfile
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

import audit.search.export
from audit.bundle.export import NothingSignedError
from audit.search.export import Chosen, TurnExport
from audit.search.query import TurnQuery
from audit.sequencer import Sequencer, SequencerLimits
from audit.verify import verify_bundle
from tests.contract.audit.conftest import MASTER
from tests.contract.audit.turns import accepted, completed
from tests.contract.governing.conftest import Log

BOB = TurnQuery(subject="bob")
OWN = ["turn.accepted", "turn.released", "turn.completed"]


def kinds(path: Path) -> list[str]:
    """Return the kinds of the records of a bundle that holds."""
    found = []
    verify_bundle(path, found.append, None, [])
    assert found == []
    with zipfile.ZipFile(path) as bundle:
        return [json.loads(line)["kind"] for line in bundle.read("leaves.ndjson").splitlines()]


@pytest.fixture
def sequencer(engine: AsyncEngine, log: Log) -> Sequencer:
    log.keys.load_or_create()
    return Sequencer(engine, log.keys, SequencerLimits(cadence_s=0.3))


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit.search.export, "SIGNED_WITHIN_S", 2.0)


@pytest.mark.parametrize("chosen", [BOB, Chosen(("bob1",))])
async def test_turns_that_have_just_ended_are_signed_first(
    engine: AsyncEngine, log: Log, sequencer: Sequencer, tmp_path: Path, chosen: TurnQuery | Chosen
):
    await log.add_turn("alice1")
    await log.append(accepted("bob1", subject="bob"))
    await log.sign()  # half of the turn has its place
    await log.append(completed("One.", "bob1", subject="bob"))
    export = TurnExport(engine, MASTER, log.keys, sequencer.catch_up)
    assert await export.bundle(chosen, tmp_path / "b.zip", content=True) == 2
    assert kinds(tmp_path / "b.zip") == ["turn.accepted", "turn.completed"]


async def test_a_sequencer_at_work_is_awaited(engine: AsyncEngine, log: Log, sequencer: Sequencer, tmp_path: Path):
    await log.add_turn("bob1", "bob")
    export = asyncio.create_task(TurnExport(engine, MASTER, log.keys).bundle(BOB, tmp_path / "b.zip", content=False))
    await sequencer.start()
    assert await export == 3
    assert kinds(tmp_path / "b.zip") == OWN
    await sequencer.close()


async def test_a_sequencer_that_rests_is_hurried(engine: AsyncEngine, log: Log, tmp_path: Path):
    log.keys.load_or_create()
    sequencer = Sequencer(engine, log.keys, SequencerLimits(cadence_s=60.0))
    await sequencer.start()
    await log.add_turn("alice1")
    await asyncio.sleep(0.2)  # it rests
    await log.add_turn("bob1", "bob")

    async def sign() -> None:
        sequencer.hurry()

    assert await TurnExport(engine, MASTER, log.keys, sign).bundle(BOB, tmp_path / "b.zip", content=False) == 3
    await sequencer.close()


async def test_half_a_turn_is_never_written(engine: AsyncEngine, log: Log, tmp_path: Path):
    """Nobody gives places: what is there cannot be proved, and so there is no bundle."""
    await log.append(accepted("bob1", subject="bob"))
    await log.sign()
    await log.append(completed("One.", "bob1", subject="bob"))
    export = TurnExport(engine, MASTER, log.keys)
    with pytest.raises(NothingSignedError, match="try again"):
        await export.bundle(BOB, tmp_path / "b.zip", content=False)
    assert not (tmp_path / "b.zip").exists()
    assert await export.bundle(TurnQuery(), tmp_path / "whole.zip", content=False) == 1  # the signed log, whole


async def test_what_begins_later_is_not_waited_for(engine: AsyncEngine, log: Log, sequencer: Sequencer, tmp_path: Path):
    await log.add_turn("bob1", "bob")

    async def sign() -> None:
        await sequencer.catch_up()
        await log.append(accepted("bob2", subject="bob"))

    assert await TurnExport(engine, MASTER, log.keys, sign).bundle(BOB, tmp_path / "b.zip", content=False) == 3
