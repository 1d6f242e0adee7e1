"""The way to the server: TLS with a company CA, API keys, wrong credentials, a server that is none."""

import datetime as dt
from pathlib import Path

import pytest

from audit.elastic.client import Identity, Server, connect
from audit.elastic.roles import WRITER
from audit.elastic.samples import sample_document
from audit.outbox import OutboxState
from audit.sinks.elasticsearch import ElasticsearchSink
from audit.sinks.ports import Fate, SinkUnavailableError
from tests.integration.elastic.conftest import identity, prepare
from tests.rig.certificate import certificate
from tests.rig.elasticsearch import ElasticsearchServer
from tests.rig.faulty_proxy import FaultyProxy

NOW = dt.datetime.now(dt.UTC)
SAMPLE = sample_document(NOW, OutboxState(0, 0, 0.0), {})


@pytest.fixture
async def server(elastic_server: ElasticsearchServer) -> ElasticsearchServer:
    elastic_server.clear()
    await prepare(elastic_server)
    return elastic_server


async def sent(server: Server, login: Identity) -> Fate:
    sink = ElasticsearchSink(connect(server, login, 10))
    try:
        (answer,) = await sink.deliver([SAMPLE.packed()])
    finally:
        await sink.close()
    return answer.fate


async def test_a_company_ca_is_trusted_and_another_is_not(server: ElasticsearchServer, tmp_path: Path):
    ours, context = certificate(tmp_path, "ours")
    others, _ = certificate(tmp_path, "others")
    login = identity(server, WRITER)
    async with FaultyProxy(server.url, context) as proxy:
        assert proxy.url.startswith("https:")
        assert await sent(Server((proxy.url,), ours), login) is Fate.CREATED
        for ca_file in (others, None):
            with pytest.raises(SinkUnavailableError, match="unreachable"):
                await sent(Server((proxy.url,), ca_file), login)


async def test_an_api_key_is_sent_as_one(server: ElasticsearchServer):
    """The test distribution makes no API keys; it says that it does not know this one."""
    async with FaultyProxy(server.url) as proxy:
        with pytest.raises(SinkUnavailableError, match="unauthorized 401"):
            await sent(Server((proxy.url,)), Identity.read("apikey:bm9uZTpub25l", ""))
        assert proxy.headers[-1]["Authorization"] == "ApiKey bm9uZTpub25l"


async def test_a_wrong_password_is_said_to_be_wrong(server: ElasticsearchServer):
    with pytest.raises(SinkUnavailableError, match="unauthorized 401"):
        await sent(Server((server.url,)), Identity(user=WRITER, password="wrong"))


async def test_a_busy_server_is_believed_when_it_says_how_long(server: ElasticsearchServer):
    async with FaultyProxy(server.url) as proxy:
        proxy.fault = lambda _number, _path: 429
        with pytest.raises(SinkUnavailableError) as error:
            await sent(Server((proxy.url,)), identity(server, WRITER))
        assert error.value.reason == "busy 429"


async def test_what_is_no_elasticsearch_gets_nothing(server: ElasticsearchServer, tmp_path: Path):
    async with FaultyProxy(server.url) as proxy:
        proxy.is_elasticsearch = False
        with pytest.raises(SinkUnavailableError, match="not_elasticsearch"):
            await sent(Server((proxy.url,)), identity(server, WRITER))
