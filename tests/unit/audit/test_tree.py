"""The tree against the published test vectors of Certificate Transparency, and against the RFC's own recursion."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import leaf_hash
from audit.tree import (
    EMPTY_ROOT,
    Edge,
    Node,
    ProofError,
    Span,
    consistency_path,
    consistency_spans,
    inclusion_path,
    inclusion_spans,
    node_hash,
    nodes_of,
    root,
    root_of,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [
    bytes.fromhex(one)
    for one in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (6, 7): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
    (4, 7): ["837dbb152e9b079010717e84e865da4ebc0fa198a806d59d31bf15accef22d0e"],
}
SIZES = st.integers(1, 400)


def hashes(size: int) -> list[bytes]:
    return [leaf_hash(number.to_bytes(4)) for number in range(size)]


def mth(leaves: list[bytes]) -> bytes:
    """The definition of RFC 6962, section 2.1, over leaf hashes."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(mth(leaves[:k]), mth(leaves[k:]))


def reader(leaves: list[bytes]):
    return lambda node: mth(leaves[node.position << node.level : (node.position + 1) << node.level])


def test_roots_are_those_of_the_published_vectors():
    digests = [leaf_hash(leaf) for leaf in LEAVES]
    assert EMPTY_ROOT.hex() == ROOTS[0]
    for size, expected in enumerate(ROOTS):
        assert root_of(digests[:size]).hex() == expected
        assert root(size, reader(digests)).hex() == expected


@pytest.mark.parametrize(("which", "expected"), INCLUSION.items(), ids=str)
def test_audit_paths_are_those_of_the_published_vectors(which, expected):
    digests = [leaf_hash(leaf) for leaf in LEAVES]
    index, size = which
    proof = inclusion_path(index, size, reader(digests))
    assert [one.hex() for one in proof] == expected
    verify_inclusion(index, size, digests[index], bytes.fromhex(ROOTS[size]), proof)


@pytest.mark.parametrize(("which", "expected"), CONSISTENCY.items(), ids=str)
def test_consistency_proofs_are_those_of_the_published_vectors(which, expected):
    old, new = which
    proof = consistency_path(old, new, reader([leaf_hash(leaf) for leaf in LEAVES]))
    assert [one.hex() for one in proof] == expected
    verify_consistency(old, new, bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new]), proof)


@given(SIZES, st.data())
def test_every_leaf_of_every_tree_can_be_proved_and_no_other(size, data):
    index = data.draw(st.integers(0, size - 1))
    leaves = hashes(size)
    top = mth(leaves)
    proof = inclusion_path(index, size, reader(leaves))
    verify_inclusion(index, size, leaves[index], top, proof)
    wrong = data.draw(st.sampled_from([(index, leaf_hash(b"x")), ((index + 1) % size, leaves[index])]))
    if wrong != (index, leaves[index]):
        with pytest.raises(ProofError):
            verify_inclusion(wrong[0], size, wrong[1], top, proof)
    for changed in ((*proof, top), proof[:-1], (*proof[:-1], top)):
        if changed != proof:
            with pytest.raises(ProofError):
                verify_inclusion(index, size, leaves[index], top, changed)
    with pytest.raises(ProofError):
        verify_inclusion(size, size, leaves[index], top, proof)


@given(SIZES, st.data())
def test_every_older_tree_can_be_proved_and_no_other(new, data):
    old = data.draw(st.integers(1, new))
    leaves = hashes(new)
    before, after = mth(leaves[:old]), mth(leaves)
    proof = consistency_path(old, new, reader(leaves))
    verify_consistency(old, new, before, after, proof)
    forked = mth([*leaves[: old - 1], leaf_hash(b"x")])
    for one, other in ((forked, after), (before, forked)):
        with pytest.raises(ProofError):
            verify_consistency(old, new, one, other, proof)
    for changed in ((*proof, after), proof[:-1], (*proof[:-1], forked)):
        if changed != proof:
            with pytest.raises(ProofError):
                verify_consistency(old, new, before, after, changed)


@given(SIZES, st.integers(0, 400))
def test_an_edge_grows_to_the_same_root(size, start):
    leaves = hashes(size)
    start = min(start, size)
    edge = Edge(start, [reader(leaves)(node) for node in nodes_of(Span(0, start))]) if start else Edge()
    before = edge.copy()
    for one in leaves[start:]:
        edge.append(one)
    assert (edge.size, edge.root()) == (size, mth(leaves))
    assert (before.size, before.root()) == (start, mth(leaves[:start]))


@given(st.integers(1, 2**50), st.data())
def test_proofs_of_huge_trees_name_few_nodes_inside_the_tree(size, data):
    index = data.draw(st.integers(0, size - 1))
    for spans in (inclusion_spans(index, size), consistency_spans(index + 1, size)):
        nodes = [node for span in spans for node in nodes_of(span)]
        assert len(nodes) <= 2 * size.bit_length()
        assert all((node.position + 1) << node.level <= size for node in nodes)


def test_what_cannot_be_proved_is_refused():
    assert nodes_of(Span(4, 7)) == (Node(1, 2), Node(0, 6))
    for index, size in ((0, 0), (-1, 3), (3, 3)):
        with pytest.raises(ProofError):
            inclusion_spans(index, size)
    for old, new in ((0, 3), (4, 3), (-1, 3)):
        with pytest.raises(ProofError):
            consistency_spans(old, new)
        with pytest.raises(ProofError):
            verify_consistency(old, new, b"", b"", ())
    with pytest.raises(ProofError, match="same size"):
        verify_consistency(3, 3, b"a", b"b", ())
    with pytest.raises(ValueError, match="hashes"):
        Edge(3, [b"one"])
