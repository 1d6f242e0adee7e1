"""What the sections of the console work with, put together as the settings choose it."""

from sqlalchemy.ext.asyncio import AsyncEngine

from audit.keys import MasterKey
from audit.ports import AuditLog
from audit.readers import Readers
from audit.signing import SigningKeys
from gateway.cases.searches import SavedSearches
from gateway.cases.store import Cases
from gateway.console.purpose import Purposes
from gateway.console.sealed import Sealer
from gateway.governance import Governance
from gateway.inquiry.integrity import Integrity
from gateway.inquiry.officer import AccessRecords
from gateway.inquiry.watching import SecurityWatch
from gateway.settings import Settings


def console_parts(
    settings: Settings,
    engine: AsyncEngine,
    master: MasterKey,
    audit: AuditLog,
    governance: Governance,
    keys: SigningKeys,
) -> dict[str, object]:
    """Return what the handlers of the console take, by the names that they ask for."""
    cases = Cases(governance.governor, audit, Readers(engine, master))
    sealer = Sealer(master.derive("console"))
    return {
        "governance": governance,
        "integrity": Integrity(engine, master, audit, keys),
        "security_watch": SecurityWatch(engine, AccessRecords(audit)),
        "cases": cases,
        "sealer": sealer,
        "saved": SavedSearches(governance.governor, sealer),
        "purposes": Purposes(cases, sealer, secure=settings.base_url.startswith("https://")),
    }
