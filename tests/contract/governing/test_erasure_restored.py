"""The ledger of erasures: a restored database forgets again, and nothing is left in its file."""

import shutil

import pytest
from sqlalchemy.engine import make_url

from audit.ledger import ErasureLedger, LedgerError, LedgerLine
from tests.contract.audit.conftest import opened
from tests.contract.governing.conftest import erase


def test_a_torn_line_does_not_count_and_a_damaged_one_does(tmp_path, ledger):
    copy = ErasureLedger(tmp_path / "one")
    first = LedgerLine("e1", "alice", "GDPR-4", "cli:carol", 1, 2, ("k1",))
    assert ledger.lines() == ()
    ledger.append(first)
    with ledger.path.open("ab") as file:
        file.write(b'{"erasure_id": "e2", "subj')
    assert ledger.lines() == (first,)
    ledger.append(first)
    assert ledger.lines() == (first, first)
    assert ledger.path.stat().st_mode & 0o777 == 0o600
    copy.path.write_bytes(ledger.path.read_bytes().replace(b'"subject"', b'"zubject"', 1))
    with pytest.raises(LedgerError, match="Line 1"):
        copy.lines()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_restored_database_forgets_again(tmp_path, database, log, engine, erasures):
    """Somebody is erased, then the database is put back as it was before: the next start erases again."""
    path = str(make_url(database).database)
    await log.add_turn("t1")
    await log.log.close()
    await engine.dispose()
    shutil.copy(path, tmp_path / "backup.db")
    async with opened(database):
        await erase(erasures)
    await engine.dispose()
    for side in ("-wal", "-shm"):
        (tmp_path / f"attest.db{side}").unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup.db", path)
    async with opened(database) as restored:
        trail = await restored.turn("t1")
        assert trail is not None
        assert trail.message == "Question of t1"
        assert [one.subject for one in await erasures.reapply()] == ["alice"]
        trail = await restored.turn("t1")
        assert trail is not None
        assert trail.message == ""
        assert await erasures.reapply() == ()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_the_wrapped_key_stays_nowhere_in_the_file(log, raw, erasures, tmp_path):
    await log.add_turn("t1")
    ((wrapped,),) = await raw.run("SELECT wrapped FROM subject_key")
    files = [tmp_path / f"attest.db{side}" for side in ("", "-wal")]
    assert any(wrapped in file.read_bytes() for file in files)
    await erase(erasures)
    assert not any(wrapped in file.read_bytes() for file in files)
