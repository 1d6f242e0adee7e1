"""From the log into a real Elasticsearch: each record once, exactly, in the month that it belongs to."""

import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from audit.canonical import commitment, leaf_of
from audit.elastic import rows
from audit.elastic.projection import (
    OpenedText,
    Record,
    content_document,
    leaf_in,
    metadata_document,
    without_volatile,
)
from audit.elastic.rows import DocumentMaker, read_rows
from audit.record import Content, Entry, Kind
from audit.ring import KeyRing
from audit.sinks.elasticsearch import LARGEST_REQUEST
from tests.contract.audit.turns import accepted, completed, entry, released
from tests.integration.elastic.conftest import MASTER, Line, closing, prepare, this_month
from tests.rig.faulty_proxy import FaultyProxy
from tests.unit.elastic.entries import ENTRIES


async def turn(line: Line, name: str, message: str = "Hello?", answer: str = "One. Two. ") -> None:
    await line.append(accepted(name, message), released(answer, 0, name), completed(answer, name))


async def test_every_record_arrives_exactly(line: Line):
    await turn(line, "t1", "你好，内部机密是什么？")
    await line.append(entry(Kind.LOGIN, turn_id=""))
    async with closing(line.delivery()) as delivery:
        assert await delivery.drain() == 4
        assert await delivery.drain() == 0
    hits = line.server.documents("attest-audit-*")
    assert [hit["_source"]["event"]["sequence"] for hit in hits] == [0, 1, 2, 3]
    async with line.engine.connect() as connection:
        ids = [row[0] for row in await connection.execute(text("SELECT entry_id FROM audit_entry ORDER BY entry_id"))]
        read = await read_rows(connection, ids)
    wanted = [document for row in read for document in DocumentMaker(KeyRing(MASTER)).make(row)]
    hits += line.server.documents("attest-content-*")
    found = {(hit["_index"], hit["_id"]): without_volatile(hit["_source"]) for hit in hits}
    assert found == {(one.index, one.id): one.source for one in wanted}
    assert [leaf_in(hit["_source"]) for hit in hits[:4]] == [row.leaf for row in read]
    assert (await line.outbox.state()).pending == 0
    assert line.watch.counts == {"created": 4}


async def test_texts_prove_themselves_and_are_found_in_chinese(line: Line):
    await turn(line, "t1", "请问合同编号是多少？", "编号是保密的。")
    await turn(line, "t2", "What is the contract number?")
    async with closing(line.delivery()) as delivery:
        await delivery.drain()
    documents = line.server.documents("attest-content-*")
    for hit in documents:
        for one in hit["_source"]["attest"]["text"]:
            assert one["body"]
    query = {"query": {"match_phrase": {"attest.search": "合同编号"}}}
    hits = line.server.call("POST", "/attest-content-*/_search", query)["hits"]["hits"]
    assert {hit["_source"]["attest"]["turn"]["id"] for hit in hits} == {"t1"}
    assert {hit["_source"]["event"]["action"] for hit in hits} == {"turn.accepted", "turn.completed"}
    closed = next(hit for hit in hits if hit["_source"]["event"]["action"] == "turn.completed")
    assert closed["_source"]["attest"]["search"] == ["请问合同编号是多少？", "编号是保密的。"]


async def test_a_turn_that_closes_after_its_beginning_was_delivered_is_found_by_all_its_texts(line: Line):
    async with closing(line.delivery()) as delivery:
        await line.append(accepted("t1", "请问合同编号是多少？"), accepted("t2", "Hello?"))
        mirrored = (Content("mirrored", "assistant", "What nobody was shown."),)
        await line.append(entry(Kind.TURN_MIRRORED, "t2", contents=mirrored))
        await delivery.drain()
        await line.append(released("编号", 0, "t1"))
        await delivery.drain()
        await line.append(completed("编号是保密的。", "t1"), completed("Hi.", "t2"))
        await delivery.drain()
    found = {
        hit["_source"]["attest"]["turn"]["id"]: hit["_source"]["attest"]["search"]
        for hit in line.server.documents("attest-content-*")
        if hit["_source"]["event"]["action"] == "turn.completed"
    }
    assert found == {"t1": ["请问合同编号是多少？", "编号", "编号是保密的。"], "t2": ["Hello?", "Hi."]}


async def test_many_records_that_name_a_turn_are_not_read_for_its_closing_record(line: Line, monkeypatch):
    """Whoever asks for a turn leaves such a record each time; a database takes so many ids in a query and no more."""
    asked: list[str] = []
    records = rows._records
    monkeypatch.setattr(rows, "_ASKED", 2)
    monkeypatch.setattr(rows, "_records", lambda ids: asked.extend(ids) or records(ids))
    async with closing(line.delivery()) as delivery:
        await line.append(accepted("t1", "A question?"), *(released(f"{at}. ", 3 * at, "t1") for at in range(5)))
        denied = [entry(Kind.ACCESS_DENIED, turn_id="t1") for _ in range(20)]
        await line.append(*denied)
        await delivery.drain()
        asked.clear()
        await line.append(completed("0. 1. 2. 3. 4. ", "t1"))
        await delivery.drain()
    assert len(asked) == 1 + 6, "the closing record, and those with texts"
    assert line.watch.counts == {"created": 27}
    (found,) = [
        hit["_source"]["attest"]["search"]
        for hit in line.server.documents("attest-content-*")
        if hit["_source"]["event"]["action"] == "turn.completed"
    ]
    assert found == ["A question?", "0. ", "1. ", "2. ", "3. ", "4. ", "0. 1. 2. 3. 4. "]


async def test_texts_match_their_commitments(line: Line):
    await turn(line, "t1", "Prove me \ud83d alone")
    async with closing(line.delivery()) as delivery:
        await delivery.drain()
    audit = {hit["_id"]: hit["_source"] for hit in line.server.documents("attest-audit-*")}
    for hit in line.server.documents("attest-content-*"):
        promises = audit[hit["_id"]]["attest"]["commitment"]
        for promise, one in zip(promises, hit["_source"]["attest"]["text"], strict=True):
            data = base64.b64decode(one["exact"]) if "exact" in one else one["body"].encode()
            assert commitment(base64.b64decode(one["nonce"]), data) == promise["hash"]


async def test_the_texts_of_an_erased_person_are_not_delivered(line: Line):
    await turn(line, "t1")
    async with line.engine.begin() as connection:
        await connection.execute(text("UPDATE subject_key SET destroyed_us = 1, wrapped = NULL"))
    async with closing(line.delivery()) as delivery:
        assert await delivery.drain() == 3
    assert len(line.server.documents("attest-audit-*")) == 3
    assert line.server.documents("attest-content-*") == []


async def test_what_has_no_place_in_the_log_waits(line: Line):
    await line.log.append(accepted("t1"))
    async with closing(line.delivery()) as delivery:
        assert await delivery.drain() == 0
        assert (await line.outbox.state()).pending == 1
        await line.sequencer.step()
        assert await delivery.drain() == 1


async def test_sent_twice_it_is_there_once(line: Line):
    await turn(line, "t1")
    async with closing(line.delivery()) as delivery:
        await delivery.drain()
        assert await line.outbox.put_back(0, 2**62) == 3
        assert await line.outbox.put_back(0, 2**62) == 0
        await delivery.drain()
    assert len(line.server.documents("attest-audit-*")) == 3
    assert line.watch.counts == {"created": 3, "present": 3}


async def test_a_retry_over_the_end_of_a_month_hits_the_same_index(line: Line):
    """The record is of last month; whatever the clock says when it is sent, its index is that of its own time."""
    last = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0) - timedelta(microseconds=1)
    await line.append(accepted("t1", at=last), completed("x", "t1"))
    async with closing(line.delivery()) as delivery:
        await delivery.round()
        assert line.watch.delays == {"index_missing 403": 1}
        await prepare(line.server, *await line.outbox.times())
        await asyncio.sleep(0.2)
        await delivery.drain()
    index = f"attest-audit-{last.year:04}.{last.month:02}"
    assert [hit["_source"]["attest"]["turn"]["id"] for hit in line.server.documents(index)] == ["t1"]
    assert len(line.server.documents(f"attest-audit-{this_month()}")) == 1


async def test_a_poison_record_is_set_aside_and_the_rest_goes_on(line: Line):
    await turn(line, "t1")
    await line.append(accepted("poison", at=datetime(1875, 1, 1, tzinfo=UTC)))  # no time that the type knows
    await turn(line, "t2")
    await prepare(line.server, datetime(1875, 1, 1, tzinfo=UTC))
    async with closing(line.delivery()) as delivery:
        await delivery.drain()
        state = await delivery.sample()
        assert (state.pending, state.dead_letters) == (0, 1)
        (letter,) = await line.outbox.dead_letters(10)
        assert (letter.reason, letter.kind) == ("document_parsing_exception 400", "turn.accepted")
        assert await line.outbox.retry([letter.entry_id]) == 1
        await delivery.drain()
        assert [one.attempts for one in await line.outbox.dead_letters(10)] == [letter.attempts + 1]
        assert await line.outbox.retry() == 1
    assert len(line.server.documents(f"attest-audit-{this_month()}")) == 6
    noted = [hit["_source"] for hit in line.server.documents("attest-delivery-*")]
    assert {one["event"]["action"] for one in noted} == {"delivery.sample", "delivery.dead_letter"}


async def test_an_altered_leaf_is_not_passed_on(line: Line, tmp_path):
    await turn(line, "t1")
    sqlite = line.engine.dialect.name == "sqlite"
    async with line.engine.begin() as connection:
        if sqlite:
            await connection.execute(text("DROP TRIGGER audit_entry_no_update"))
        else:
            await connection.execute(text("ALTER TABLE audit_entry DISABLE TRIGGER USER"))
        await connection.execute(text("UPDATE audit_entry SET leaf = :leaf WHERE leaf_index = 1"), {"leaf": b'{"a":1}'})
    async with closing(line.delivery()) as delivery:
        await delivery.drain()
    assert [letter.reason for letter in await line.outbox.dead_letters(10)] == ["altered"]
    assert [hit["_source"]["event"]["sequence"] for hit in line.server.documents("attest-audit-*")] == [0, 2]


async def test_two_workers_share_the_outbox(line: Line):
    for nth in range(60):
        await line.log.append(accepted(f"t{nth}"), completed("x", f"t{nth}"))
    while await line.sequencer.step():
        pass
    async with closing(line.delivery()) as one, closing(line.delivery()) as other:
        await asyncio.gather(one.drain(), other.drain())
    assert len(line.server.documents("attest-audit-*")) == 120
    assert line.watch.counts == {"created": 120}


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(entries=st.lists(ENTRIES, min_size=30, max_size=30))
def test_no_record_that_a_log_can_hold_is_refused(prepared_server, entries: list[Entry]):
    lines = []
    for nth, one in enumerate(entries):
        record = Record.of(nth, leaf_of(one))
        texts = [OpenedText("message", "user", one.name, b"n" * 32)]
        documents = [metadata_document(record, one), content_document(record, texts, one, [one.subject])]
        for document, index in zip(documents, ("attest-audit-2000.01", "attest-content-2000.01"), strict=True):
            assert document
            action = {"index": {"_index": index, "_id": document.id}}
            lines += [json.dumps(action), msgspec.json.encode(document.source).decode()]
    answer = prepared_server.call("POST", "/_bulk", "\n".join(lines) + "\n")
    assert not answer["errors"], [item for item in answer["items"] if "error" in item["index"]][:1]


async def test_no_request_is_larger_than_it_may_be(line: Line):
    """Sixteen texts of 300 KB each make 10 MB of documents; every one of them fits into a request with another."""
    for nth in range(8):
        await turn(line, f"t{nth}", "问" * 100_000, "答" * 100_000)
    async with FaultyProxy(line.server.url) as proxy, closing(line.delivery(proxy.url)) as delivery:
        assert await delivery.drain() == 24
        sizes = [int(headers["Content-Length"]) for headers in proxy.headers if "Content-Length" in headers]
    assert max(sizes) <= LARGEST_REQUEST
    assert len([size for size in sizes if size > LARGEST_REQUEST / 2]) > 5, "they are filled"
    assert (line.watch.interruptions, line.watch.counts) == ([], {"created": 24})


@pytest.mark.filterwarnings("default:Sending a large body")
async def test_a_document_that_is_larger_than_a_request_goes_alone(line: Line):
    await line.append(accepted("t1"), accepted("t2", "x" * 2 * LARGEST_REQUEST), accepted("t3"))
    async with closing(line.delivery()) as delivery:
        assert await delivery.drain() == 3
    assert line.watch.counts == {"created": 3}
