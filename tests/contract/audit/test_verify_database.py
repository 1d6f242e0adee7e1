"""Whatever is altered in a database with all rights is named; an honest one raises no alarm."""

import shutil
import sqlite3
import time
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from audit import identifiers
from audit.keys import FileMasterKey, KeyFileError
from audit.record import Kind
from audit.signing import SigningKeys
from audit.verification.database import Trust
from audit.verification.helpers import Help, forked
from audit.verify import Finding, Summary
from gateway.database import make_engine
from migrations.run import upgrade
from tests.contract.audit.conftest import Raw, opened
from tests.contract.audit.sequenced import fill, named, sequence, trust_of, verified
from tests.contract.audit.turns import accepted, completed, entry


@pytest.fixture
def keys(tmp_path) -> Path:
    return tmp_path / "signing"


async def test_another_master_key_is_one_clear_error(database, keys):
    await fill(database, keys, 2)
    with pytest.raises(KeyFileError, match="master key"):
        await verified(database, trust_of(keys, master=FileMasterKey(b"another-master-key-of-32-bytes!!")))


async def test_an_empty_database_holds(database, keys):
    SigningKeys(keys).load_or_create()
    assert (await verified(database, trust_of(keys)))[0].ok


async def test_an_older_copy_is_caught_with_a_checkpoint_from_outside(database, keys, raw, tmp_path):
    await fill(database, keys, 20)
    old = [note for (note,) in await raw.run("SELECT note FROM audit_checkpoint")]
    if not raw.sqlite:
        await fill(database, keys, 10, prefix="later")
        kept = (await raw.run("SELECT note FROM audit_checkpoint ORDER BY tree_size DESC LIMIT 1"))[0][0]
        await roll_back(raw, 60)
        copy = database
    else:
        path = Path(make_url(database).database)
        copy = f"sqlite+aiosqlite:///{tmp_path}/copy.db"
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        shutil.copy(path, tmp_path / "copy.db")
        await fill(database, keys, 10, prefix="later")
        kept = (await raw.run("SELECT note FROM audit_checkpoint ORDER BY tree_size DESC LIMIT 1"))[0][0]
    assert await named(copy, trust_of(keys)) == []
    assert await named(copy, trust_of(keys, *old)) == []
    assert await named(copy, trust_of(keys, kept)) == [("rollback", 60, 89)]
    if copy != database:
        assert await named(database, trust_of(keys, kept, *old)) == []


async def roll_back(raw: Raw, size: int) -> None:
    await raw.disarm()
    await raw.run("ALTER TABLE audit_checkpoint DISABLE TRIGGER USER")
    await raw.run(f"DELETE FROM audit_checkpoint WHERE tree_size > {size}")
    for table in ("audit_content", "outbox"):
        gone = f"SELECT entry_id FROM audit_entry WHERE leaf_index >= {size}"
        await raw.run(f"DELETE FROM {table} WHERE entry_id IN ({gone})")
    turns = f"SELECT turn_id FROM audit_entry WHERE leaf_index >= {size}"
    for table in ("audit_turn", "audit_facet"):
        await raw.run(f"DELETE FROM {table} WHERE turn_id IN ({turns})")
    await raw.run(f"DELETE FROM audit_entry WHERE leaf_index >= {size}")


async def test_a_fork_is_caught_with_a_checkpoint_from_outside(database, keys, raw, tmp_path):
    """The holder of the key tells another story under the same key."""
    await fill(database, keys, 20)
    other = f"sqlite+aiosqlite:///{tmp_path}/other.db"
    upgrade(other)
    forged = shutil.copytree(keys, tmp_path / "forged")
    (forged / "last.checkpoint").unlink()
    await fill(other, forged, 20)
    notes = await Raw(other).run("SELECT note FROM audit_checkpoint")
    assert await named(other, trust_of(keys)) == []
    found = await named(database, trust_of(keys, *(note for (note,) in notes)))
    assert {one[0] for one in found} == {"fork"}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_stored_types_that_fit_no_column_are_findings_not_failures(database, keys, raw):
    """PostgreSQL keeps its types."""
    await fill(database, keys, 10)
    await raw.disarm()
    for statement in (
        "UPDATE audit_entry SET leaf = 'text' WHERE leaf_index = 3",
        "UPDATE audit_entry SET leaf_hash = 7 WHERE leaf_index = 4",
        "UPDATE audit_entry SET at_us = 'x', kind = x'00' WHERE leaf_index = 5",
        "UPDATE audit_entry SET leaf_index = 'nowhere' WHERE leaf_index = 6",
        "UPDATE audit_content SET sealed = 'x', wrapped_key = 5",
        "UPDATE audit_text SET sealed = 5",
        "UPDATE audit_checkpoint SET note = x'ff'",
        "UPDATE audit_turn SET opened_us = 'x'",
    ):
        await raw.run(statement)
    found = {(code, index) for code, index, _ in await named(database, trust_of(keys))}
    assert {("altered", 3), ("altered", 4), ("column", 5), ("missing", 6), ("extra", None), ("content", 0)} <= found


@pytest.mark.parametrize("behind_s", [-5, 5])
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_turn_that_was_closed_twice_raises_no_alarm(database, keys, raw, monkeypatch, at_once, behind_s):
    """Two gateways close it, and the clock of one is wrong: ids do not say whose record was written last."""
    async with opened(database) as log:
        await log.append(accepted("t1"))
        await log.append(entry(Kind.TURN_INTERRUPTED, "t1", verdict="allow", reason="process_ended"))
    if not at_once:
        await sequence(database, keys)
    now = time.time_ns
    monkeypatch.setattr(identifiers.time, "time_ns", lambda: now() - behind_s * 10**9)
    async with opened(database) as log:
        await log.append(completed("Answer", "t1", verdict="redact"))
    monkeypatch.undo()
    await sequence(database, keys)
    assert await named(database, trust_of(keys)) == []
    await raw.run("UPDATE audit_turn SET closed_entry = opened_entry")
    assert {code for code, _, _ in await named(database, trust_of(keys))} == {"turn"}


async def test_ten_thousand_honest_records_raise_no_alarm_and_helpers_find_what_one_process_finds(database, keys, raw):
    for part in range(4):
        await fill(database, keys, 850, batch=1000, prefix=f"part{part}.")
    trust = trust_of(keys)
    summary, found = await verified(database, trust)
    assert found == []
    assert summary.records == 10_200
    assert await helped(database, trust) == (summary, [])
    await raw.disarm()
    for statement in (
        "UPDATE audit_entry SET subject = 'eve' WHERE leaf_index IN (5000, 9000)",
        "UPDATE audit_entry SET leaf = leaf_hash WHERE leaf_index = 2100",
        "UPDATE audit_turn SET verdict = 'block' WHERE turn_id = 'part2.7'",
        "UPDATE audit_content SET sealed = wrapped_key WHERE ordinal = 1",
    ):
        await raw.run(statement)
    alone = await verified(database, trust)
    assert {one.code for one in alone[1]} == {"altered", "malformed", "column", "turn", "content"}
    assert await helped(database, trust) == alone


async def helped(database: str, trust: Trust) -> tuple[Summary, list[Finding]]:
    with forked(2) as pipes:
        return await verified(database, trust, Help(partial(make_engine, database), pipes, worth=0))
