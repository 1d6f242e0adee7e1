"""`attest audit checkpoint | prove | fsck | keys`, as their users call them."""

import asyncio
import base64
import json

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from audit.checkpoint import opened
from audit.log import SqlAuditLog
from audit.note import PublicKey
from audit.ports import AuditUnavailableError
from audit.proof import LogProof
from gateway.cli import main
from gateway.database import make_engine
from tests.integration.audit.test_audit_commands import a_turn


@pytest.fixture
def tamper(empty_database):
    """Change the database as somebody with all rights could."""

    def run(*statements: str) -> None:
        async def work():
            engine = make_engine(empty_database)
            async with engine.begin() as connection:
                for statement in statements:
                    await connection.execute(text(statement))
            await engine.dispose()

        asyncio.run(work())

    return run


def first_record(attest) -> str:
    return json.loads(attest("audit", "records", "--limit", "1"))["entry_id"]


def test_an_empty_log_has_no_checkpoint_and_is_sound(attest):
    attest("audit", "checkpoint", code=1)
    assert json.loads(attest("audit", "fsck", "--json")) == {
        "ok": True,
        "counts": {"tree_size": 0, "records": 0, "emptied": 0, "checkpoints": 0, "tiles": 0, "unsequenced": 0},
        "flaws": [],
    }


def test_a_checkpoint_is_a_note_that_the_listed_key_has_signed(attest, append):
    append(*a_turn())
    note = attest("audit", "checkpoint")
    listed = json.loads(attest("audit", "keys", "list", "--json"))
    checkpoint = opened(note, listed["origin"], [PublicKey.parse(listed["current"])])
    assert checkpoint.size == 3
    shown = json.loads(attest("audit", "checkpoint", "--json"))
    assert (shown["tree_size"], shown["root_hash"], shown["note"]) == (3, checkpoint.root_hash.hex(), note)
    assert attest("audit", "keys", "list").split() == listed["known"]


def test_a_proof_holds_by_itself(attest, append):
    append(*a_turn())
    entry_id = first_record(attest)
    written = attest("audit", "prove", entry_id)
    proof, listed = LogProof.parse(written), json.loads(attest("audit", "keys", "list", "--json"))
    proof.check(opened(proof.note, listed["origin"], [PublicKey.parse(listed["current"])]))
    assert json.loads(proof.leaf)["entry_id"] == entry_id
    attest("audit", "prove", "nobody", code=1)
    attest("audit", "prove", "x" * 1000, code=2)
    reads = [json.loads(line) for line in attest("audit", "records", "--kind", "access.read").splitlines()]
    assert [one["detail"] for one in reads] == [
        {"content": False, "found": True, "of_subject": "alice", "proof_of": entry_id},
        {"content": False, "found": False, "proof_of": "nobody"},
    ]


def test_fsck_names_what_was_changed(attest, append, tamper, empty_database):
    append(*a_turn())
    attest("audit", "checkpoint")
    assert attest("audit", "fsck") == ""
    sqlite = empty_database.startswith("sqlite")
    tamper(
        "DROP TRIGGER audit_entry_no_update" if sqlite else "ALTER TABLE audit_entry DISABLE TRIGGER USER",
        "UPDATE audit_entry SET leaf = leaf_hash WHERE leaf_index = 1",
    )
    assert attest("audit", "fsck", code=3).startswith("altered 1: the leaf does not have the hash")
    found = json.loads(attest("audit", "fsck", "--json", code=3))
    assert (found["ok"], [one["index"] for one in found["flaws"]]) == (False, [1])
    attest("audit", "prove", first_record(attest))


def test_a_tree_that_was_changed_is_not_signed(attest, append, tamper, empty_database):
    append(*a_turn())
    attest("audit", "checkpoint")
    sqlite = empty_database.startswith("sqlite")
    tamper(
        "DROP TRIGGER audit_checkpoint_no_delete" if sqlite else "ALTER TABLE audit_checkpoint DISABLE TRIGGER USER",
        "DELETE FROM audit_checkpoint",
    )
    attest("audit", "checkpoint", code=3)


def test_keys_change_and_what_was_signed_before_stays_valid(attest, append, tmp_path):
    append(*a_turn())
    before = attest("audit", "checkpoint")
    attest("audit", "keys", "rotate")
    attest("audit", "keys", "rotate", code=3)  # the first change waits for its checkpoint
    after = attest("audit", "checkpoint")
    listed = json.loads(attest("audit", "keys", "list", "--json"))
    new, old = (PublicKey.parse(key) for key in listed["known"])
    assert listed["current"] == str(new)
    assert opened(before, listed["origin"], [old]).size == 3
    assert opened(after, listed["origin"], [old]) == opened(after, listed["origin"], [new])
    record = json.loads(attest("audit", "records", "--kind", "key.rotated"))
    assert record["detail"] == {"old": str(old), "new": str(new)}
    assert attest("audit", "fsck") == ""
    attest("audit", "keys", "rotate")
    secret = (tmp_path / "signing" / "current.key").read_text().strip().split("+", 4)[4]
    assert len(base64.b64decode(secret)) == 33
    assert secret not in attest("audit", "keys", "list")


def test_keys_do_not_change_without_a_record(attest, append, monkeypatch):
    async def unavailable(*_):
        raise AuditUnavailableError("The audit log cannot take records now.")

    append(*a_turn())
    attest("audit", "checkpoint")
    before = attest("audit", "keys", "list")
    with monkeypatch.context() as patch:
        patch.setattr(SqlAuditLog, "append", unavailable)
        attest("audit", "keys", "rotate", code=3)
    assert attest("audit", "keys", "list") == before
    attest("audit", "keys", "rotate")
    record = json.loads(attest("audit", "records", "--kind", "key.rotated"))
    assert record["detail"]["old"] == before.strip()


def test_a_gateway_whose_signing_key_cannot_be_used_says_so_and_does_not_start(attest, append, tmp_path):
    append(*a_turn())
    attest("audit", "checkpoint")
    (tmp_path / "signing" / "current.key").chmod(0o644)
    started = CliRunner().invoke(main, ["serve"])
    assert started.exit_code == 1
    assert "chmod 600" in started.output
    attest("audit", "keys", "list", code=3)
