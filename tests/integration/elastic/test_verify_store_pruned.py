"""Documents of records that the log has emptied are held against the leaf that they hold."""

from datetime import UTC, datetime, timedelta

import pytest

from audit.elastic.families import AUDIT, CONTENT
from audit.governing import Governor
from audit.record import Kind
from audit.retention import MINIMUM, Keeping, Retention
from tests.contract.audit.turns import accepted, completed, entry, released
from tests.integration.elastic.conftest import Line, prepare
from tests.integration.elastic.verifying import deliver, id_of, named, put, verified

AGO = datetime.now(UTC) - timedelta(days=200)
"""When records were made that are pruned by now, though their month is still kept."""


@pytest.fixture
async def pruned(line: Line) -> Line:
    """Two turns and a refused one of long ago: records 0 to 6, delivered, then emptied; the record of that is 7."""
    await prepare(line.server, AGO, datetime.now(UTC))
    for turn in ("t0", "t1"):
        await line.append(accepted(turn, at=AGO), released("One.", 0, turn, at=AGO), completed("One.", turn, at=AGO))
    await line.append(entry(Kind.TURN_REFUSED, "t2", at=AGO, verdict="refused", reason="queue_full"))
    await deliver(line)
    done = await Retention(Governor(line.engine), Keeping(MINIMUM, delivery=True)).run()
    assert done.pruned == 7
    await line.append()
    await deliver(line)
    for family in (AUDIT, CONTENT):
        line.server.call("POST", f"/{long_ago(family)}/_refresh")
    return line


def long_ago(family=AUDIT) -> str:
    return family.index(AGO)


async def edited(line: Line, place: int, family=AUDIT, **fields: object) -> None:
    path = f"/{long_ago(family)}/_update/{await id_of(line, place)}?refresh=true"
    line.server.call("POST", path, {"doc": fields})


async def test_honest_documents_of_pruned_records_raise_no_alarm(pruned: Line):
    summary, found = await verified(pruned)
    assert (found, summary.records) == ([], 8)
    assert await named(pruned, master=None) == []


async def test_an_edited_field_of_a_pruned_record_is_named(pruned: Line):
    await edited(pruned, 0, user={"id": "nobody"})
    await edited(pruned, 2, attest={"turn": {"verdict": "allowed", "group": "others"}})
    await edited(pruned, 4, CONTENT, user={"id": "nobody"})
    await edited(pruned, 5, CONTENT, attest={"turn": {"subject": "nobody"}})
    await edited(pruned, 6, attest={"turn": {"verdict": "allow"}})
    _, found = await verified(pruned)
    assert sorted((one.record, one.code, one.what.rpartition(": ")[2]) for one in found) == [
        (0, "projection", "user.id"),
        (2, "projection", "attest.turn.group, attest.turn.verdict"),
        (4, "projection", "user.id"),
        (5, "projection", "attest.turn.subject"),
        (6, "projection", "attest.turn.verdict"),
    ]


async def test_a_pruned_record_without_its_leaf_or_in_another_month_is_named(pruned: Line):
    await edited(pruned, 0, event={"original": None})
    doc_id = await id_of(pruned, 1)
    source = pruned.server.call("GET", f"/{long_ago()}/_doc/{doc_id}")["_source"]
    put(pruned, doc_id, source)
    put(pruned, "copied", source)
    assert await named(pruned) == [("altered", 0), ("duplicate", 1), ("duplicate", 1)]


async def test_the_turn_of_a_closing_record_whose_opening_is_gone_is_left_open(pruned: Line):
    pruned.server.call("DELETE", f"/{long_ago()}/_doc/{await id_of(pruned, 0)}?refresh=true")
    assert await named(pruned) == []
    await edited(pruned, 2, user={"id": "nobody"})
    assert await named(pruned) == [("projection", 2)]
