"""The development provider's secrets in the data folder, made at first start, readable by their owner alone."""

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from joserfc.jwk import RSAKey

from gateway.settings import SettingsError

FOLDER = "development-provider"
KEY_FILE = "signing-key.pem"
SECRET_FILE = "dev-token-secret"  # noqa: S105 - a file's name
_KEY_BITS = 2048


def signing_key(data_dir: Path) -> RSAKey:
    """Load the RS256 key, made at first start."""
    pem = _kept(data_dir, KEY_FILE, lambda: RSAKey.generate_key(_KEY_BITS).as_pem(private=True))
    try:
        key = RSAKey.import_key(pem, {"use": "sig", "alg": "RS256"})
    except ValueError:
        raise SettingsError(f"{data_dir / FOLDER / KEY_FILE} is damaged; delete it to get a new key.") from None
    key.ensure_kid()
    return key


def dev_token_secret(data_dir: Path) -> str:
    """Load the secret by which `attest dev-token` proves that it may read the data folder."""
    return _kept(data_dir, SECRET_FILE, lambda: secrets.token_urlsafe(32).encode()).decode().strip()


def _kept(data_dir: Path, name: str, make: Callable[[], bytes]) -> bytes:
    """Read a file; make it first where it does not exist. Written whole under another name, so never seen half."""
    folder = data_dir / FOLDER
    path = folder / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            draft = folder / f".{name}.{secrets.token_hex(8)}"
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(make())
                file.flush()
                os.fsync(file.fileno())
            # link, unlike rename, never replaces a file that another process has just made
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
            draft.unlink()
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"The development provider cannot keep its keys in {folder}: {error.strerror}.") from None
