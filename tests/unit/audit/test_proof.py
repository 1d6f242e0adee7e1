import base64

import pytest

from audit.canonical import leaf_hash
from audit.checkpoint import Checkpoint
from audit.proof import LogProof, ProofFormatError
from audit.tree import ProofError, node_hash

LEAVES = [b"one", b"two", b"three"]
ONE, TWO, THREE = (leaf_hash(leaf) for leaf in LEAVES)
ROOT = node_hash(node_hash(ONE, TWO), THREE)
NOTE = Checkpoint("log.example", 3, ROOT).text() + "\n— log.example AAAAAAAA\n"
PROOF = LogProof(index=1, path=(ONE, THREE), note=NOTE, leaf=b"two")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_proof_is_written_as_the_specification_says():
    assert PROOF.text() == (f"c2sp.org/tlog-proof@v1\nextra {b64(b'two')}\nindex 1\n{b64(ONE)}\n{b64(THREE)}\n\n{NOTE}")
    assert LogProof.parse(PROOF.text()) == PROOF
    bare = LogProof(index=0, path=(), note=NOTE)
    assert bare.text() == f"c2sp.org/tlog-proof@v1\nindex 0\n\n{NOTE}"
    assert LogProof.parse(bare.text()) == bare


def test_a_proof_holds_for_its_leaf_alone():
    PROOF.check(Checkpoint("log.example", 3, ROOT))
    for wrong in (
        LogProof(index=1, path=(ONE, THREE), note=NOTE, leaf=b"Two"),
        LogProof(index=0, path=(ONE, THREE), note=NOTE, leaf=b"two"),
        LogProof(index=1, path=(ONE,), note=NOTE, leaf=b"two"),
    ):
        with pytest.raises(ProofError):
            wrong.check(Checkpoint("log.example", 3, ROOT))


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "c2sp.org/tlog-proof@v1",
            "c2sp.org/tlog-proof@v1\n\nnote\n",
            "c2sp.org/tlog-proof@v2\nindex 0\n\nnote\n",
        ),
        *("c2sp.org/tlog-proof@v1\nindex 01\n\nnote\n", "c2sp.org/tlog-proof@v1\nindex x\n\nnote\n"),
        *("c2sp.org/tlog-proof@v1\nextra !\nindex 0\n\nnote\n", "c2sp.org/tlog-proof@v1\nextra AA==\n\nnote\n"),
        *("c2sp.org/tlog-proof@v1\nindex 0\nAA==\n\nnote\n", f"c2sp.org/tlog-proof@v1\nindex 0\n{'h' * 44}\n\nnote\n"),
        "c2sp.org/tlog-proof@v1\nindex 0\n" + f"{b64(ONE)}\n" * 64 + "\nnote\n",
    ],
)
def test_what_is_no_proof_is_refused(text):
    with pytest.raises(ProofFormatError):
        LogProof.parse(text)
