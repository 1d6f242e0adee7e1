"""`attest audit verify`, as its users call it."""

import asyncio
import json
import shutil
import sqlite3
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from audit.bundle.export import BundleExport, BundleOrder
from audit.keys import FileMasterKey
from audit.log import SqlAuditLog
from audit.record import Content, Entry, Kind
from audit.signing import SigningKeys
from gateway.cli import main
from gateway.database import make_engine


@pytest.fixture
def url(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTEST_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ATTEST_DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path}/attest.db")
    FileMasterKey.load_or_create(tmp_path / "master.key")
    SigningKeys(tmp_path / "signing").load_or_create()
    attest("migrate")
    return f"sqlite+aiosqlite:///{tmp_path}/attest.db"


def attest(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout


def fill(url: str, tmp_path, count: int = 5) -> None:
    async def work():
        engine = make_engine(url)
        async with SqlAuditLog(engine, FileMasterKey.load(tmp_path / "master.key")) as log:
            for at in range(count):
                text = Content("message", "user", f"问题 {at}")
                await log.append(
                    Entry(
                        kind=Kind.TURN_ACCEPTED, at=datetime.now(UTC), subject="a", turn_id=f"t{at}", contents=(text,)
                    )
                )
        await engine.dispose()

    asyncio.run(work())
    attest("audit", "checkpoint")


def bundle(url: str, tmp_path) -> str:
    async def work():
        engine = make_engine(url)
        signers = SigningKeys(tmp_path / "signing").load()
        master = FileMasterKey.load(tmp_path / "master.key")
        await BundleExport(engine, signers, master).write(tmp_path / "bundle.zip", BundleOrder(texts=True))
        await engine.dispose()

    asyncio.run(work())
    return str(tmp_path / "bundle.zip")


def test_the_database_is_verified(url, tmp_path):
    fill(url, tmp_path)
    assert "OK: all holds" in attest("audit", "verify", "--database")
    summary = json.loads(attest("audit", "verify", "--database", "--json"))
    assert (summary["ok"], summary["records"], summary["texts"], summary["keys_given"]) == (True, 5, 5, False)
    (tmp_path / "keys").write_text(attest("audit", "keys", "list"))
    assert json.loads(attest("audit", "verify", "--database", "--key", f"{tmp_path}/keys", "--json"))["keys_given"]
    (tmp_path / "master.key").unlink()
    attest("audit", "verify", "--database", code=3)
    assert "texts were only counted" in attest("audit", "verify", "--database", "--no-texts")


def test_findings_name_the_record(url, tmp_path):
    fill(url, tmp_path)
    with sqlite3.connect(tmp_path / "attest.db") as connection:
        connection.execute("DROP TRIGGER audit_entry_no_update")
        connection.execute("UPDATE audit_entry SET leaf = x'00' WHERE leaf_index = 3")
    connection.close()
    lines = attest("audit", "verify", "--database", code=3).splitlines()
    assert lines[0].startswith("record 3: altered: its leaf is not the one that was logged")
    assert lines[-1].startswith("FAILED: ")
    *findings, summary = map(json.loads, attest("audit", "verify", "--database", "--json", code=3).splitlines())
    assert (findings[0]["code"], findings[0]["record"], summary["ok"]) == ("altered", 3, False)


def test_an_older_copy_is_found_even_without_a_checkpoint_from_outside(url, tmp_path):
    fill(url, tmp_path)
    with sqlite3.connect(tmp_path / "attest.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    shutil.copy(tmp_path / "attest.db", tmp_path / "older.db")
    fill(url, tmp_path)
    shutil.copy(tmp_path / "older.db", tmp_path / "attest.db")
    for more in ("-wal", "-shm"):
        (tmp_path / f"attest.db{more}").unlink(missing_ok=True)
    assert "records 5 to 9: rollback: last.checkpoint of the signing folder" in attest(
        "audit", "verify", "--database", code=3
    )


def test_chosen_turns_continue_the_checkpoints_that_the_receiver_keeps(url, tmp_path):
    notes = []
    for at in range(3):
        fill(url, tmp_path, 3)
        notes.append(tmp_path / f"kept-{at}")
        notes[at].write_text(attest("audit", "checkpoint"))
    fill(url, tmp_path, 3)
    chosen = ("audit", "export", "--format", "bundle", "--subject", "a")
    held = [f"--continues={notes[1]}", f"--continues={notes[2]}"]
    attest(*chosen, *held, str(tmp_path / "chosen.zip"))
    verify = ("audit", "verify", str(tmp_path / "chosen.zip"), "--checkpoint")
    assert "OK: all holds" in attest(*verify, str(notes[1]))
    assert "OK: all holds" in attest(*verify, str(notes[2]))
    attest(*chosen, str(tmp_path / "without.zip"))
    attest("audit", "verify", str(tmp_path / "without.zip"), "--checkpoint", str(notes[1]), code=3)
    (tmp_path / "none").write_text("no checkpoint")
    attest(*chosen, f"--continues={tmp_path / 'none'}", str(tmp_path / "other.zip"), code=2)
    attest("audit", "export", *held, str(tmp_path / "other.ndjson"), code=2)
    assert not list(tmp_path.glob("other*"))


def test_bundles_and_proofs_are_verified(url, tmp_path):
    fill(url, tmp_path)
    path = bundle(url, tmp_path)
    (tmp_path / "kept").write_text(attest("audit", "checkpoint"))
    (tmp_path / "keys").write_text(attest("audit", "keys", "list"))
    assert "OK" in attest("audit", "verify", path, "--checkpoint", f"{tmp_path}/kept", "--key", f"{tmp_path}/keys")
    entry_id = json.loads(attest("audit", "records", "--limit", "1"))["entry_id"]
    (tmp_path / "proof").write_text(attest("audit", "prove", entry_id))
    assert "turn.accepted at" in attest("audit", "verify", f"{tmp_path}/proof", "--key", f"{tmp_path}/keys")
    attest("audit", "verify", f"{tmp_path}/proof", code=3)
    (tmp_path / "bundle.zip").write_bytes(b"nonsense")
    attest("audit", "verify", path, code=3)


@pytest.mark.parametrize(
    "words",
    [
        *((), ("--database", "."), ("nothing.zip",), ("--database", "--key", "/nowhere")),
        *(("--elasticsearch", "."), ("--elasticsearch", "--key", "pyproject.toml")),
    ],
)
def test_wrong_use_is_code_2(url, words):
    attest("audit", "verify", *words, code=2)


def test_without_elasticsearch_there_is_one_clear_sentence(url):
    result = CliRunner().invoke(main, ["audit", "verify", "--elasticsearch"])
    assert (result.exit_code, result.stderr.strip()) == (3, "ATTEST_ELASTICSEARCH_URL is not set.")


def test_a_database_that_is_gone_or_none_is_one_clear_sentence(url, tmp_path):
    path = tmp_path / "attest.db"
    path.write_bytes(b"\x00 no database " * 1000)
    for side in ("-wal", "-shm"):
        (tmp_path / f"attest.db{side}").unlink(missing_ok=True)
    for error in ("DatabaseError", "OperationalError"):
        result = CliRunner().invoke(main, ["audit", "verify", "--database", "--no-texts"])
        assert (result.exit_code, result.stderr.strip()) == (3, f"The audit log cannot be read now ({error}).")
        path.unlink(missing_ok=True)
    assert not path.exists(), "a lost database does not come back empty"
