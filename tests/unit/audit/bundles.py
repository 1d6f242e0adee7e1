"""Small honest logs and bundles of them, and how tests verify one."""

import base64
import hashlib
import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.bundle.archive import pack_folder
from audit.bundle.files import (
    BundledCheckpoint,
    BundledConsistency,
    BundledRecord,
    BundledText,
    BundleFrame,
    BundleWriter,
)
from audit.canonical import commitment, leaf_hash, leaf_of, text_bytes
from audit.identifiers import RisingIds
from audit.record import Commitment, Entry, Kind, StageRecord
from audit.tree import Edge, Node, consistency_path, inclusion_path, node_hash, root_of
from audit.verify import Finding, Summary, parse_keys, verify_bundle

ORIGIN = "attest/tests"
EPOCH = datetime(2026, 11, 20, 8, tzinfo=UTC)
STAGE = StageRecord(stage="input.classifier", status="ran", characters=12, milliseconds=0.25, version="ab" * 32)


class Signer:
    """Signs notes as the log does, by the specification alone."""

    def __init__(self, seed: bytes = b"\x07" * 32, name: str = ORIGIN) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        raw = b"\x01" + self._key.public_key().public_bytes_raw()
        self._hash = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]
        self.name = name
        self.public = f"{name}+{self._hash.hex()}+{base64.b64encode(raw).decode()}"

    def note(self, text: str) -> str:
        signature = base64.b64encode(self._hash + self._key.sign(text.encode())).decode()
        return f"{text}\n— {self.name} {signature}\n"

    def checkpoint(self, size: int, root: bytes, origin: str = ORIGIN) -> bytes:
        return self.note(f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n").encode()


class Log:
    """A log in memory."""

    def __init__(self, records: Sequence[BundledRecord], signer: Signer | None = None) -> None:
        self.records = list(records)
        self.signer = signer or Signer()
        self.hashes = [record.leaf_hash for record in records]

    def root(self, size: int) -> bytes:
        return root_of(self.hashes[:size])

    def checkpoint(self, size: int) -> bytes:
        return self.signer.checkpoint(size, self.root(size))

    def node(self, node: Node) -> bytes:
        if node.level == 0:
            return self.hashes[node.position]
        below = Node(node.level - 1, 2 * node.position), Node(node.level - 1, 2 * node.position + 1)
        return node_hash(self.node(below[0]), self.node(below[1]))

    def frame(self, sizes: Sequence[int], whole: bool = True, keys: Sequence[str] = ()) -> BundleFrame:
        roots, edge = {0: root_of([])}, Edge()
        for digest in self.hashes:
            edge.append(digest)
            if edge.size in sizes:
                roots[edge.size] = edge.root()
        return BundleFrame(
            origin=ORIGIN,
            whole=whole,
            checkpoints=tuple(BundledCheckpoint(size, self.signer.checkpoint(size, roots[size])) for size in sizes),
            consistency=tuple(
                BundledConsistency(old, new, consistency_path(old, new, self.node))
                for old, new in itertools.pairwise(sizes)
                if old
            ),
            keys=tuple(keys) or (self.signer.public,),
        )

    def write(self, target: Path, sizes: Sequence[int] = (), only: Sequence[int] | None = None) -> Path:
        """Write a bundle: a folder, or a zip file when the name ends so."""
        size = len(self.records)
        frame = self.frame(sizes or ((size // 2, size) if size > 1 else (size,)), whole=only is None)
        return pack(self.records if only is None else [self.proved(at) for at in only], frame, target)

    def proved(self, index: int) -> BundledRecord:
        path = inclusion_path(index, len(self.records), self.node)
        return msgspec.structs.replace(self.records[index], path=path)


def pack(records: Sequence[BundledRecord], frame: BundleFrame, target: Path) -> Path:
    folder = target if target.suffix != ".zip" else target.with_suffix(".folder")
    with BundleWriter(folder) as writer:
        writer.add(records)
        writer.finish(frame)
    if folder != target:
        pack_folder(folder, target)
    return target


def record(index: int, entry: Entry, texts: Sequence[str] = ()) -> BundledRecord:
    bundled, promises = [], []
    for ordinal, text in enumerate(texts):
        nonce, data = hashlib.sha256(f"{index}.{ordinal}".encode()).digest(), text_bytes(text)
        bundled.append(BundledText(ordinal, "message", "user", nonce, data))
        promises.append(Commitment("message", "user", len(text), commitment(nonce, data)))
    leaf = leaf_of(msgspec.structs.replace(entry, commitments=tuple(promises)))
    return BundledRecord(index=index, leaf=leaf, leaf_hash=leaf_hash(leaf), texts=tuple(bundled))


def honest(count: int, signer: Signer | None = None, big: bool = False) -> Log:
    """Return a log of turns; every fifth record is the opening of one, with a text."""
    ids, kinds = RisingIds(lambda: 1_795_000_000 * 10**9), (Kind.TURN_ACCEPTED, *[Kind.TURN_RELEASED] * 3)
    records = []
    for index in range(count):
        kind = (*kinds, Kind.TURN_COMPLETED)[index % 5]
        entry = Entry(
            kind=kind,
            at=EPOCH + timedelta(milliseconds=7 * index),
            subject=f"person-{index % 7}",
            name="小明" if index % 3 else "Alice",
            turn_id=f"turn-{index // 5}",
            verdict="allow",
            stages=(STAGE,) * (4 if big and index % 5 in (0, 4) else 0),
            entry_id=ids.next(),
        )
        records.append(record(index, entry, (f"问题 {index} 🙂",) if index % 5 == 0 else ()))
    return Log(records, signer)


class Verified(msgspec.Struct, frozen=True):
    """What the verifier said."""

    summary: Summary
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        assert self.summary.ok == (not self.findings)
        return self.summary.ok

    def named(self) -> list[tuple[str, int | None, int | None]]:
        return [(one.code, one.record, one.last) for one in self.findings]

    def codes(self) -> set[str]:
        return {one.code for one in self.findings}


def verify(path: Path, *outside: bytes, key: str = "") -> Verified:
    found: list[Finding] = []
    keys = parse_keys(key.encode()) if key else None
    summary = verify_bundle(path, found.append, keys, [(f"kept-{at}", one) for at, one in enumerate(outside)])
    for one in found:
        assert one.line().isascii()
    return Verified(summary, tuple(found))


def forge(folder: Path) -> None:
    """Make the manifest fit what the files are now, as somebody does who alters a bundle with care."""
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes())
    manifest["files"] = {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    for name, counted in (("records", "index.txt"), ("contents", "contents.ndjson")):
        manifest[name] = (folder / counted).read_bytes().count(b"\n")
    text = msgspec.json.encode(manifest, order="sorted")
    (folder / "manifest.json").write_bytes(text)


def edit_lines(path: Path, change) -> None:
    """Change the list of a file's lines in place."""
    lines = path.read_bytes().split(b"\n")[:-1]
    lines = change(lines)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
