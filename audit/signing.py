"""The keys that sign checkpoints, in a folder: made at the first start, changed by hand, old public keys kept for good.

signing/origin            which log this is: the origin of its checkpoints and the name of its keys
signing/current.key       the key that signs, 0600 (not there when the key is given in the environment)
signing/next.key          while the keys are changed: the one that signs as soon as the change is on record
signing/previous.key      after a change, until one checkpoint has been signed with both keys
signing/public/ID.vkey    every public key that was ever used here
signing/last.checkpoint   the newest checkpoint that was signed here: what a database restored from an old copy is
held against, because going on from it would fork the log
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from audit import files
from audit.note import Ed25519Signer, NoteError, PublicKey, Signer, check_name

_LARGEST = 65_536


class SigningKeyError(Exception):
    """The keys that sign cannot be used; the message says what to do."""


class Signers(msgspec.Struct, frozen=True):
    """The keys as they are now."""

    origin: str
    signing: tuple[Signer, ...]
    """The current one; after a change, the one before it too."""
    known: tuple[PublicKey, ...]
    """Every public key whose signatures count."""


class SigningKeys:
    """A folder of keys. Reads it anew each time, so that a change of keys needs no restart."""

    def __init__(self, folder: Path, origin: str = "", given: str = "") -> None:
        """`origin` and `given` (a key as `Ed25519Signer.secret` writes it) come from settings; empty means ours."""
        self.folder = folder
        self._origin = origin
        self._given = given

    def load_or_create(self) -> Signers:
        """Read the keys; make what is missing. Two processes at once get the same. Raises `SigningKeyError`."""
        with _explained(self.folder):
            if not self._given:
                self._create_missing()
            return self._load(keep=True)

    def load(self) -> Signers:
        """Read the keys. Raises `SigningKeyError`."""
        with _explained(self.folder):
            return self._load(keep=False)

    def prepare(self) -> tuple[PublicKey, PublicKey]:
        """Make the next key, which signs nothing yet; return the current and the next public key.

        One that was made before and never put to work is taken again. Raises `SigningKeyError`, also when the key comes
        from the environment: then it is changed there.
        """
        if self._given:
            raise SigningKeyError(
                "The signing key is given by ATTEST_SIGNING_KEY: change it there. Its public key stays known here."
            )
        with _explained(self.folder):
            signers, path = self._load(keep=True), self.folder / "next.key"
            if len(signers.signing) > 1:
                raise SigningKeyError("The last change of keys waits for its first checkpoint; try again after that.")
            current = signers.signing[0].public
            with contextlib.suppress(FileNotFoundError):
                if (prepared := _signer(path).public) != current:  # the same: killed in the midst of a change
                    return current, prepared
            made = Ed25519Signer(signers.origin, os.urandom(32))
            files.replace(path, f"{made.secret()}\n".encode())
            return current, made.public

    def rotate(self) -> tuple[PublicKey, PublicKey]:
        """Put the next key to work, made before or now; the next checkpoint is signed with both.

        Returns the old and the new public key. Raises as `prepare`.
        """
        old, new = self.prepare()
        with _explained(self.folder):
            self._keep(new)
            files.replace(self.folder / "previous.key", files.read_private(self.folder / "current.key"))
            files.replace(self.folder / "current.key", files.read_private(self.folder / "next.key"))
            (self.folder / "next.key").unlink()
            return old, new

    def signed(self, note: str, signers: Signers) -> None:
        """Remember a checkpoint that is durable; a key that it was the last to need goes."""
        with _explained(self.folder):
            files.replace(self.folder / "last.checkpoint", note.encode(), files.PUBLIC)
            if len(signers.signing) > 1:
                (self.folder / "previous.key").unlink(missing_ok=True)

    def last_signed(self) -> str:
        """Return the newest checkpoint that was signed here; empty when there is none. Raises `SigningKeyError`."""
        with _explained(self.folder):
            try:
                return _read(self.folder / "last.checkpoint")
            except FileNotFoundError:
                return ""

    def _create_missing(self) -> None:
        if not (self.folder / "origin").exists():
            name = self._origin or f"attest/{os.urandom(8).hex()}"
            with contextlib.suppress(FileExistsError):
                files.create(self.folder / "origin", f"{check_name(name)}\n".encode(), files.PUBLIC)
        used = any(self.folder.glob("public/*.vkey"))  # looked at first: another process may be making both just now
        if not (self.folder / "current.key").exists():
            if used:
                raise SigningKeyError(
                    f"The signing key {self.folder}/current.key is gone, but was used: put it back from its copy. "
                    "If it is lost, remove the files in public/ too: then a new key begins, which nobody trusts yet."
                )
            signer = Ed25519Signer(self._name(), os.urandom(32))
            with contextlib.suppress(FileExistsError):
                files.create(self.folder / "current.key", f"{signer.secret()}\n".encode())

    def _load(self, *, keep: bool) -> Signers:
        if self._given:
            current: Signer = Ed25519Signer.parse(self._given)
            origin, signing = self._origin or current.public.name, [current]
        else:
            current = _signer(self.folder / "current.key")
            origin, signing = self._name(), [current]
            with contextlib.suppress(FileNotFoundError):
                previous = _signer(self.folder / "previous.key")
                if previous.public != current.public:  # the same: killed in the midst of a change
                    signing.append(previous)
        if keep:
            self._keep(current.public)
        known = {str(one.public): one.public for one in signing}
        for path in sorted(self.folder.glob("public/*.vkey")):
            known.setdefault(_read(path).strip(), PublicKey.parse(_read(path)))
        return Signers(origin, tuple(signing), tuple(known.values()))

    def _name(self) -> str:
        return self._origin or check_name(_read(self.folder / "origin").strip())

    def _keep(self, key: PublicKey) -> None:
        with contextlib.suppress(FileExistsError):
            path = self.folder / "public" / f"{key.key_id.hex()}.vkey"
            if not path.exists():
                files.create(path, f"{key}\n".encode(), files.PUBLIC)

    def __repr__(self) -> str:
        return f"SigningKeys({self.folder})"


def _signer(path: Path) -> Ed25519Signer:
    return Ed25519Signer.parse(files.read_private(path).decode())


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_LARGEST).decode()


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except files.OpenToOthersError as error:
        raise SigningKeyError(f"The signing key {error} can be read by others; run: chmod 600 {error}") from None
    except OSError as error:
        where = error.filename or folder
        raise SigningKeyError(f"The signing keys cannot be used: {where}: {error.strerror}.") from None
    except (NoteError, UnicodeDecodeError) as error:
        why = str(error) if isinstance(error, NoteError) else "A file does not hold text."
        raise SigningKeyError(f"The signing keys in {folder} cannot be used: {why}") from None
