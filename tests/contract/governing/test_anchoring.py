"""The newest checkpoint goes to every place once; what was kept is on record; an idle log is at rest."""

import asyncio

import pytest

from audit.anchors.anchoring import Anchoring
from audit.anchors.file import FolderPlace
from audit.anchors.ports import AnchorConflictError, AnchorError
from audit.prover import Prover


class Broken:
    name = "webhook:broken"

    def __init__(self) -> None:
        self.tries = 0
        self.often = asyncio.Event()

    async def keep(self, _: object) -> str:
        self.tries += 1
        if self.tries == 3:
            self.often.set()
        raise AnchorError("gone")

    async def close(self) -> None: ...


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "far"
    folder.mkdir()
    return folder


async def test_the_newest_checkpoint_is_kept_and_recorded(log, governor, folder):
    anchoring = Anchoring(governor, [FolderPlace(folder)])
    assert await anchoring.anchor() == ((), ())
    await log.add_turn("t1")
    size = await log.sign()
    (kept,), errors = await anchoring.anchor()
    assert errors == ()
    assert (kept.tree_size, kept.place) == (size, f"folder:{folder}")
    latest = await Prover(log.engine).latest()
    assert [file.read_text() for file in folder.iterdir()] == [latest.note]
    (record,) = await log.records("checkpoint.anchored")
    assert record.detail == {
        "place": kept.place, "tree_size": size, "root_hash": latest.root_hash.hex(), "receipt": kept.receipt
    }  # fmt: skip
    assert await anchoring.listed() == (kept,)
    assert await anchoring.anchor() == ((), ())
    await log.sign()
    assert await anchoring.anchor() == ((), ())  # only the record of anchoring was added
    assert len((await anchoring.anchor(again=True))[0]) == 1
    await log.add_turn("t2")
    await log.sign()
    assert [one.tree_size for one in (await anchoring.anchor())[0]] == [8]
    assert await log.flaws() == []


async def test_one_place_that_fails_does_not_hold_up_the_others(log, governor, folder):
    faults: list[Exception] = []
    broken = Broken()
    anchoring = Anchoring(governor, [broken, FolderPlace(folder)], 0.05, faults.append)
    await log.add_turn("t1")
    await log.sign()
    running = asyncio.create_task(anchoring.run())
    async with asyncio.timeout(20):
        await broken.often.wait()
    running.cancel()
    assert [type(fault) for fault in faults[:2]] == [AnchorError] * 2
    assert anchoring.state.failures == 1
    assert len(list(folder.iterdir())) == 1
    assert len(await log.records("checkpoint.anchored")) == 1


async def test_several_gateways_record_it_once(log, governor, folder):
    await log.add_turn("t1")
    await log.sign()
    several = [Anchoring(governor, [FolderPlace(folder)]) for _ in range(4)]
    await asyncio.gather(*(one.anchor() for one in several))
    assert len(await log.records("checkpoint.anchored")) == 1


async def test_another_checkpoint_of_the_same_size_is_a_fault(log, governor, folder):
    await log.add_turn("t1")
    size = await log.sign()
    (folder / f"{size:020}.checkpoint").write_text("a fork")
    kept, (error,) = await Anchoring(governor, [FolderPlace(folder)]).anchor()
    assert kept == ()
    assert isinstance(error, AnchorConflictError)
    assert await log.records("checkpoint.anchored") == []
