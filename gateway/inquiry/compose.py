"""Everything that officers ask, put together as the settings choose it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.approval import Action
from audit.elastic.client import ElasticSettingsError
from audit.keys import MasterKey
from audit.ports import AuditLog
from audit.readers import Readers
from audit.search.cursor import Cursors
from audit.search.elasticsearch import ElasticTurnSearch
from audit.search.export import TurnExport
from audit.search.fallback import FallbackSearch
from audit.search.held import Holdings
from audit.search.ports import SearchUnavailableError, TurnSearch
from audit.search.records import RecordSearch
from audit.search.sql import SqlTurnSearch
from audit.sequencer import Sequencer
from audit.signing import SigningKeys
from gateway.cases.store import is_closed
from gateway.delivery import Job, elasticsearch_client
from gateway.ending.watch import AccessWatch
from gateway.governance import Governance
from gateway.inquiry.consent import Consent
from gateway.inquiry.desk import Desk
from gateway.inquiry.exports import Exports
from gateway.inquiry.officer import AccessRecords
from gateway.inquiry.permission import ReadingPermission
from gateway.inquiry.proofs import Proofs
from gateway.inquiry.refusals import RefusalRecords
from gateway.inquiry.replays import Replays
from gateway.review.collecting import Collector
from gateway.review.desk import PURPOSE as REVIEWING
from gateway.review.desk import ReviewDesk
from gateway.review.store import Reviews
from gateway.settings import Settings, SettingsError


class Inquiry(msgspec.Struct, frozen=True):
    """What `create_app` plugs in."""

    desk: Desk
    exports: Exports
    consent: Consent
    reviews: ReviewDesk
    collector: Collector
    proofs: Proofs
    replays: Replays
    refusals: RefusalRecords
    close: Callable[[], Awaitable[None]]

    @contextlib.asynccontextmanager
    async def at_work(self, on_fault: Callable[[Exception], None]) -> AsyncIterator[None]:
        """Fill the review queue until the end; closes everything."""
        collecting = asyncio.create_task(self.collector.run(on_fault))
        try:
            yield
        finally:
            collecting.cancel()
            await asyncio.wait([collecting])
            await self.close()


def make_inquiry(
    settings: Settings,
    engine: AsyncEngine,
    master: MasterKey,
    audit: AuditLog,
    keys: SigningKeys,
    governance: Governance,
    watch: AccessWatch,
    sequencer: Sequencer,
) -> Inquiry:
    """Put it together; nothing is opened yet. Raises `SettingsError`."""

    async def sign() -> None:
        sequencer.hurry()

    async def is_closed_case(purpose: str) -> bool:
        # The queue is no case: whoever closes one with its name does not close the queue.
        return purpose != REVIEWING and await is_closed(governance.governor, purpose)

    search, close = _search(settings, engine, master)
    permission = ReadingPermission(governance.approvals, is_closed_case, four_eyes=Action.CONTENT in settings.four_eyes)
    desk = Desk(
        audit,
        search,
        RecordSearch(engine),
        Cursors(master.derive("search-cursor")),
        permission,
        SqlTurnSearch(engine, master),
    )
    reviews = Reviews(governance.governor, settings.review_second_percent)
    return Inquiry(
        desk=desk,
        consent=Consent(audit, governance),
        reviews=ReviewDesk(audit, reviews, desk),
        collector=Collector(governance.governor, reviews),
        exports=Exports(
            audit, TurnExport(engine, master, keys, sign), settings.data_dir / "exports", permission, watch
        ),
        proofs=Proofs(engine, keys),
        replays=Replays(audit, Readers(engine, master)),
        refusals=RefusalRecords(AccessRecords(audit)),
        close=close,
    )


def _search(
    settings: Settings, engine: AsyncEngine, master: MasterKey
) -> tuple[TurnSearch, Callable[[], Awaitable[None]]]:
    """Return the search: Elasticsearch where it is set, answers and holds the turns, else SQL; and what closes it."""
    sql = SqlTurnSearch(engine, master)
    if not settings.elasticsearch_url:
        return sql, _nothing
    try:
        client = elasticsearch_client(settings, Job.READER)
    except ElasticSettingsError as error:
        raise SettingsError(str(error)) from None
    elastic = ElasticTurnSearch(client)
    return FallbackSearch(elastic, sql, Holdings(elastic.indices, engine).held, _fallen_back), client.close


def _fallen_back(error: SearchUnavailableError) -> None:
    structlog.get_logger("attest.audit").warning("search.fallback", reason=str(error))


async def _nothing() -> None:
    """Nothing is open."""
