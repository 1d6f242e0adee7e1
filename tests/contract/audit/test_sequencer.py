"""Records get contiguous places, every signed tree extends the one before, and a tree that was changed is refused."""

import asyncio
import itertools
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event

from audit.canonical import leaf_hash
from audit.checkpoint import opened as checked
from audit.ports import AuditIntegrityError
from audit.prover import NotInTreeError, Prover, StoredCheckpoint
from audit.sequencer import Sequencer, SequencerLimits, TreeRefusedError
from audit.signing import SigningKeys
from audit.tree import ProofError, root_of, verify_consistency
from gateway.database import make_engine
from tests.contract.audit.conftest import opened
from tests.contract.audit.sequenced import SMALL, add
from tests.contract.audit.turns import accepted, completed


@pytest.fixture
async def engine(database):
    engine = make_engine(database)
    yield engine
    await engine.dispose()


@pytest.fixture
def keys(tmp_path):
    return SigningKeys(tmp_path / "signing")


@pytest.fixture
def sequencer(engine, keys):
    return Sequencer(engine, keys, SMALL)


async def until_signed(sequencer: Sequencer, size: int) -> None:
    for _ in range(2000):
        if sequencer.status.tree_size >= size:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the sequencer does nothing")


async def places(raw) -> list[tuple[int, str]]:
    return await raw.run("SELECT leaf_index, entry_id FROM audit_entry ORDER BY leaf_index")


async def test_records_get_contiguous_places_that_never_change(log, raw, sequencer):
    assert await sequencer.step() == 0
    assert await raw.run("SELECT count(*) FROM audit_checkpoint") == [(0,)]
    for size in (1, 2, 300, 1, 555):
        before = [row for row in await places(raw) if row[0] is not None]
        await add(log, size, f"{size}-")
        await sequencer.catch_up()
        after = await places(raw)
        assert [index for index, _ in after] == list(range(len(after)))
        assert after[: len(before)] == before
    assert sequencer.status.tree_size == 859
    assert sequencer.status.unsequenced == 0


async def test_every_signed_tree_extends_the_one_before(log, raw, sequencer, engine, keys):
    for size in (1, 2, 253, 1, 300, 77):
        await add(log, size, f"{size}-")
        await sequencer.catch_up()
    rows = await raw.run("SELECT tree_size, root_hash, note, at_us FROM audit_checkpoint ORDER BY tree_size")
    hashes = [bytes(one) for (one,) in await raw.run("SELECT leaf_hash FROM audit_entry ORDER BY leaf_index")]
    signers, prover = keys.load(), Prover(engine)
    checkpoints = [StoredCheckpoint(size, bytes(root), note, at) for size, root, note, at in rows]
    for stored in checkpoints:
        checkpoint = checked(stored.note, signers.origin, signers.known)
        assert (checkpoint.size, checkpoint.root_hash) == (stored.size, stored.root_hash)
        assert stored.root_hash == root_of(hashes[: stored.size])
    for old, new in itertools.pairwise(checkpoints):
        proof = await prover.consistency(old, new)
        verify_consistency(old.size, new.size, old.root_hash, new.root_hash, proof)


async def test_every_record_can_be_proved(log, sequencer, engine, keys):
    ids = await add(log, 620)
    waiting = (await log.append(completed("x", "t0")))[0].entry_id
    prover = Prover(engine)
    with pytest.raises(NotInTreeError):
        await prover.inclusion(waiting)
    await sequencer.catch_up()
    signers, seen = keys.load(), set()
    for entry_id in (*ids[::7], waiting):
        proof = await prover.inclusion(entry_id)
        proof.check(checked(proof.note, signers.origin, signers.known))
        assert entry_id.encode() in proof.leaf
        seen.add(proof.index)
    assert len(seen) == len(ids[::7]) + 1
    assert await prover.inclusion("nobody") is None


async def test_large_trees_use_tiles_and_small_steps_too(log, raw, engine, keys):
    await add(log, 700)
    for _ in range(7):
        await Sequencer(engine, keys, SequencerLimits(batch=100)).step()  # each takes the tree up from the database
    assert await raw.run("SELECT level, position FROM audit_tile ORDER BY 1, 2") == [(0, 0), (0, 1)]
    assert await Sequencer(engine, keys, SMALL).step() == 0


async def test_a_long_backlog_is_not_sorted_in_each_step(log, raw, sequencer, engine):
    statements: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *seen: statements.append(seen[2]))
    await add(log, 5)
    await sequencer.step()
    (asked,) = [one for one in statements if "leaf_index IS NULL" in one and one.startswith("SELECT entry_id")]
    if raw.sqlite:
        plan = await raw.run(f"EXPLAIN QUERY PLAN {asked.replace('?', '3')}")
        assert [row[3] for row in plan] == ["SCAN audit_entry USING INDEX audit_entry_unsequenced"]


async def test_it_runs_by_itself_and_finishes_at_the_end(database, engine, keys, raw):
    sequencer = Sequencer(engine, keys, SMALL)
    async with opened(database) as log:
        await sequencer.start()
        await add(log, 40)
        await until_signed(sequencer, 40)
        assert await sequencer.healthy()
        await log.append(accepted("last"))
        await sequencer.close()
    assert await raw.run("SELECT count(*) FROM audit_entry WHERE leaf_index IS NULL") == [(0,)]


async def test_a_full_batch_does_not_wait_for_the_cadence(log, engine, keys):
    sequencer = Sequencer(engine, keys, SequencerLimits(batch=50, cadence_s=60))
    await sequencer.start()
    await asyncio.sleep(0.3)
    await add(log, 50)
    sequencer.appended(50)
    await until_signed(sequencer, 50)
    await sequencer.close()


@asynccontextmanager
async def several(database, keys, count):
    engines = [make_engine(database) for _ in range(count)]
    yield [Sequencer(engine, keys, SMALL) for engine in engines]
    for engine in engines:
        await engine.dispose()


async def test_several_at_once_make_one_tree(database, log, raw, keys, engine):
    async with several(database, keys, 4) as sequencers:
        adding = asyncio.create_task(add(log, 1000))
        while not adding.done():
            await asyncio.gather(*(one.step() for one in sequencers))
        await asyncio.gather(*(one.catch_up() for one in sequencers))
    assert [index for index, _ in await places(raw)] == list(range(1000))
    hashes = [bytes(one) for (one,) in await raw.run("SELECT leaf_hash FROM audit_entry ORDER BY leaf_index")]
    last = await Prover(engine).latest()
    assert (last.size, last.root_hash) == (1000, root_of(hashes))


async def test_one_goes_on_from_where_another_one_stopped(log, engine, keys, raw):
    one, other = Sequencer(engine, keys, SMALL), Sequencer(engine, keys, SMALL)
    assert await one.step() == 0  # it knows the empty tree now
    for sequencer, size in ((other, 5), (one, 3), (other, 1), (one, 2)):
        await add(log, size, f"{size}-")
        assert await sequencer.step() == size
    assert [index for index, _ in await places(raw)] == list(range(11))


async def test_keys_change_between_two_checkpoints(log, sequencer, engine, keys):
    await add(log, 3)
    await sequencer.step()
    old, new = keys.rotate()
    await add(log, 3, "u")
    await sequencer.step()
    both = await Prover(engine).latest()
    assert checked(both.note, keys.load().origin, [old]) == checked(both.note, keys.load().origin, [new])
    await add(log, 3, "v")
    assert await Sequencer(engine, keys, SMALL).step() == 3
    assert (await Prover(engine).latest()).note.count("\u2014") == 1


ALTERED = {
    "leaf hash on the edge": "UPDATE audit_entry SET leaf_hash = {hash} WHERE leaf_index = 600",
    "leaf hash gone": "UPDATE audit_entry SET leaf_index = NULL WHERE leaf_index = 600",
    "more indices than signed": "UPDATE audit_entry SET leaf_index = 700 WHERE leaf_index IS NULL",
    "last record moved": "UPDATE audit_entry SET leaf_index = 9999 WHERE leaf_index = 619",
    "a checkpoint less": "DELETE FROM audit_checkpoint WHERE tree_size = 620",
    "no checkpoint": "DELETE FROM audit_checkpoint",
    "another root": "UPDATE audit_checkpoint SET root_hash = {hash} WHERE tree_size = 620",
    "another note": "UPDATE audit_checkpoint SET note = 'x'",
    "root of a tile": "UPDATE audit_tile SET root_hash = {hash}",
    "no tiles": "DELETE FROM audit_tile",
}


UNSEEN_WHILE_RUNNING = ("root of a tile", "no tiles", "leaf hash on the edge", "leaf hash gone", "another note")
"""A running sequencer goes on from the edge that it knows, which is right; `fsck` names what became of the database."""


@pytest.mark.parametrize("change", ALTERED.values(), ids=ALTERED)
@pytest.mark.parametrize("running", [True, False])
async def test_a_tree_that_was_changed_is_not_signed(log, raw, engine, keys, sequencer, change, running):
    await add(log, 600)
    await sequencer.catch_up()
    await add(log, 20, "u")
    await sequencer.catch_up()
    await add(log, 1, "v")
    await raw.disarm()
    await raw.run(change.format(hash=f"x'{'ab' * 32}'" if raw.sqlite else f"'\\x{'ab' * 32}'"))
    seen = await raw.run("SELECT count(*) FROM audit_checkpoint")
    later = sequencer if running else Sequencer(engine, keys, SMALL)
    if running and any(change == ALTERED[name] for name in UNSEEN_WHILE_RUNNING):
        await later.step()
        return
    with pytest.raises(TreeRefusedError, match="not signed any more"):
        await later.step()
    assert await raw.run("SELECT count(*) FROM audit_checkpoint") == seen


async def test_what_another_installation_signed_is_refused(log, engine, tmp_path, sequencer):
    await add(log, 3)
    await sequencer.step()
    with pytest.raises(TreeRefusedError, match="not one of ours"):
        await Sequencer(engine, SigningKeys(tmp_path / "another"), SMALL).step()


async def test_a_record_that_was_emptied_is_proved_to_who_kept_its_bytes(log, raw, engine, sequencer, keys):
    (receipt,) = await log.append(accepted("old", at=datetime.now(UTC) - timedelta(days=181)))
    await add(log, 3)
    await sequencer.step()
    prover, signers = Prover(engine), keys.load()
    kept = (await prover.inclusion(receipt.entry_id)).leaf
    empty = "x''" if raw.sqlite else "''::bytea"
    await raw.run(f"UPDATE audit_entry SET leaf = {empty}, subject = '', turn_id = '' WHERE turn_id = 'old'")
    proof = await prover.inclusion(receipt.entry_id)
    assert proof.leaf == b""
    assert "extra" not in proof.text()
    checkpoint = checked(proof.note, signers.origin, signers.known)
    proof.check(checkpoint, leaf_hash(kept))
    with pytest.raises(ProofError):
        proof.check(checkpoint, leaf_hash(kept + b" "))


async def test_a_record_that_was_altered_cannot_be_proved(log, raw, engine, sequencer):
    (entry_id,) = await add(log, 1)
    await sequencer.step()
    await raw.disarm()
    await raw.run("UPDATE audit_entry SET leaf = leaf_hash")
    with pytest.raises(AuditIntegrityError, match="altered"):
        await Prover(engine).inclusion(entry_id)
