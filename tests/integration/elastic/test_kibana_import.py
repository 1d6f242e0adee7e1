"""The import of Kibana's objects over HTTP: the request as Kibana's interface wants it, and how it fails.

No Kibana can be started here: a server in the test answers as its saved-objects interface does.
"""

import ssl
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from audit.elastic.client import Identity
from audit.elastic.kibana import KibanaError, import_objects, ndjson
from tests.rig.certificate import certificate

LOGIN = Identity.read("kibana:päss:word", "")
CLASH = {"id": "attest-blocked", "type": "lens", "error": {"type": "missing_references"}}


@dataclass
class Kibana:
    """What a server was asked, and what it answers."""

    status: int = 200
    answer: object = field(default_factory=lambda: {"success": True, "successCount": 31, "successResults": []})
    address: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    file: tuple[str, str, bytes] = ("", "", b"")
    url: str = ""

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.address, self.headers = request.path_qs, {name.lower(): text for name, text in request.headers.items()}
        sent = (await request.post())["file"]
        assert isinstance(sent, web.FileField)
        self.file = (sent.filename, sent.content_type, sent.file.read())
        if isinstance(self.answer, str):
            return web.Response(text=self.answer, content_type="application/json", status=self.status)
        return web.json_response(self.answer, status=self.status)


@asynccontextmanager
async def running(kibana: Kibana, tls: ssl.SSLContext | None = None) -> AsyncIterator[Kibana]:
    application = web.Application(client_max_size=2**24)
    application.router.add_post("/{path:.*}", kibana.take)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    kibana.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield kibana
    finally:
        await runner.cleanup()


async def test_the_file_is_sent_as_kibanas_interface_takes_it():
    async with running(Kibana()) as kibana:
        assert await import_objects(f"{kibana.url}/kibana/", LOGIN) == 31
    assert kibana.address == "/kibana/api/saved_objects/_import?overwrite=true"
    assert kibana.file == ("attest.ndjson", "application/ndjson", ndjson().encode())
    assert kibana.headers["kbn-xsrf"]
    assert b64decode(kibana.headers["authorization"].removeprefix("Basic ")).decode() == "kibana:päss:word"


async def test_an_api_key_is_sent_as_one():
    async with running(Kibana()) as kibana:
        await import_objects(kibana.url, Identity.read("apikey:bm9uZTpub25l", ""))
        assert kibana.headers["authorization"] == "ApiKey bm9uZTpub25l"


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (200, {"success": False, "successCount": 1, "errors": [CLASH]}, "refused attest-blocked: missing_references"),
        (200, {"success": False, "successCount": 0}, "refused its objects"),
        (200, {}, "refused its objects"),
        (403, {"statusCode": 403}, "status 403"),
        (503, {"success": True, "successCount": 31}, "status 503"),
        (200, "<html>", "JSONDecodeError"),
    ],
)
async def test_what_kibana_does_not_take_is_said(status: int, answer: object, said: str):
    async with running(Kibana(status, answer)) as kibana:
        with pytest.raises(KibanaError, match=said):
            await import_objects(kibana.url, LOGIN)


async def test_a_kibana_that_is_gone_is_said_to_be():
    async with running(Kibana()) as kibana:
        pass
    with pytest.raises(KibanaError, match="cannot be reached"):
        await import_objects(kibana.url, LOGIN)


async def test_only_the_companys_ca_is_trusted(tmp_path: Path):
    ours, context = certificate(tmp_path, "ours")
    others, _ = certificate(tmp_path, "others")
    async with running(Kibana(), context) as kibana:
        assert await import_objects(kibana.url, LOGIN, ours) == 31
        for ca_file in (others, None):
            with pytest.raises(KibanaError, match="cannot be reached"):
                await import_objects(kibana.url, LOGIN, ca_file)
