"""Whatever is altered in a database with all rights is named; an honest one raises no alarm."""

import base64
import hashlib
import shutil
import sqlite3
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.engine import make_url

from audit.keys import FileMasterKey, KeyFileError
from audit.record import Kind
from audit.signing import SigningKeys
from audit.verification.database import verify_database
from audit.verification.helpers import Help, hired
from gateway.database import make_engine
from migrations.run import upgrade
from tests.contract.audit.conftest import MASTER, Raw, opened
from tests.contract.audit.sequenced import fill, named, sequence, trust_of, verified
from tests.contract.audit.turns import accepted, completed, entry


@pytest.fixture
def keys(tmp_path) -> Path:
    return tmp_path / "signing"


@pytest.fixture
async def filled(database, keys, raw) -> Raw:
    """200 turns: 600 records, two whole tiles, a checkpoint for each 50 records."""
    await fill(database, keys, 200)
    await raw.disarm()
    if not raw.sqlite:
        for table in ("audit_tile", "audit_checkpoint"):
            await raw.run(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    return raw


async def test_an_honest_database_holds(database, filled, keys):
    summary, found = await verified(database, trust_of(keys))
    assert found == []
    assert (summary.records, summary.tree_size, summary.checkpoints) == (600, 600, 12)
    assert summary.texts == 200 * 4 + 200 * 2 + 5
    assert "waiting" not in summary.about
    assert (await verified(database, trust_of(keys, master=None)))[0].ok


async def test_another_master_key_is_one_clear_error(database, keys):
    await fill(database, keys, 2)
    with pytest.raises(KeyFileError, match="master key"):
        await verified(database, trust_of(keys, master=FileMasterKey(b"another-master-key-of-32-bytes!!")))


async def test_an_empty_database_holds(database, keys):
    SigningKeys(keys).load_or_create()
    assert (await verified(database, trust_of(keys)))[0].ok


async def test_waiting_records_are_checked_too(database, filled, keys, log, raw):
    await log.append(accepted("late"))
    summary, found = await verified(database, trust_of(keys))
    assert (found, summary.about) == ([], "1 records wait for their place")
    await raw.run("UPDATE audit_entry SET leaf = leaf_hash WHERE leaf_index IS NULL")
    assert await named(database, trust_of(keys)) == [("altered", None, None)]


LEAF_AND_HASH = ", ".join(
    f"{name} = (SELECT {name} FROM audit_entry WHERE leaf_index = 7)" for name in ("leaf", "leaf_hash")
)
CHANGES = {
    "leaf": ("UPDATE audit_entry SET leaf = leaf_hash WHERE leaf_index = 9", ("altered", 9, None)),
    "leaf hash": ("UPDATE audit_entry SET leaf_hash = leaf WHERE leaf_index = 9", ("altered", 9, None)),
    "both, in a tile": (f"UPDATE audit_entry SET {LEAF_AND_HASH} WHERE leaf_index = 9", ("reordered", 9, None)),
    "both, in no tile": (f"UPDATE audit_entry SET {LEAF_AND_HASH} WHERE leaf_index = 577", ("root", 550, 599)),
    "dropped": ("DELETE FROM audit_entry WHERE leaf_index = 9", ("missing", 9, 9)),
    "dropped, in no tile": ("DELETE FROM audit_entry WHERE leaf_index = 590", ("missing", 590, 590)),
    "truncated": ("DELETE FROM audit_entry WHERE leaf_index >= 580", ("missing", 580, 599)),
    "place taken away": ("UPDATE audit_entry SET leaf_index = NULL WHERE leaf_index = 9", ("missing", 9, 9)),
    "place beyond": ("UPDATE audit_entry SET leaf_index = 500000 WHERE leaf_index = 9", ("extra", 500000, None)),
    "emptied": ("UPDATE audit_entry SET leaf = '' WHERE leaf_index = 9", ("missing", 9, 9)),
    "subject": ("UPDATE audit_entry SET subject = 'eve' WHERE leaf_index = 9", ("column", 9, None)),
    "time": ("UPDATE audit_entry SET at_us = 5 WHERE leaf_index = 9", ("column", 9, None)),
    "kind": ("UPDATE audit_entry SET kind = 'login' WHERE leaf_index = 9", ("column", 9, None)),
    "turn": ("UPDATE audit_entry SET turn_id = 'x' WHERE leaf_index = 9", ("column", 9, None)),
    "tile": ("UPDATE audit_tile SET hashes = root_hash WHERE level = 0 AND position = 1", ("tile", None, None)),
    "tile root": ("UPDATE audit_tile SET root_hash = hashes WHERE level = 0 AND position = 1", ("tile", None, None)),
    "tile dropped": ("DELETE FROM audit_tile WHERE position = 1", ("tile", None, None)),
    "tile forged": (
        "INSERT INTO audit_tile SELECT level, position + 7, hashes, root_hash FROM audit_tile WHERE position = 1",
        ("tile", None, None),
    ),
    "checkpoint": ("UPDATE audit_checkpoint SET root_hash = '' WHERE tree_size = 100", ("checkpoint", None, None)),
    "note": ("UPDATE audit_checkpoint SET note = 'x' WHERE tree_size = 600", ("checkpoint", None, None)),
    "checkpoint moved": ("UPDATE audit_checkpoint SET tree_size = 7 WHERE tree_size = 100", ("checkpoint", None, None)),
    "text": ("UPDATE audit_content SET sealed = wrapped_key WHERE ordinal = 1", ("content", 2, None)),
    "texts dropped": ("DELETE FROM audit_content WHERE ordinal = 1", ("content", None, None)),
    "dialogue": ("UPDATE audit_text SET sealed = wrapped_key", ("content", 0, None)),
    "dialogues dropped": ("DELETE FROM audit_text", ("content", None, None)),
    "key destroyed in silence": (
        "UPDATE subject_key SET wrapped = NULL, destroyed_us = 1 WHERE subject = 'p3'",
        ("content", None, None),
    ),
    "turn hidden": ("DELETE FROM audit_turn WHERE turn_id = 't9'", ("turn", None, None)),
    "turn whitewashed": ("UPDATE audit_turn SET verdict = 'block' WHERE turn_id = 't9'", ("turn", None, None)),
    "facet hidden": ("DELETE FROM audit_facet WHERE turn_id = 't9' AND facet = 'rule'", ("turn", None, None)),
    "facet moved": ("UPDATE audit_facet SET opened_us = 5 WHERE turn_id = 't9'", ("turn", None, None)),
    "facet forged": (
        "INSERT INTO audit_facet SELECT 'category', 'x', opened_us, turn_id FROM audit_turn WHERE turn_id = 't9'",
        ("turn", None, None),
    ),
    "turn given away": ("UPDATE audit_turn SET subject = 'eve' WHERE turn_id = 't9'", ("turn", None, None)),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
async def test_what_is_changed_with_all_rights_is_named(database, filled, keys, change):
    statement, (code, first, last) = CHANGES[change]
    if filled.sqlite:
        statement = statement.replace("= ''", "= x''")
    elif statement.startswith("DELETE FROM audit_entry"):
        which = statement.partition("WHERE")[2]
        for table in ("audit_content", "outbox"):
            await filled.run(f"DELETE FROM {table} WHERE entry_id IN (SELECT entry_id FROM audit_entry WHERE {which})")
    await filled.run(statement)
    found = await named(database, trust_of(keys))
    assert any(one[0] == code and (first is None or one == (code, first, last)) for one in found), found
    if code in ("altered", "column", "reordered"):
        assert {one[1] for one in found if one[0] not in ("turn", "content")} == {first}


async def test_two_records_that_changed_places_are_named(database, filled, keys):
    for here, there in ((9, 99999), (11, 9), (99999, 11)):
        await filled.run(f"UPDATE audit_entry SET leaf_index = {there} WHERE leaf_index = {here}")
    assert await named(database, trust_of(keys)) == [("reordered", 9, None), ("reordered", 11, None)]


async def test_several_changes_are_all_named(database, filled, keys):
    await filled.run("UPDATE audit_entry SET leaf = leaf_hash WHERE leaf_index IN (3, 270, 599)")
    await filled.run("UPDATE audit_entry SET subject = 'eve' WHERE leaf_index = 400")
    found = await named(database, trust_of(keys))
    assert found == [("altered", 3, None), ("malformed", 3, None), ("altered", 270, None), ("malformed", 270, None),
                     ("column", 400, None), ("altered", 599, None), ("malformed", 599, None)]  # fmt: skip


async def test_a_row_that_stands_twice_is_named(database, filled, keys):
    await filled.run("DROP INDEX audit_entry_by_leaf_index")
    await filled.run(
        "INSERT INTO audit_entry (entry_id, leaf, leaf_hash, leaf_index, kind, at_us, subject, turn_id)"
        " SELECT 'x', leaf, leaf_hash, leaf_index, kind, at_us, subject, turn_id FROM audit_entry WHERE leaf_index = 9"
    )
    assert ("duplicate", 9, None) in await named(database, trust_of(keys))


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


async def test_another_key_is_caught(database, filled, keys, tmp_path):
    folder = tmp_path / "others"
    SigningKeys(folder, origin=SigningKeys(keys).load().origin).load_or_create()
    found = await named(database, trust_of(folder))
    assert found.count(("checkpoint", None, None)) == 13  # twelve, and that nothing is proved


async def test_a_forged_checkpoint_under_another_key_is_caught(database, filled, keys):
    origin = SigningKeys(keys).load().origin
    text = f"{origin}\n9999\n{base64.b64encode(bytes(32)).decode()}\n"
    stranger = Ed25519PrivateKey.generate()
    raw_key = b"\x01" + stranger.public_key().public_bytes_raw()
    key_id = hashlib.sha256(origin.encode() + b"\n" + raw_key).digest()[:4]
    note = f"{text}\n— {origin} {base64.b64encode(key_id + stranger.sign(text.encode())).decode()}\n"
    zero = "x''" if filled.sqlite else "''"
    await filled.run(f"INSERT INTO audit_checkpoint VALUES (9999, {zero}, '{note}', 1)")
    assert await named(database, trust_of(keys)) == [("checkpoint", None, None)]


async def test_erased_texts_raise_no_alarm(database, filled, keys, log):
    await log.append(entry(Kind.SUBJECT_ERASED, "", "p3", detail={"erasure_id": "e", "case_number": "c"}))
    await sequence(database, keys)
    await filled.run("UPDATE subject_key SET wrapped = NULL, destroyed_us = 1 WHERE subject = 'p3'")
    assert await named(database, trust_of(keys)) == []


async def test_pruned_records_raise_no_alarm(database, filled, keys, log):
    await log.append(
        entry(Kind.RETENTION_PRUNED, "", "system", detail={"first": 0, "last": 29, "count": 30, "before": ""})
    )
    await sequence(database, keys)
    empty = "x''" if filled.sqlite else "''"
    await filled.run(f"UPDATE audit_entry SET leaf = {empty}, subject = '', turn_id = '' WHERE leaf_index < 30")
    await filled.run(
        "DELETE FROM audit_content WHERE entry_id IN (SELECT entry_id FROM audit_entry WHERE leaf_index < 30)"
    )
    for at in range(10):
        await filled.run(f"DELETE FROM audit_turn WHERE turn_id = 't{at}'")
    assert await named(database, trust_of(keys)) == []
    await filled.run(f"UPDATE audit_entry SET leaf = {empty} WHERE leaf_index = 40")
    assert ("missing", 40, 40) in await named(database, trust_of(keys))


async def test_stored_types_that_fit_no_column_are_findings_not_failures(database, keys, raw):
    if not raw.sqlite:
        pytest.skip("PostgreSQL keeps its types")
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


async def test_every_flipped_byte_of_a_leaf_is_named(database, keys, raw):
    """One byte of every record at once, each record named; sampled on PostgreSQL, every byte on SQLite."""
    async with opened(database) as log:
        for at in range(3):
            await log.append(entry(Kind.LOGIN, ""), entry(Kind.TURN_ACCEPTED, f"t{at}", verdict="allow"))
            await log.append(completed("One.", f"t{at}"))
    await sequence(database, keys, 4)
    await raw.disarm()
    leaves = [bytes(leaf) for (leaf,) in await raw.run("SELECT leaf FROM audit_entry ORDER BY leaf_index")]
    engine, trust = make_engine(database), trust_of(keys)
    try:
        for at in range(0, max(map(len, leaves)), 1 if raw.sqlite else 29):
            await put(raw, [flipped(leaf, at) for leaf in leaves])
            found = []
            await verify_database(engine, trust, found.append)
            assert {one.record for one in found if one.code == "altered"} == set(range(len(leaves))), at
        await put(raw, leaves)
        assert (await verify_database(engine, trust, found.append)).ok
    finally:
        await engine.dispose()


def flipped(leaf: bytes, at: int) -> bytes:
    at %= len(leaf)
    return leaf[:at] + bytes([leaf[at] ^ (1 << at % 8)]) + leaf[at + 1 :]


async def put(raw: Raw, leaves: list[bytes]) -> None:
    quoted = "x'{}'" if raw.sqlite else "'\\x{}'::bytea"
    cases = " ".join(f"WHEN {index} THEN {quoted.format(leaf.hex())}" for index, leaf in enumerate(leaves))
    await raw.run(f"UPDATE audit_entry SET leaf = CASE leaf_index {cases} END")


async def test_ten_thousand_honest_records_raise_no_alarm_and_helpers_find_what_one_process_finds(database, keys, raw):
    for part in range(4):
        await fill(database, keys, 850, batch=1000, prefix=f"part{part}.")
    trust = trust_of(keys)
    summary, found = await verified(database, trust)
    assert found == []
    assert summary.records == 10_200
    helped = Help(partial(make_engine, database), 2, worth=0)
    gone = Help(partial(make_engine, "sqlite+aiosqlite:////dev/null/nowhere.db"), 2, worth=0)
    assert await verified(database, trust, helped) == (summary, [])
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
    assert await verified(database, trust, helped) == alone
    assert await verified(database, trust, gone) == alone


async def test_helpers_tell_pages_that_hold_and_no_others(database, filled, keys):
    assert await told(database) == [True]
    for table, change in (("audit_facet", "value = 'x'"), ("audit_content", "ordinal = ordinal + 100")):
        await filled.run(f"UPDATE {table} SET {change}")
        assert await told(database) == [False]


async def told(database: str) -> list[bool]:
    """Whether a helper vouches for each page."""
    async with hired(Help(partial(make_engine, database), 2, worth=0), MASTER, 600, 600) as helpers:
        return [await helpers.sound() is not None]
