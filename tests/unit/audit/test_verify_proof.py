"""The proof of one record: verified with the key alone, and every altered byte is found."""

import json
from pathlib import Path

import pytest

from audit.proof import LogProof
from audit.verify import is_proof, main, parse_keys, verify_proof
from tests.unit.audit.bundles import Log, honest


@pytest.fixture(scope="module")
def log() -> Log:
    return honest(40)


@pytest.fixture
def proof(log, tmp_path) -> Path:
    entry = log.proved(7)
    text = LogProof(index=7, path=entry.path, note=log.checkpoint(40).decode(), leaf=entry.leaf).text()
    (tmp_path / "key").write_text(log.signer.public)
    (tmp_path / "proof").write_text(text)
    return tmp_path / "proof"


def test_a_proof_of_one_record_is_verified_too(proof, capsys):
    words = [str(proof), "--key", str(proof.parent / "key")]
    assert main(words) == 0
    assert "record 7: turn.released" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert main([str(proof)]) == 1
    assert "--key" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*words, "--checkpoint", str(proof)])


def test_every_flipped_byte_of_a_proof_is_found(proof, log):
    whole = proof.read_bytes()
    keys = parse_keys(log.signer.public.encode())
    for at in range(len(whole)):
        proof.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        if is_proof(proof):
            assert not verify_proof(proof, lambda _: None, keys).ok, at
    proof.write_bytes(whole)
    assert verify_proof(proof, lambda _: None, keys).ok
