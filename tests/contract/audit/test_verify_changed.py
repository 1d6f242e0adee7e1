"""Whatever is changed with all rights in a database of 600 records is named, and nothing else."""

import asyncio
import base64
import hashlib
import json
import multiprocessing
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.canonical import canonical_json, leaf_hash
from audit.record import Kind
from audit.signing import SigningKeys
from audit.verification.helpers import Help, forked, hire
from gateway.database import make_engine
from tests.contract.audit.conftest import MASTER, Raw
from tests.contract.audit.sequenced import fill, named, sequence, trust_of, verified
from tests.contract.audit.turns import accepted, entry
from tests.rig.databases import copied, migrated


class Filled(NamedTuple):
    """A database that is copied for each test, and the folder of its log's keys."""

    database: str
    keys: Path


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def once(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """200 turns: 600 records, two whole tiles, a checkpoint for each 50 records, and no triggers."""
    folder = tmp_path_factory.mktemp("filled")
    with migrated(request, request.param, folder) as url:
        asyncio.run(fill(url, folder / "signing", 200))
        asyncio.run(Raw(url).disarm())
        yield Filled(url, folder / "signing")


@pytest.fixture
def database(once: Filled, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with copied(request, once.database, tmp_path) as url:
        yield url


@pytest.fixture
def keys(once: Filled, tmp_path: Path) -> Path:
    return Path(shutil.copytree(once.keys, tmp_path / "signing"))


@pytest.fixture
def filled(raw: Raw) -> Raw:
    return raw


async def test_an_honest_database_holds(database, filled, keys):
    summary, found = await verified(database, trust_of(keys))
    assert found == []
    assert (summary.records, summary.tree_size, summary.checkpoints) == (600, 600, 12)
    assert summary.texts == 200 * 4 + 200 * 2 + 5
    assert "waiting" not in summary.about
    assert (await verified(database, trust_of(keys, master=None)))[0].ok


async def test_waiting_records_are_checked_too(database, filled, keys, log, raw):
    await log.append(accepted("late"))
    summary, found = await verified(database, trust_of(keys))
    assert (found, summary.about) == ([], "1 records wait for their place")
    await raw.run("UPDATE audit_entry SET leaf = leaf_hash WHERE leaf_index IS NULL")
    assert await named(database, trust_of(keys)) == [("altered", None, None)]


LEAF_AND_HASH = ", ".join(
    f"{name} = (SELECT {name} FROM audit_entry WHERE leaf_index = 7)" for name in ("leaf", "leaf_hash")
)
PLACED = {
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
    "text": ("UPDATE audit_content SET sealed = wrapped_key WHERE ordinal = 1", ("content", 2, None)),
    "dialogue": ("UPDATE audit_text SET sealed = wrapped_key", ("content", 0, None)),
}  # fmt: skip
"""Changes with what names them: a code, the first record and the last one."""
SOMEWHERE = {
    "tile": {
        "changed": "UPDATE audit_tile SET hashes = root_hash WHERE level = 0 AND position = 1",
        "root": "UPDATE audit_tile SET root_hash = hashes WHERE level = 0 AND position = 1",
        "dropped": "DELETE FROM audit_tile WHERE position = 1",
        "forged": "INSERT INTO audit_tile SELECT level, position + 7, hashes, root_hash FROM audit_tile"
        " WHERE position = 1",
    },
    "checkpoint": {
        "root": "UPDATE audit_checkpoint SET root_hash = '' WHERE tree_size = 100",
        "note": "UPDATE audit_checkpoint SET note = 'x' WHERE tree_size = 600",
        "moved": "UPDATE audit_checkpoint SET tree_size = 7 WHERE tree_size = 100",
    },
    "content": {
        "texts dropped": "DELETE FROM audit_content WHERE ordinal = 1",
        "dialogues dropped": "DELETE FROM audit_text",
        "key destroyed in silence": "UPDATE subject_key SET wrapped = NULL, destroyed_us = 1 WHERE subject = 'p3'",
    },
    "turn": {
        "hidden": "DELETE FROM audit_turn WHERE turn_id = 't9'",
        "whitewashed": "UPDATE audit_turn SET verdict = 'block' WHERE turn_id = 't9'",
        "given away": "UPDATE audit_turn SET subject = 'eve' WHERE turn_id = 't9'",
        "facet hidden": "DELETE FROM audit_facet WHERE turn_id = 't9' AND facet = 'rule'",
        "facet moved": "UPDATE audit_facet SET opened_us = 5 WHERE turn_id = 't9'",
        "facet forged": "INSERT INTO audit_facet SELECT 'category', 'x', opened_us, turn_id FROM audit_turn"
        " WHERE turn_id = 't9'",
    },
}
"""Changes by the code that names them, at whichever record."""
CHANGES = PLACED | {
    f"{code} {name}": (statement, (code, None, None))
    for code, several in SOMEWHERE.items()
    for name, statement in several.items()
}


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


FORGED_ID = "01890000-0000-7000-8000-000000000000"


async def test_a_record_that_was_pushed_in_is_named(database, filled, keys):
    """A record as Attest writes them, in the middle, and every later one moved up by a place."""
    (raw_leaf,) = (await filled.run("SELECT leaf FROM audit_entry WHERE leaf_index = 300"))[0]
    forged = canonical_json(json.loads(bytes(raw_leaf)) | {"entry_id": FORGED_ID})
    for shift in ("leaf_index = leaf_index + 1000001 WHERE leaf_index >= 300",
                  "leaf_index = leaf_index - 1000000 WHERE leaf_index > 1000000"):  # fmt: skip
        await filled.run(f"UPDATE audit_entry SET {shift}")
    leaf, hashed = (f"x'{one.hex()}'" if filled.sqlite else f"'\\x{one.hex()}'" for one in (forged, leaf_hash(forged)))
    await filled.run(
        "INSERT INTO audit_entry (entry_id, leaf, leaf_hash, leaf_index, kind, at_us, subject, turn_id)"
        f" SELECT '{FORGED_ID}', {leaf}, {hashed}, 300, kind, at_us, subject, turn_id FROM audit_entry"
        " WHERE leaf_index = 301"
    )
    found = await named(database, trust_of(keys))
    assert found[:3] == [("altered", 300, None), ("reordered", 301, None), ("reordered", 302, None)]
    assert ("extra", 600, None) in found
    assert min(record for _, record, _ in found if record is not None) == 300


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
        for table in ("audit_turn", "audit_facet"):
            await filled.run(f"DELETE FROM {table} WHERE turn_id = 't{at}'")
    assert await named(database, trust_of(keys)) == []
    await filled.run(f"UPDATE audit_entry SET leaf = {empty} WHERE leaf_index = 40")
    assert ("missing", 40, 40) in await named(database, trust_of(keys))


async def test_helpers_tell_pages_that_hold_and_no_others(database, filled, keys):
    assert await told(database) == [True]
    for table, change in (("audit_facet", "value = 'x'"), ("audit_content", "ordinal = ordinal + 100")):
        await filled.run(f"UPDATE {table} SET {change}")
        assert await told(database) == [False]


async def told(database: str) -> list[bool]:
    """Whether a helper vouches for each page."""
    with forked(2) as pipes:
        helpers = hire(Help(partial(make_engine, database), pipes, worth=0), MASTER, 600, 600)
        return [await helpers.sound() is not None]


async def test_helpers_that_end_at_once_change_nothing(database, filled, keys):
    await filled.run("UPDATE audit_entry SET subject = 'eve' WHERE leaf_index IN (500, 590)")
    alone = await verified(database, trust_of(keys))
    assert [one.record for one in alone[1] if one.code == "column"] == [500, 590]
    with forked(2) as pipes:
        gone = Help(partial(make_engine, "sqlite+aiosqlite:////dev/null/nowhere.db"), pipes, worth=0)
        assert await verified(database, trust_of(keys), gone) == alone


async def test_helpers_that_were_killed_change_nothing(database, filled, keys):
    alone = await verified(database, trust_of(keys))
    with forked(2) as pipes:
        for helper in multiprocessing.active_children():
            helper.kill()
            helper.join()
        assert await verified(database, trust_of(keys), Help(partial(make_engine, database), pipes, worth=0)) == alone


def test_nobody_helps_one_alone():
    with forked(1) as pipes:
        assert list(pipes) == []
        assert multiprocessing.active_children() == []
    with forked(2):
        assert len(multiprocessing.active_children()) == 2
    assert multiprocessing.active_children() == []
