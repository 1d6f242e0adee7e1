"""The transit engine of HashiCorp Vault and OpenBao, over HTTP: `POST /v1/MOUNT/encrypt/KEY` and `decrypt/KEY`.

The token is read anew for each call, so an agent may renew it in its file. It goes into the request's header only.
"""

import base64
import binascii
import http.client
import json
import re
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from audit import files
from audit.keys import KeyFileError

_ANSWER_S = 10.0
_LARGEST = 65_536
_SEALED = re.compile(r"vault:v[1-9][0-9]{0,8}:[A-Za-z0-9+/]+={0,2}")
_WHAT_TO_DO = {
    400: "it does not accept the sealed key: it was sealed by another key, or altered",
    403: "the token may not use the key: give it `update` on encrypt and decrypt, or a new token",
    404: "it has no such key or mount",
    429: "it has too much to do: start again later",
    503: "it is sealed or in maintenance: unseal it",
}


class TransitSettings(msgspec.Struct, frozen=True):
    """Where the key is, and who asks."""

    url: str
    """Without a slash at its end."""
    key: str
    """Mount and key: `transit/attest`."""
    token_file: Path
    ca_file: Path | None = None
    namespace: str = ""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token goes to the address that was configured and to no other."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class TransitKeyService:
    """Implements `audit.key_service.KeyService`."""

    def __init__(self, settings: TransitSettings) -> None:
        """Raise `KeyFileError` when the CA file cannot be read."""
        self._settings = settings
        self._mount, _, self._key = settings.key.rpartition("/")
        try:
            context = ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
        except (OSError, ssl.SSLError):
            raise KeyFileError(f"The CA file {settings.ca_file} holds no certificate that can be read.") from None
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _NoRedirect()
        )

    def seal(self, key: bytes) -> str:
        """Encrypt a key; see `KeyService`."""
        sealed = self._ask("encrypt", {"plaintext": base64.b64encode(key).decode()}, "ciphertext")
        if not _SEALED.fullmatch(sealed):
            self._fail("its answer is not that of a transit engine")
        return sealed

    def unseal(self, sealed: str) -> bytes:
        """Decrypt a key; see `KeyService`."""
        if not _SEALED.fullmatch(sealed):
            raise KeyFileError(
                "The master key's file holds no key that Vault sealed (vault:v1:…). "
                "docs/operations.md says how a key that was in use without Vault is sealed."
            )
        try:
            return base64.b64decode(self._ask("decrypt", {"ciphertext": sealed}, "plaintext"), validate=True)
        except (binascii.Error, ValueError):
            self._fail("its answer is not that of a transit engine")

    def _ask(self, what: str, body: dict[str, str], wanted: str) -> str:
        url = f"{self._settings.url}/v1/{self._mount}/{what}/{self._key}"
        headers = {"Content-Type": "application/json", "X-Vault-Token": self._token(), "X-Vault-Request": "true"}
        if self._settings.namespace:
            headers["X-Vault-Namespace"] = self._settings.namespace
        request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")  # noqa: S310 - checked in settings
        try:
            with self._opener.open(request, timeout=_ANSWER_S) as answer:
                found = json.loads(answer.read(_LARGEST))["data"][wanted]
        except urllib.error.HTTPError as error:
            with error:
                self._fail(_WHAT_TO_DO.get(error.code, f"HTTP {error.code}"))
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            self._fail(f"it cannot be reached ({type(reason).__name__})")
        except (ValueError, KeyError, TypeError, RecursionError):
            self._fail("its answer is not that of a transit engine")
        if not isinstance(found, str):
            self._fail("its answer is not that of a transit engine")
        return found

    def _token(self) -> str:
        path = self._settings.token_file
        try:
            token = files.read_private(path).decode("ascii").strip()
        except files.OpenToOthersError:
            raise KeyFileError(f"Vault's token file {path} can be read by others; run: chmod 600 {path}") from None
        except OSError as error:
            raise KeyFileError(f"Vault's token file {path} cannot be read: {error.strerror}.") from None
        except UnicodeDecodeError:
            token = ""
        if not token or not token.isprintable() or " " in token:
            raise KeyFileError(f"Vault's token file {path} holds no token.")
        return token

    def _fail(self, why: str) -> NoReturn:
        raise KeyFileError(f"The key service at {self._settings.url} ({self._settings.key}): {why}.") from None
