"""Delivery as the settings choose it: where Elasticsearch is, who signs in for which job, what is measured."""

from enum import StrEnum

from elasticsearch import AsyncElasticsearch
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.delivery import Delivery, DeliveryLimits
from audit.elastic.client import ElasticSettingsError, Identity, Server, connect
from audit.keys import MasterKey
from audit.sinks.elasticsearch import ElasticsearchSink
from gateway.settings import Settings, SettingsError
from gateway.telemetry import Telemetry

GATEWAY_LIMITS = DeliveryLimits(records=500, part=40, lanes=1, rest=4.0, least_rest=0.25)
"""In the gateway delivery shares the processor, the database and often the machine with turns: small parts, one after
another, with rests that are long while little waits, and no longer than a backlog can bear that is to shrink.
`python -m tests.bench.outage` shows what that is worth."""


class Job(StrEnum):
    """What is done with Elasticsearch, each with an identity of its own (`ATTEST_ELASTICSEARCH_…`)."""

    WRITER = "writer"
    READER = "reader"
    VERIFIER = "verifier"
    ERASER = "eraser"
    RETENTION = "retention"
    BOOTSTRAP = "bootstrap"


def elasticsearch_access(settings: Settings, job: Job) -> tuple[Server, Identity]:
    """Return where Elasticsearch is and the identity of a job. Raises `ElasticSettingsError` when no address is set."""
    if not settings.elasticsearch_url:
        raise ElasticSettingsError("ATTEST_ELASTICSEARCH_URL is not set.")
    name = f"elasticsearch_{job.value}"
    identity = Identity.read(getattr(settings, name).get_secret_value(), f"ATTEST_{name.upper()}")
    urls = tuple(url.strip() for url in settings.elasticsearch_url.split(",") if url.strip())
    return Server(urls, settings.elasticsearch_ca_file), identity


def elasticsearch_client(settings: Settings, job: Job) -> AsyncElasticsearch:
    """Return a client with the identity of a job. Raises `ElasticSettingsError`."""
    return connect(*elasticsearch_access(settings, job))


def make_delivery(
    settings: Settings, engine: AsyncEngine, master: MasterKey, telemetry: Telemetry, limits: DeliveryLimits
) -> Delivery | None:
    """Return the worker, or None where no Elasticsearch is set: then records stay in the outbox.

    Raises `SettingsError`.
    """
    if not settings.elasticsearch_url:
        return None
    try:
        sink = ElasticsearchSink(elasticsearch_client(settings, Job.WRITER))
    except ElasticSettingsError as error:
        raise SettingsError(str(error)) from None
    return Delivery(engine, master, sink, telemetry.delivery, limits)
