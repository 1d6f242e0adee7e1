"""What people are called, on both databases: by the newest record that names them, never by one that was altered."""

from audit.record import Kind
from audit.search.names import AT_ONCE, LOOKED_AT, PersonNames
from gateway.database import make_engine
from tests.contract.audit.turns import accepted, entry


async def test_the_newest_name_counts(log, database: str):
    engine = make_engine(database)
    try:
        names = PersonNames(engine)
        assert await names.of(["alice"]) == {}
        await log.append(accepted("t1", name="Alice"), accepted("t2", subject="carol", name="王芳"))
        await log.append(accepted("t3", name="Alice Chen"), entry(Kind.HOLD_PLACED, "", "alice"))
        await log.append(*(entry(Kind.HOLD_PLACED, "", "dora") for _ in range(LOOKED_AT)))
        hostile = [*map(str, range(AT_ONCE)), "alice", "carol", "dora", "nobody", "", "x\x00'; DROP", "\ud800"]
        assert await names.of(hostile) == {"alice": "Alice Chen", "carol": "王芳"}
    finally:
        await engine.dispose()
