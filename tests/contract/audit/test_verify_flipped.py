"""Every byte of every record is flipped in a database, on SQLite and on PostgreSQL; each flip is named."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.record import Kind
from audit.verification.database import Trust, verify_database
from audit.verify import Finding
from gateway.database import make_engine
from tests.contract.audit.conftest import Raw, opened
from tests.contract.audit.sequenced import sequence, trust_of
from tests.contract.audit.turns import completed, entry

RECORDS = 9
ALONE_EVERY = 31
"""How far apart the bytes of a value are that are flipped while all others stand as they were written."""


class Column(NamedTuple):
    """A column whose every byte counts."""

    table: str
    name: str
    index: str
    """Which record a row belongs to, as SQL."""
    code: str
    """What a flipped byte is called."""


TEXTS = "audit_content"
OF_ENTRY = f"(SELECT leaf_index FROM audit_entry WHERE audit_entry.entry_id = {TEXTS}.entry_id)"
COLUMNS = (
    Column("audit_entry", "leaf", "leaf_index", "altered"),
    Column("audit_entry", "leaf_hash", "leaf_index", "altered"),
    Column(TEXTS, "sealed", OF_ENTRY, "content"),
    Column(TEXTS, "wrapped_key", OF_ENTRY, "content"),
)
of_each_column = pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)


class Flipping(NamedTuple):
    """A database of nine records without triggers, and what it is held against."""

    raw: Raw
    engine: AsyncEngine
    trust: Trust

    async def read(self, column: Column) -> dict[int, bytes]:
        """Return a column's values by the index of their records."""
        rows = await self.raw.run(f"SELECT {column.index}, {column.name} FROM {column.table} ORDER BY 1")
        return {index: bytes(value) for index, value in rows}

    async def put(self, column: Column, values: dict[int, bytes]) -> None:
        """Write a column's values by the index of their records."""
        quoted = "x'{}'" if self.raw.sqlite else "'\\x{}'::bytea"
        cases = " ".join(f"WHEN {index} THEN {quoted.format(value.hex())}" for index, value in values.items())
        await self.raw.run(
            f"UPDATE {column.table} SET {column.name} = CASE {column.index} {cases} ELSE {column.name} END"
        )

    async def named(self) -> list[tuple[str, int | None]]:
        """Return the code and the record of each finding in the whole database."""
        found: list[Finding] = []
        summary = await verify_database(self.engine, self.trust, found.append)
        assert summary.ok == (not found)
        return [(one.code, one.record) for one in found]


@pytest.fixture
async def flipping(database: str, raw: Raw, tmp_path: Path) -> AsyncIterator[Flipping]:
    keys = tmp_path / "signing"
    async with opened(database) as log:
        for at in range(RECORDS // 3):
            await log.append(entry(Kind.LOGIN, ""), entry(Kind.TURN_ACCEPTED, f"t{at}", verdict="allow"))
            await log.append(completed("One.", f"t{at}"))
    await sequence(database, keys, 4)
    await raw.disarm()
    engine = make_engine(database)
    yield Flipping(raw, engine, trust_of(keys))
    await engine.dispose()


@of_each_column
async def test_every_flipped_byte_is_named(flipping: Flipping, column: Column):
    """One byte of every value at once: a verification for each place, in which every record must be named."""
    written = await flipping.read(column)
    assert len(written) == (RECORDS // 3 if column.table == TEXTS else RECORDS)
    assert await flipping.named() == []
    for at in range(max(map(len, written.values()))):
        await flipping.put(column, {index: flipped(value, at % len(value)) for index, value in written.items()})
        named = {index for code, index in await flipping.named() if code == column.code}
        assert named == set(written), at
    await flipping.put(column, written)
    assert await flipping.named() == []


@of_each_column
async def test_a_flipped_byte_among_sound_values_is_named_and_no_other(flipping: Flipping, column: Column):
    """What is found where all values are flipped at once could be lost where all others hold."""
    written = await flipping.read(column)
    for index, value in written.items():
        for at in sample(len(value), index):
            await flipping.put(column, {index: flipped(value, at)})
            named = await flipping.named()
            assert named.count((column.code, index)) == 1, at
            assert {record for code, record in named if code not in NEIGHBOURS} <= {index}, at
        await flipping.put(column, {index: value})
    assert await flipping.named() == []


NEIGHBOURS = ("turn", "content")
"""Findings about what belongs to a record: where it cannot be read any more they may name others of its turn."""


def sample(length: int, index: int) -> list[int]:
    """Return places of a value: first, last, and some between that differ from record to record."""
    return sorted({0, length - 1, *range(index * ALONE_EVERY // RECORDS, length, ALONE_EVERY)})


def flipped(value: bytes, at: int) -> bytes:
    return value[:at] + bytes([value[at] ^ (1 << at % 8)]) + value[at + 1 :]
