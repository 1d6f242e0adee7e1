"""Every place keeps a checkpoint exactly, takes the same twice, and never replaces one by another."""

import asyncio
import os
import socket
import stat
from contextlib import asynccontextmanager

import boto3
import msgspec
import pytest
from aiohttp import web
from botocore.exceptions import ClientError

from audit.anchors.file import FolderPlace
from audit.anchors.ports import AnchorCheckpoint, AnchorConflictError, AnchorError
from audit.anchors.s3 import S3Place, S3Settings
from audit.anchors.webhook import WebhookPlace
from tests.rig.s3 import BUCKET, s3_server

FIRST = AnchorCheckpoint("attest/one", 7, b"\x01" * 32, "attest/one\n7\nAQ==\n\n— attest/one AAAA\n")
NEXT = msgspec.structs.replace(FIRST, size=12, note=FIRST.note.replace("7", "12"))
FORK = msgspec.structs.replace(FIRST, note=FIRST.note.replace("AQ==", "Ag=="))


@pytest.fixture(scope="module")
def s3():
    with s3_server() as url:
        yield url


class Receiver:
    """A service that keeps what it is sent."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.answers: list[int] = []
        self.requests: list[dict[str, str]] = []

    async def take(self, request: web.Request) -> web.Response:
        self.requests.append(dict(request.headers))
        if self.answers:
            return web.Response(status=self.answers.pop(0))
        note, size = await request.text(), request.headers["Attest-Tree-Size"]
        if self.kept.setdefault(size, note) != note:
            return web.Response(status=409)
        return web.Response(text="kept")

    @asynccontextmanager
    async def listening(self):
        application = web.Application()
        application.router.add_post("/anchor", self.take)
        runner = web.AppRunner(application)
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(runner, listener).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/anchor"
        finally:
            await runner.cleanup()


@pytest.fixture
async def receiver():
    receiver = Receiver()
    async with receiver.listening() as receiver.url:
        yield receiver


def s3_settings(url: str, **fields) -> S3Settings:
    return S3Settings(
        **{"bucket": BUCKET, "url": url, "access_key": "attest", "secret_key": "secret", "lock_days": 10, **fields}
    )


@pytest.fixture(params=["folder", "s3", "webhook"])
async def place(request, tmp_path, receiver):
    made = {
        "folder": lambda: FolderPlace(tmp_path),
        "s3": lambda: S3Place(s3_settings(request.getfixturevalue("s3"), prefix=os.urandom(4).hex())),
        "webhook": lambda: WebhookPlace(receiver.url, first_pause_s=0.01),
    }[request.param]()
    yield made
    await made.close()


async def test_a_checkpoint_is_kept_and_never_replaced(place):
    first, again = await place.keep(FIRST), await place.keep(FIRST)
    assert first == again
    with pytest.raises(AnchorConflictError, match="another checkpoint of 7 records"):
        await place.keep(FORK)
    assert await place.keep(NEXT) != "" != first
    assert await place.keep(FIRST) == first


async def test_several_at_once(place):
    receipts = await asyncio.gather(*(place.keep(FIRST) for _ in range(4)))
    assert len(set(receipts)) == 1


async def test_the_folder_has_read_only_files_with_the_exact_note(tmp_path):
    place = FolderPlace(tmp_path)
    receipt = await place.keep(FIRST)
    (file,) = tmp_path.iterdir()
    assert str(file) == receipt
    assert file.name == "00000000000000000007.checkpoint"
    assert file.read_text() == FIRST.note
    assert stat.S_IMODE(file.stat().st_mode) == 0o444


async def test_a_folder_that_is_not_mounted_is_an_error(tmp_path):
    with pytest.raises(AnchorError, match="is it mounted"):
        await FolderPlace(tmp_path / "none").keep(FIRST)
    (tmp_path / "file").write_text("")
    with pytest.raises(AnchorError, match="is it mounted"):
        await FolderPlace(tmp_path / "file").keep(FIRST)


async def test_the_object_is_locked(s3):
    place = S3Place(s3_settings(s3, prefix="locked"))
    receipt = await place.keep(FIRST)
    key, version = receipt.removeprefix(f"s3://{BUCKET}/").split("?versionId=")
    await place.close()
    client = boto3.client(
        "s3", endpoint_url=s3, region_name="us-east-1", aws_access_key_id="root", aws_secret_access_key="root"
    )
    found = client.head_object(Bucket=BUCKET, Key=key, VersionId=version)
    assert found["ObjectLockMode"] == "COMPLIANCE"
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(Bucket=BUCKET, Key=key, VersionId=version)
    client.close()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"bucket": "none"}, "NoSuchBucket"),
        ({"bucket": "unlocked"}, "lock|InvalidRequest"),
        ({"url": "http://127.0.0.1:1"}, "reached"),
    ],
)
async def test_a_store_that_does_not_take_it(s3, fields, why):
    place = S3Place(s3_settings(**{"url": s3, **fields}))
    with pytest.raises(AnchorError, match=why) as failure:
        await place.keep(FIRST)
    assert "secret" not in str(failure.value)
    await place.close()


async def test_the_webhook_gets_the_note_itself(receiver):
    receipt = await WebhookPlace(receiver.url).keep(FIRST)
    assert receipt.startswith("HTTP 200, answer sha256 ")
    assert receiver.kept == {"7": FIRST.note}
    assert receiver.requests[0]["Attest-Origin"] == "attest/one"


async def test_the_webhook_tries_again_what_may_pass(receiver):
    receiver.answers = [503, 429, 500]
    assert (await WebhookPlace(receiver.url, first_pause_s=0.01).keep(FIRST)).startswith("HTTP 200")
    assert len(receiver.requests) == 4
    receiver.answers = [503] * 9
    with pytest.raises(AnchorError, match="HTTP 503"):
        await WebhookPlace(receiver.url, first_pause_s=0.01).keep(NEXT)


@pytest.mark.parametrize("status", [302, 400, 401, 404])
async def test_the_webhook_believes_only_success(receiver, status):
    receiver.answers = [status] * 9
    with pytest.raises(AnchorError, match=f"HTTP {status}"):
        await WebhookPlace(receiver.url, first_pause_s=0.01).keep(FIRST)
    assert len(receiver.requests) == 1


async def test_a_webhook_that_is_gone(tmp_path):
    with pytest.raises(AnchorError, match="did not take"):
        await WebhookPlace("http://127.0.0.1:1/anchor?token=secret", first_pause_s=0.01).keep(FIRST)
    assert "secret" not in WebhookPlace("http://u:secret@127.0.0.1:1/anchor?token=secret").name
    with pytest.raises(AnchorError, match="CA file"):
        WebhookPlace("https://127.0.0.1:1/", tmp_path / "none.pem")
