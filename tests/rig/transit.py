"""A server of ours that speaks the protocol of Vault's transit engine: its paths, its answers and its errors.

Neither Vault nor OpenBao can be had from a package registry in binary form. The shapes are those of their API's
documentation (transit secrets engine: encrypt, decrypt); the encryption is AES-256-GCM, as that of `aes256-gcm96` keys.
"""

import base64
import json
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "hvs.rig-token"


class TransitServer:
    """One mount `transit` with the key `attest` in the namespace `team`, which a test may rotate, break or seal."""

    def __init__(self) -> None:
        self.url = ""
        self.versions = [AESGCM(os.urandom(32))]
        self.answer: tuple[int, bytes] | None = None
        """Status and body that are answered instead."""
        self.asked: list[str] = []

    def rotate(self) -> None:
        """Make a new version of the key; older ones go on decrypting."""
        self.versions.append(AESGCM(os.urandom(32)))

    def handle(self, path: str, headers: Any, body: bytes) -> tuple[int, bytes]:
        """Answer one request as Vault does."""
        self.asked.append(path)
        if self.answer is not None:
            return self.answer
        if headers.get("X-Vault-Token") != TOKEN or headers.get("X-Vault-Namespace") != "team":
            return _errors(403, "permission denied")
        asked = json.loads(body)
        if path == "/v1/transit/encrypt/attest":
            return self._encrypt(base64.b64decode(asked["plaintext"], validate=True))
        if path == "/v1/transit/decrypt/attest":
            return self._decrypt(asked["ciphertext"])
        return _errors(404)

    def _encrypt(self, data: bytes) -> tuple[int, bytes]:
        nonce, version = os.urandom(12), len(self.versions)
        sealed = base64.b64encode(nonce + self.versions[-1].encrypt(nonce, data, None)).decode()
        return _data({"ciphertext": f"vault:v{version}:{sealed}", "key_version": version})

    def _decrypt(self, ciphertext: str) -> tuple[int, bytes]:
        _, version, sealed = ciphertext.split(":")
        raw = base64.b64decode(sealed)
        try:
            data = self.versions[int(version[1:]) - 1].decrypt(raw[:12], raw[12:], None)
        except (InvalidTag, IndexError):
            return _errors(400, "cipher: message authentication failed")
        return _data({"plaintext": base64.b64encode(data).decode()})


def _data(data: dict[str, Any]) -> tuple[int, bytes]:
    around = {"request_id": "r", "lease_id": "", "renewable": False, "lease_duration": 0, "wrap_info": None}
    return 200, json.dumps({**around, "data": data, "warnings": None, "auth": None}).encode()


def _errors(status: int, *errors: str) -> tuple[int, bytes]:
    return status, json.dumps({"errors": list(errors)}).encode()


@contextmanager
def transit(tls: ssl.SSLContext | None = None) -> Iterator[TransitServer]:
    """Run one on a free port of the loopback."""
    ours = TransitServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, body = ours.handle(self.path, self.headers, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if status // 100 == 3:
                self.send_header("Location", f"{ours.url}/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        ours.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield ours
        finally:
            server.shutdown()
            thread.join()
