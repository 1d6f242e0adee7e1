"""An address that is sent each checkpoint: another department's service, an auditor's, a time-stamping one.

The body is the signed note itself, so the receiver needs nothing but the public key; any 2xx means that it was kept.
"""

import asyncio
import hashlib
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from audit.anchors.ports import AnchorCheckpoint, AnchorConflictError, AnchorError

_TRIES = 4
_FIRST_PAUSE_S = 0.5
_ANSWER_S = 20.0
_LARGEST = 65_536
_CONFLICT, _TOO_MANY, _FAULT = 409, 429, 500


class WebhookPlace:
    """Implements `audit.anchors.ports.Place`. Follows no redirect; tries again what may pass."""

    def __init__(self, url: str, ca_file: Path | None = None, *, first_pause_s: float = _FIRST_PAUSE_S) -> None:
        """Raise `AnchorError` when the CA file cannot be read."""
        self._url = url
        self._pause_s = first_pause_s
        parts = urlsplit(url)
        self.name = f"webhook:{parts.hostname or ''}{parts.path}"
        try:
            self._ssl = ssl.create_default_context(cafile=str(ca_file)) if ca_file else True
        except (OSError, ssl.SSLError):
            raise AnchorError(f"The CA file {ca_file} holds no certificate that can be read.") from None

    async def keep(self, checkpoint: AnchorCheckpoint) -> str:
        """Send the note; 2xx is taken, 409 means that another one of this size is there."""
        headers = {
            "Content-Type": "text/plain; charset=utf-8",
            "Attest-Origin": checkpoint.origin,
            "Attest-Tree-Size": str(checkpoint.size),
        }
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
        why = ""
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
            for attempt in range(_TRIES):
                if attempt:
                    await asyncio.sleep(self._pause_s * 2 ** (attempt - 1))
                try:
                    status, digest = await self._post(session, checkpoint.note.encode(), headers)
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    why = type(error).__name__
                    continue
                if status // 100 == 2:  # noqa: PLR2004 - any success
                    return f"HTTP {status}, answer sha256 {digest}"
                if status == _CONFLICT:
                    raise AnchorConflictError(f"{self.name} has another checkpoint of {checkpoint.size} records.")
                why = f"HTTP {status}"
                if status != _TOO_MANY and status < _FAULT:
                    break
        raise AnchorError(f"{self.name} did not take the checkpoint: {why}.")

    async def close(self) -> None:
        """Nothing is held."""

    async def _post(self, session: aiohttp.ClientSession, note: bytes, headers: dict[str, str]) -> tuple[int, str]:
        sending = session.post(self._url, data=note, headers=headers, ssl=self._ssl, allow_redirects=False)
        async with sending as answer:
            return answer.status, hashlib.sha256(await answer.content.read(_LARGEST)).hexdigest()
