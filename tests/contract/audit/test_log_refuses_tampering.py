"""The database itself refuses to change records; where that was taken away, reading finds what was changed."""

from datetime import UTC, datetime, timedelta

import pytest

from audit.keys import FileMasterKey
from audit.ports import AuditIntegrityError, AuditUnavailableError
from tests.contract.audit.conftest import opened
from tests.contract.audit.turns import accepted, completed, released

CHANGES = [
    *(
        f"UPDATE audit_entry SET {change}"
        for change in ("subject = 'eve'", "kind = 'login'", "turn_id = ''", "at_us = 0")
    ),
    "UPDATE audit_entry SET leaf = leaf_hash",
    "UPDATE audit_entry SET leaf_hash = leaf",
    "UPDATE audit_entry SET entry_id = 'x'",
    "DELETE FROM audit_entry",
    "UPDATE audit_content SET sealed = wrapped_key",
    "UPDATE audit_content SET ordinal = ordinal + 10",
    "UPDATE audit_text SET sealed = wrapped_key",
]


@pytest.mark.parametrize("change", CHANGES)
async def test_records_cannot_be_changed(log, raw, change):
    await log.append(accepted(), completed("x"))
    before = await raw.run("SELECT * FROM audit_entry")
    why = await raw.refused(change)
    assert "append-only" in why or "written once" in why
    assert await raw.run("SELECT * FROM audit_entry") == before


async def test_a_leaf_index_is_given_once(log, raw):
    await log.append(accepted(), completed("x"))
    first, second = [row[0] for row in await raw.run("SELECT entry_id FROM audit_entry ORDER BY entry_id")]
    await raw.run(f"UPDATE audit_entry SET leaf_index = 0 WHERE entry_id = '{first}'")
    await raw.refused(f"UPDATE audit_entry SET leaf_index = 1 WHERE entry_id = '{first}'")
    await raw.refused(f"UPDATE audit_entry SET leaf_index = NULL WHERE entry_id = '{first}'")
    await raw.refused(f"UPDATE audit_entry SET leaf_index = 0 WHERE entry_id = '{second}'")
    await raw.run(f"UPDATE audit_entry SET leaf_index = 1 WHERE entry_id = '{second}'")


PRUNE = "UPDATE audit_entry SET leaf = {empty}, subject = '', turn_id = '' WHERE kind = 'turn.accepted'"
OLD = datetime.now(UTC) - timedelta(days=180, minutes=1)
YOUNG = datetime.now(UTC) - timedelta(days=179, hours=23)


def prune(raw) -> str:
    return PRUNE.format(empty="x''" if raw.sqlite else "''::bytea")


async def test_what_is_old_enough_and_has_an_index_may_be_emptied_and_nothing_else(log, raw):
    await log.append(accepted(at=OLD))
    await raw.refused(prune(raw))  # not in the tree yet
    await raw.run("UPDATE audit_entry SET leaf_index = 0")
    for change in (
        *("entry_id = 'x'", "leaf_hash = leaf", "kind = 'login'", "at_us = 0", "leaf_index = NULL", "leaf_index = 7"),
        *("subject = 'eve'", "turn_id = 'other'"),
    ):
        await raw.refused(prune(raw).replace("subject = '', turn_id = ''", change))
    await raw.refused(prune(raw).replace("''", "'ff'", 1))
    await raw.run(prune(raw))
    assert await raw.run("SELECT length(leaf), subject, turn_id, leaf_index, kind FROM audit_entry") == [
        (0, "", "", 0, "turn.accepted")
    ]
    await raw.refused("UPDATE audit_entry SET subject = 'eve'")
    await raw.refused("DELETE FROM audit_entry")


async def test_what_is_younger_than_the_law_allows_is_not_emptied_by_the_database(log, raw):
    await log.append(accepted(at=YOUNG))
    await raw.run("UPDATE audit_entry SET leaf_index = 0")
    assert "append-only" in await raw.refused(prune(raw))


async def test_texts_may_be_deleted_for_erasure(log, raw):
    await log.append(accepted())
    await raw.run("DELETE FROM audit_content")
    await raw.run("DELETE FROM audit_text")


@pytest.mark.parametrize("table", ["audit_tile", "audit_checkpoint"])
async def test_tiles_and_checkpoints_are_written_once(raw, table):
    empty = "x'00'" if raw.sqlite else "'0'::bytea"
    row = f"(0, 0, {empty}, {empty})" if table == "audit_tile" else f"(1, {empty}, 'note', 0)"
    column = "hashes" if table == "audit_tile" else "root_hash"
    await raw.run(f"INSERT INTO {table} VALUES {row}")
    await raw.refused(f"INSERT INTO {table} VALUES {row}")
    await raw.refused(f"UPDATE {table} SET {column} = {empty}")
    await raw.refused(f"DELETE FROM {table}")
    await raw.refused(f"INSERT OR REPLACE INTO {table} VALUES {row}" if raw.sqlite else f"TRUNCATE {table}")
    assert len(await raw.run(f"SELECT * FROM {table}")) == 1


async def test_records_cannot_be_replaced_wholesale(log, raw):
    await log.append(accepted())
    before = await raw.run("SELECT * FROM audit_entry")
    if raw.sqlite:
        await raw.refused(
            "INSERT OR REPLACE INTO audit_entry SELECT entry_id, leaf_hash, leaf_hash, NULL, kind, at_us, subject, "
            "turn_id FROM audit_entry"
        )
    else:
        await raw.refused("TRUNCATE audit_entry CASCADE")
    assert await raw.run("SELECT * FROM audit_entry") == before


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_entry SET leaf = leaf_hash WHERE kind = 'turn.completed'",
        "UPDATE audit_content SET sealed = wrapped_key",
        "UPDATE audit_content SET wrapped_key = sealed",
        "UPDATE audit_text SET sealed = wrapped_key",
        "UPDATE audit_text SET text_id = 'x' || substr(text_id, 2)",
    ],
)
async def test_what_was_changed_with_all_rights_is_found_on_reading(log, raw, change):
    await log.append(accepted(), released("One.", 0), completed("One.", withheld="Two."))
    await raw.disarm()
    await raw.run(change)
    if "text_id =" in change:
        assert [one.text for one in (await log.turn("t1")).dialogue] == [""]
        return
    with pytest.raises(AuditIntegrityError):
        await log.turn("t1")


async def test_texts_of_two_records_cannot_be_swapped(log, raw):
    await log.append(accepted(), released("One.", 0), completed("One.", withheld="Two."))
    await raw.disarm()
    await raw.run(
        "UPDATE audit_content SET ordinal = 5 WHERE ordinal = 0 AND entry_id IN (SELECT max(entry_id) FROM audit_entry)"
    )
    await raw.run("UPDATE audit_content SET ordinal = 0 WHERE ordinal = 1")
    await raw.run("UPDATE audit_content SET ordinal = 1 WHERE ordinal = 5")
    with pytest.raises(AuditIntegrityError):
        await log.turn("t1")


async def test_a_start_with_another_master_key_is_refused(database):
    async with opened(database) as log:
        await log.append(accepted())
    with pytest.raises(AuditUnavailableError, match="ATTEST_MASTER_KEY_FILE"):
        async with opened(database, master=FileMasterKey(b"another-master-key-of-32-bytes!!")):
            pytest.fail("it started")


async def test_a_destroyed_key_takes_the_texts_and_leaves_the_records(log, raw):
    await log.append(accepted(), completed("x"))
    await raw.run("UPDATE subject_key SET wrapped = NULL, destroyed_us = 1")
    trail = await log.turn("t1")
    assert (trail.message, trail.generated, [one.text for one in trail.dialogue]) == ("", "", [""])
    assert len(trail.records) == 2
