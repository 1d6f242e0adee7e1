"""Whatever is changed in the database behind the log's back is named; an honest one has no flaw."""

import asyncio

import pytest

from audit.fsck import Fsck
from audit.record import Kind
from audit.sequencer import Sequencer, SequencerLimits
from audit.signing import SigningKeys
from gateway.database import make_engine
from tests.contract.audit.turns import accepted, entry

HASH = "ab" * 32


@pytest.fixture
async def engine(database):
    engine = make_engine(database)
    yield engine
    await engine.dispose()


@pytest.fixture
async def keys(log, engine, tmp_path):
    """A log of 620 records in two steps of 310, and 3 that wait."""
    keys = SigningKeys(tmp_path / "signing")
    await asyncio.gather(*(log.append(accepted(f"t{at}")) for at in range(620)))
    await Sequencer(engine, keys, SequencerLimits(batch=310, pause_s=0)).catch_up()
    await asyncio.gather(*(log.append(accepted(f"u{at}")) for at in range(3)))
    return keys


async def flaws(engine, keys):
    run = Fsck(engine, keys.load())
    return [(flaw.code, flaw.index) async for flaw in run.flaws()], run.counts


async def test_an_honest_log_has_no_flaw(engine, keys):
    found, counts = await flaws(engine, keys)
    assert found == []
    assert (counts.tree_size, counts.records, counts.unsequenced) == (620, 620, 3)
    assert (counts.checkpoints, counts.tiles) == (2, 2)


async def test_an_empty_log_has_no_flaw(engine, tmp_path):
    keys = SigningKeys(tmp_path / "signing")
    keys.load_or_create()
    assert (await flaws(engine, keys))[0] == []


SWAP = (
    "UPDATE audit_entry SET leaf_index = -leaf_index WHERE leaf_index IN (3, 4);"
    "UPDATE audit_entry SET leaf_index = 7 + leaf_index WHERE leaf_index < 0"
)
TAMPERED = {
    "a leaf": ("UPDATE audit_entry SET leaf = leaf_hash WHERE leaf_index = 5", [("altered", 5)]),
    "a leaf hash in a tile": (
        "UPDATE audit_entry SET leaf_hash = {hash} WHERE leaf_index = 5",
        [("altered", 5), ("checkpoint", 0), ("altered", 5), ("checkpoint", None)],
    ),
    "a leaf hash on the edge": (
        "UPDATE audit_entry SET leaf_hash = {hash} WHERE leaf_index = 600",
        [("altered", 600), ("checkpoint", 310)],
    ),
    "kind": ("UPDATE audit_entry SET kind = 'login' WHERE leaf_index = 5", [("column", 5)]),
    "time": ("UPDATE audit_entry SET at_us = at_us + 1 WHERE leaf_index = 5", [("column", 5)]),
    "subject": ("UPDATE audit_entry SET subject = 'eve' WHERE leaf_index = 5", [("column", 5)]),
    "turn": ("UPDATE audit_entry SET turn_id = 'x' WHERE leaf_index = 5", [("column", 5)]),
    "emptied": (
        "UPDATE audit_entry SET leaf = {empty}, subject = '', turn_id = '' WHERE leaf_index IN (5, 6, 8)",
        [("emptied", 5), ("emptied", 8)],
    ),
    "a record less": (
        "UPDATE audit_entry SET leaf_index = NULL WHERE leaf_index = 300",
        [("missing", 300), ("checkpoint", 0), ("tile", None), ("checkpoint", None)],
    ),
    "the last record less": (
        "UPDATE audit_entry SET leaf_index = NULL WHERE leaf_index = 619",
        [("missing", 619), ("checkpoint", None)],
    ),
    "a record more": (
        "UPDATE audit_entry SET leaf_index = 620 WHERE entry_id = (SELECT max(entry_id) FROM audit_entry)",
        [("unsigned", 620)],
    ),
    "a record far away": (
        "UPDATE audit_entry SET leaf_index = 9000000000 WHERE entry_id = (SELECT max(entry_id) FROM audit_entry)",
        [("unsigned", 9_000_000_000)],
    ),
    "two changed places": (
        SWAP,
        [("checkpoint", 0), ("altered", 3), ("altered", 4), ("checkpoint", None)],
    ),
    "a tile": ("UPDATE audit_tile SET root_hash = {hash} WHERE position = 1", [("tile", None)]),
    "a tile less": ("DELETE FROM audit_tile WHERE position = 1", [("tile", None)]),
    "a tile more": ("INSERT INTO audit_tile VALUES (0, 2, {hash}, {hash})", [("tile", None)]),
    "a root": ("UPDATE audit_checkpoint SET root_hash = {hash} WHERE tree_size = 310",
               [("checkpoint", None), ("checkpoint", 0)]),
    "a note": ("UPDATE audit_checkpoint SET note = 'x' WHERE tree_size = 310", [("checkpoint", None)]),
    "no checkpoint": ("DELETE FROM audit_checkpoint", None),
    "a size that is not there": (
        "UPDATE audit_checkpoint SET tree_size = 4000000000000 WHERE tree_size = 620",
        [("missing", 620), ("checkpoint", None)],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), TAMPERED.values(), ids=TAMPERED)
async def test_what_was_changed_is_named(engine, keys, raw, change, expected):
    await raw.disarm()
    quoted = {"hash": f"x'{HASH}'", "empty": "x''"} if raw.sqlite else {"hash": f"'\\x{HASH}'", "empty": "''"}
    for statement in change.format(**quoted).split(";"):
        await raw.run(statement)
    found, _ = await flaws(engine, keys)
    if expected is None:
        assert len([one for one in found if one[0] == "unsigned"]) == 620
        return
    assert found == expected


async def test_another_key_is_named(engine, keys, tmp_path):
    other = SigningKeys(tmp_path / "other", keys.load().origin)
    other.load_or_create()
    assert (await flaws(engine, other))[0] == [("checkpoint", None)] * 2


async def test_emptied_records_are_honest_where_a_record_says_so(log, engine, keys, raw):
    await log.append(entry(Kind.RETENTION_PRUNED, "", detail={"first": 5, "last": 8, "count": 4}))
    await Sequencer(engine, keys).step()
    await raw.disarm()
    empty = "x''" if raw.sqlite else "''"
    await raw.run(f"UPDATE audit_entry SET leaf = {empty}, subject = '', turn_id = '' WHERE leaf_index BETWEEN 5 AND 8")
    found, counts = await flaws(engine, keys)
    assert (found, counts.emptied) == ([], 4)
    await raw.run(f"UPDATE audit_entry SET leaf = {empty}, subject = '', turn_id = '' WHERE leaf_index = 9")
    assert (await flaws(engine, keys))[0] == [("emptied", 9)]
