"""An S3-compatible store with object lock: nobody, not even its administrator, can replace or delete a checkpoint.

The bucket must have object lock; each object is written with a retention of its own (compliance mode) and only if its
key is free. Works with every store that knows S3's conditional writes and object lock.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import msgspec
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from audit.anchors.ports import AnchorCheckpoint, AnchorConflictError, AnchorError

_CONNECT_S, _READ_S, _TRIES = 10, 30, 3
_TAKEN = ("PreconditionFailed", "ConditionalRequestConflict")
_LARGEST = 65_536


class S3Settings(msgspec.Struct, frozen=True):
    """Where the bucket is and who writes."""

    bucket: str
    url: str = ""
    """Address of the store; empty: Amazon's own of the region."""
    region: str = "us-east-1"
    access_key: str = ""
    """Empty: what boto3 finds by itself (environment, instance role)."""
    secret_key: str = ""
    ca_file: Path | None = None
    lock_days: int = 3650
    """How long an object cannot be replaced or deleted."""
    prefix: str = "attest"

    def __repr__(self) -> str:
        return f"S3Settings({self.bucket!r}, {self.url!r})"


class S3Place:
    """Implements `audit.anchors.ports.Place`; boto3 blocks, so each call has a thread."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self.name = f"s3:{urlsplit(settings.url).netloc or settings.region}/{settings.bucket}"
        self._client = boto3.client(
            "s3",
            endpoint_url=settings.url or None,
            region_name=settings.region,
            aws_access_key_id=settings.access_key or None,
            aws_secret_access_key=settings.secret_key or None,
            verify=str(settings.ca_file) if settings.ca_file else None,
            config=Config(
                connect_timeout=_CONNECT_S,
                read_timeout=_READ_S,
                retries={"total_max_attempts": _TRIES, "mode": "standard"},
                s3={"addressing_style": "path"} if settings.url else {},
            ),
        )

    async def keep(self, checkpoint: AnchorCheckpoint) -> str:
        """Put the checkpoint under a key of its own, locked; one that is there already with the same bytes counts."""
        return await asyncio.to_thread(self._keep, checkpoint)

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.to_thread(self._client.close)

    def _keep(self, checkpoint: AnchorCheckpoint) -> str:
        bucket, note = self._settings.bucket, checkpoint.note.encode()
        key = f"{self._settings.prefix}/{checkpoint.origin}/{checkpoint.size:020}.checkpoint"
        with _explained(self.name):
            try:
                self._client.put_object(
                    Bucket=bucket,
                    Key=key,
                    Body=note,
                    ContentType="text/plain; charset=utf-8",
                    IfNoneMatch="*",
                    ObjectLockMode="COMPLIANCE",
                    ObjectLockRetainUntilDate=datetime.now(UTC) + timedelta(days=self._settings.lock_days),
                )
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") not in _TAKEN:
                    raise
            found = self._client.get_object(Bucket=bucket, Key=key)
            with contextlib.closing(found["Body"]) as body:
                kept = body.read(_LARGEST)
        if kept != note:
            raise AnchorConflictError(f"{self.name} holds another checkpoint of {checkpoint.size} records.")
        if not found.get("ObjectLockRetainUntilDate"):
            raise AnchorError(f"{self.name} does not lock objects: make the bucket with object lock.")
        return f"s3://{bucket}/{key}?versionId={found.get('VersionId', '')}"


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        raise AnchorError(f"{name} did not take the checkpoint: {code or type(error).__name__}.") from None
    except (BotoCoreError, OSError) as error:
        raise AnchorError(f"{name} cannot be reached: {type(error).__name__}.") from None
