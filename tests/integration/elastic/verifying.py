"""What tests of the verification of Elasticsearch share."""

from datetime import timedelta

from sqlalchemy import text

from audit.elastic.client import Server, connect
from audit.elastic.families import AUDIT
from audit.elastic.projection import document_id
from audit.elastic.roles import VERIFIER
from audit.elastic.verify import StoreVerifier
from audit.verify import Finding
from tests.integration.elastic.conftest import MASTER, Line, closing, identity, this_month

KEEP = timedelta(days=215)


async def verified(line: Line, master=MASTER, role: str = VERIFIER):
    found: list[Finding] = []
    client = connect(Server((line.server.url,)), identity(line.server, role), 30)
    try:
        summary = await StoreVerifier(client, line.engine, master, found.append, KEEP).run()
    finally:
        await client.close()
    assert summary.ok == (not found)
    return summary, found


async def named(line: Line, **options) -> list[tuple[str, int | None]]:
    return sorted(((one.code, one.record) for one in (await verified(line, **options))[1]), key=str)


def index(family=AUDIT) -> str:
    return f"{family.name}-{this_month()}"


async def deliver(line: Line) -> None:
    async with closing(line.delivery()) as delivery:
        while await delivery.drain():
            pass


async def id_of(line: Line, place: int) -> str:
    async with line.engine.connect() as connection:
        query = text("SELECT leaf_hash FROM audit_entry WHERE leaf_index = :place")
        return document_id((await connection.execute(query, {"place": place})).scalar_one())


def get(line: Line, doc_id: str, family=AUDIT) -> dict:
    return line.server.call("GET", f"/{index(family)}/_doc/{doc_id}")["_source"]


def put(line: Line, doc_id: str, source: dict, family=AUDIT, name: str = "") -> None:
    line.server.call("PUT", f"/{name or index(family)}/_doc/{doc_id}?refresh=true", source)
