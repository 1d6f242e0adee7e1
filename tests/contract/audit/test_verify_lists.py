"""Lists, searches and counts are made from tables beside the log: whatever they show that no record says is named."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.record import Kind
from audit.verification.source import PAGE
from tests.contract.audit.conftest import Raw, opened
from tests.contract.audit.sequenced import fill, named, sequence, trust_of, verified
from tests.contract.audit.turns import accepted, entry
from tests.rig.databases import copied, migrated

TURN = "opened_us, subject, conversation_id"
CHANGES = {
    "a turn twice": f"INSERT INTO audit_turn SELECT 'x', {TURN}, 'block', opened_entry, closed_entry, writer_id"
    " FROM audit_turn WHERE turn_id = 't3'",
    "a turn of nothing": f"INSERT INTO audit_turn SELECT 'x', {TURN}, 'block', 'no', NULL, writer_id"
    " FROM audit_turn WHERE turn_id = 't3'",
    "found at another time": "INSERT INTO audit_facet SELECT 'rule', 'x', opened_us + 1, turn_id FROM audit_turn"
    " WHERE turn_id = 't3'",
    "found twice": "INSERT INTO audit_facet SELECT facet, value, 5, turn_id FROM audit_facet"
    " WHERE turn_id = 't3' AND facet = 'category'",
    "found without a turn": "INSERT INTO audit_facet SELECT 'rule', 'x', opened_us, 'x' FROM audit_turn"
    " WHERE turn_id = 't3'",
    "a refusal moved": "UPDATE audit_turn SET opened_us = 5 WHERE turn_id = 'refused'",
    "a refusal given away": "UPDATE audit_turn SET conversation_id = 'x' WHERE turn_id = 'refused'",
    "a refusal hidden": "UPDATE audit_turn SET opened_entry = 'x' WHERE turn_id = 'refused'",
    "an open turn closed": "UPDATE audit_turn SET closed_entry = 'x' WHERE turn_id = 'open'",
    "an open turn blocked": "UPDATE audit_turn SET closed_entry = opened_entry, verdict = 'block'"
    " WHERE turn_id = 'open'",
    "closed by another's": "UPDATE audit_turn SET closed_entry = (SELECT closed_entry FROM audit_turn"
    " WHERE turn_id = 't3') WHERE turn_id = 'open'",
    "an interrupted turn blocked": "UPDATE audit_turn SET verdict = 'block' WHERE turn_id = 'cut'",
    "a closed turn opened": "UPDATE audit_turn SET closed_entry = NULL WHERE turn_id = 't3'",
}


async def filled_with_all_ends(url: str, keys: Path) -> None:
    await fill(url, keys, 20)
    async with opened(url) as log:
        refused = {"verdict": "refused", "reason": "rate_limited", "groups": ("staff",), "conversation_id": "c1"}
        await log.append(entry(Kind.TURN_REFUSED, "refused", **refused))
        await log.append(accepted("cut", verdict="flag"))
        await log.append(entry(Kind.TURN_INTERRUPTED, "cut", reason="process_ended"))
        await log.append(accepted("open", verdict="allow"))
    await sequence(url, keys)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def once(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("ends")
    with migrated(request, request.param, folder) as url:
        asyncio.run(filled_with_all_ends(url, folder / "signing"))
        asyncio.run(Raw(url).disarm())
        yield url, folder / "signing"


@pytest.fixture
def database(once: tuple[str, Path], request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with copied(request, once[0], tmp_path) as url:
        yield url


@pytest.fixture
def keys(once: tuple[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(once[1], tmp_path / "signing"))


async def test_turns_of_all_ends_raise_no_alarm(database, keys):
    assert (await verified(database, trust_of(keys)))[1] == []


@pytest.mark.parametrize("change", CHANGES)
async def test_what_lists_show_and_no_record_says_is_named(database, keys, change):
    await Raw(database).run(CHANGES[change])
    assert {code for code, *_ in await named(database, trust_of(keys))} == {"turn"}


LOST = {
    "nothing": ("closed_entry = closed_entry", set()),
    "opened by its refusal": ("opened_entry = closed_entry", {"turn"}),
    "opened by another's": ("opened_entry = (SELECT opened_entry FROM audit_turn WHERE turn_id = 'x1')", {"turn"}),
    "opened at another time": ("opened_us = opened_us + 1", {"turn"}),
    "given away": ("conversation_id = 'c2'", {"turn"}),
    "allowed": ("verdict = 'allow'", {"turn"}),
}
"""What is changed of a turn that was accepted and then refused, and what is named."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def lost(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A turn whose acceptance was committed, though its gateway heard nothing of it and refused; a page in between."""

    async def filled(url: str, keys: Path) -> None:
        async with opened(url) as log:
            await log.append(accepted("lost"))
            await log.append(*(accepted(f"x{at}") for at in range(PAGE)))
            await log.append(entry(Kind.TURN_REFUSED, "lost", verdict="refused", reason="audit_unavailable"))
        await sequence(url, keys)
        await Raw(url).disarm()

    folder = tmp_path_factory.mktemp("lost")
    with migrated(request, request.param, folder) as url:
        asyncio.run(filled(url, folder / "signing"))
        yield url, folder / "signing"


@pytest.fixture
def lost_turn(lost: tuple[str, Path], request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with copied(request, lost[0], tmp_path) as url:
        yield url


@pytest.mark.parametrize("change", LOST)
async def test_an_accepted_turn_that_was_refused_is_held_to_both_records(lost, lost_turn, change):
    what, expected = LOST[change]
    await Raw(lost_turn).run(f"UPDATE audit_turn SET {what} WHERE turn_id = 'lost'")
    assert {code for code, *_ in await named(lost_turn, trust_of(lost[1]))} == expected
