"""Pruning and erasure, as they are done, raise no alarm: in the database, and in bundles made from it."""

from datetime import timedelta

import pytest

from audit.bundle.export import BundleExport, BundleOrder, NothingSignedError
from audit.governing import Governor
from audit.ledger import LedgerLine
from audit.retention import MINIMUM, Keeping, Retention
from audit.verification import source
from audit.verification.database import Trust, verify_database
from audit.verify import parse_keys, verify_bundle
from tests.contract.audit.conftest import MASTER
from tests.contract.governing.conftest import OLD, Log
from tests.contract.governing.test_erasure import erase


async def findings(log: Log) -> list[tuple[str, int | None]]:
    signers = log.keys.load()
    keys = tuple(parse_keys("\n".join(map(str, signers.known)).encode()))
    found = []
    await verify_database(log.engine, Trust(origin=signers.origin, keys=keys, master_key=MASTER), found.append)
    return [(one.code, one.record) for one in found]


async def bundle_findings(log: Log, path, *places: int) -> list[tuple[str, int | None]]:
    async def chosen():
        for place in places:
            yield place

    await BundleExport(log.engine, log.keys.load(), MASTER).write(
        path, BundleOrder(texts=True), chosen() if places else None
    )
    found = []
    verify_bundle(path, found.append, None, [])
    return [(one.code, one.record) for one in found]


@pytest.fixture
async def pruned(log: Log, governor: Governor) -> Log:
    """Two old turns of which one shares texts with a new one, a third in between that is new; the old ones pruned."""
    await log.add_turn("old1", age=OLD, history=("Shared", "Old only"))
    await log.add_turn("new", history=("Shared",))
    await log.add_turn("old2", "bob", age=OLD)
    await log.sign()
    assert (await Retention(governor, Keeping(MINIMUM)).run()).pruned == 6
    return log


async def test_pruned_records_raise_no_alarm(pruned: Log, tmp_path):
    assert await findings(pruned) == []  # also before the records of the pruning have their place
    with pytest.raises(NothingSignedError, match="pruned"):
        await bundle_findings(pruned, tmp_path / "early")
    await pruned.sign()
    assert await findings(pruned) == []
    assert await bundle_findings(pruned, tmp_path / "whole.zip") == []
    assert await bundle_findings(pruned, tmp_path / "chosen.zip", 1, 4, 7) == []


async def test_erased_people_raise_no_alarm(log: Log, erasures, tmp_path):
    await log.add_turn("t1", history=("Earlier",))
    await log.add_turn("t2", "bob", history=("Earlier",))
    await log.sign()
    await erase(erasures)
    assert await findings(log) == []
    await log.add_turn("t3", history=("Earlier",))
    await log.sign()
    assert await findings(log) == []
    assert await bundle_findings(log, tmp_path / "whole.zip") == []


async def test_an_erasure_that_was_undone_is_found(log: Log, erasures, raw):
    await log.add_turn("t1", history=("Earlier",))
    await log.add_turn("t2", "bob")
    await log.sign()
    await raw.disarm()
    await raw.run("CREATE TABLE kept_key AS SELECT * FROM subject_key")
    await raw.run("CREATE TABLE kept_content AS SELECT * FROM audit_content")
    await erase(erasures)
    await log.sign()
    await log.add_turn("t3", "bob")
    await log.sign()
    await raw.run("UPDATE audit_entry SET at_us = at_us - 120000000 WHERE turn_id IN ('t1', 't2')")
    before = {found for found in await findings(log) if found[0] == "content"}
    wrapped = "(SELECT wrapped FROM kept_key k WHERE k.key_id = subject_key.key_id)"
    await raw.run(f"UPDATE subject_key SET wrapped = {wrapped}, destroyed_us = NULL WHERE wrapped IS NULL")
    await raw.run(
        "INSERT INTO audit_content SELECT * FROM kept_content k"
        " WHERE k.entry_id NOT IN (SELECT entry_id FROM audit_content)"
    )
    found = {found for found in await findings(log) if found[0] == "content"}
    assert before == set()
    assert {place for _, place in found} == {0, 1, 2}


async def test_an_erasure_that_was_undone_for_dialogues_alone_is_found(log: Log, erasures, raw):
    await log.add_turn("t1", history=("Earlier",))
    await log.sign()
    await raw.disarm()
    await raw.run("UPDATE subject_key SET created_us = created_us - 120000000")  # two minutes ago
    await raw.run("CREATE TABLE kept_key AS SELECT * FROM subject_key")
    await raw.run("CREATE TABLE kept_text AS SELECT * FROM audit_text")
    await erase(erasures)
    await log.sign()
    await log.add_turn("t2", history=("Earlier",))  # under a new key
    await log.sign()
    assert await findings(log) == []
    await raw.run("UPDATE subject_key SET wrapped = (SELECT wrapped FROM kept_key) WHERE wrapped IS NULL")
    assert await findings(log) == []  # a key without texts opens nothing
    await raw.run("INSERT INTO audit_text SELECT * FROM kept_text")
    assert await findings(log) == [("content", 3)]


async def test_an_erasure_that_was_undone_for_one_dialogue_is_found_whatever_the_keys_time_says(
    log: Log, erasures, raw, monkeypatch
):
    await log.add_turn("t1", age=timedelta(minutes=3))
    await log.add_turn("t2", age=timedelta(minutes=2), history=("Earlier",))
    await log.sign()
    await raw.disarm()
    await raw.run("CREATE TABLE kept_key AS SELECT * FROM subject_key")
    await raw.run("CREATE TABLE kept_text AS SELECT * FROM audit_text")
    ((kept,),) = await raw.run("SELECT count(*) FROM kept_text")
    await erase(erasures)
    await log.add_turn("t3", age=timedelta(minutes=1), history=("Earlier",))  # under a new key
    await log.sign()
    assert await findings(log) == []
    back = "wrapped = (SELECT wrapped FROM kept_key), created_us = created_us + 600000000"
    await raw.run(f"UPDATE subject_key SET {back} WHERE wrapped IS NULL")
    monkeypatch.setattr(source, "PAGE", 1)
    for one in range(kept):
        await raw.run("DELETE FROM audit_text WHERE text_id IN (SELECT text_id FROM kept_text)")
        which = f"ORDER BY text_id LIMIT 1 OFFSET {one}"
        await raw.run(f"INSERT INTO audit_text SELECT * FROM kept_text {which}")
        assert await findings(log) == [("content", 6)]


async def test_a_ledger_whose_keys_are_not_here_raises_no_alarm(log: Log, erasures, ledger):
    """Put back late, or of another database: it is applied, and what the person wrote since then stays."""
    await log.add_turn("t1", age=timedelta(minutes=10))
    await log.sign()
    ledger.append(LedgerLine("e1", "alice", "GDPR-4", "cli:carol", 1, 2, ("a key of another database",)))
    assert [one.subject for one in await erasures.reapply()] == ["alice"]
    await log.sign()
    turn = await log.turn("t1")
    assert turn is not None
    assert turn.message == "Question of t1"
    assert await findings(log) == []


async def test_texts_that_stay_of_pruned_records_are_found(log: Log, governor: Governor, raw):
    await log.add_turn("old", age=OLD)
    await log.sign()
    await raw.disarm()
    await raw.run("CREATE TABLE kept_content AS SELECT * FROM audit_content")
    assert (await Retention(governor, Keeping(MINIMUM)).run()).pruned == 3
    await log.sign()
    assert await findings(log) == []
    await raw.run("INSERT INTO audit_content SELECT * FROM kept_content")
    assert {code for code, _ in await findings(log)} == {"content"}


async def test_what_the_log_does_not_say_is_still_found(pruned: Log, raw):
    await pruned.sign()
    await raw.disarm()
    empty = "x''" if raw.sqlite else "''"
    await raw.run(f"UPDATE audit_entry SET leaf = {empty} WHERE leaf_index = 4")
    await raw.run("DELETE FROM audit_content WHERE ordinal = 0")
    assert {("missing", 4), ("content", 3)} <= set(await findings(pruned))
