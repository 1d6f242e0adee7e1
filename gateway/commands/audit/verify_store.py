"""`attest audit verify --elasticsearch`, in a module of its own: its client takes half a second to load."""

from collections.abc import Callable
from datetime import timedelta

import click
from sqlalchemy.exc import SQLAlchemyError

from audit.elastic.client import ElasticSettingsError
from audit.elastic.verify import StoreSummary, StoreVerifier
from audit.ports import AuditUnavailableError
from audit.verify import Finding
from gateway.commands.audit.common import key_of_texts, opened_database, run, to_json
from gateway.delivery import Job, elasticsearch_client


def verify_store(show: Callable[[Finding], None], *, texts: bool, as_json: bool) -> bool:
    """Verify the search store against the database, and print what was verified; return whether it holds."""
    summary = run(_verified(show, texts=texts))
    if as_json:
        click.echo(to_json(summary))
        return summary.ok
    texts_too = "texts compared too" if summary.texts else "texts not compared: there was no master key"
    click.echo(f"Elasticsearch: {summary.documents} documents of {summary.records} records, {texts_too}")
    if summary.undelivered or summary.expired:
        click.echo(f"{summary.undelivered} records wait for delivery, {summary.expired} have left with their month")
    click.echo("OK: all holds" if summary.ok else f"FAILED: {summary.findings} findings")
    return summary.ok


async def _verified(show: Callable[[Finding], None], *, texts: bool) -> StoreSummary:
    async with opened_database() as parts:
        try:
            client = elasticsearch_client(parts.settings, Job.VERIFIER)
        except ElasticSettingsError as error:
            raise AuditUnavailableError(str(error)) from None
        try:
            master = key_of_texts(parts) if texts else None
            keep = timedelta(days=parts.settings.elasticsearch_keep_days)
            return await StoreVerifier(client, parts.engine, master, show, keep).run()
        except (SQLAlchemyError, OSError) as error:
            raise AuditUnavailableError(f"The audit log cannot be read now ({type(error).__name__}).") from error
        finally:
            await client.close()
