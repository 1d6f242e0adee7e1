"""Everything that officers ask, put together as the settings choose it."""

from collections.abc import Awaitable, Callable

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.keys import MasterKey
from audit.ports import AuditLog
from audit.search.cursor import Cursors
from audit.search.export import TurnExport
from audit.search.ports import TurnSearch
from audit.search.records import RecordSearch
from audit.search.sql import SqlTurnSearch
from audit.signing import SigningKeys
from gateway.inquiry.desk import Desk
from gateway.inquiry.exports import Exports
from gateway.inquiry.officer import AccessRecords
from gateway.inquiry.refusals import RefusalRecords
from gateway.settings import Settings


class Inquiry(msgspec.Struct, frozen=True):
    """What `create_app` plugs in."""

    desk: Desk
    exports: Exports
    refusals: RefusalRecords
    close: Callable[[], Awaitable[None]]


def make_inquiry(
    settings: Settings, engine: AsyncEngine, master: MasterKey, audit: AuditLog, keys: SigningKeys
) -> Inquiry:
    """Put it together; nothing is opened yet."""
    search: TurnSearch = SqlTurnSearch(engine, master)
    return Inquiry(
        desk=Desk(audit, search, RecordSearch(engine), Cursors(master.derive("search-cursor"))),
        exports=Exports(audit, TurnExport(engine, master, keys), settings.data_dir / "exports"),
        refusals=RefusalRecords(AccessRecords(audit)),
        close=_nothing,
    )


async def _nothing() -> None:
    """Nothing is open."""
