"""Whatever is edited, deleted, added or forged in a real Elasticsearch is named; an honest one raises no alarm."""

import asyncio
import base64
import json
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from audit.canonical import leaf_hash
from audit.delivery import DeliveryLimits
from audit.elastic.families import AUDIT, CONTENT
from audit.elastic.projection import document_id
from audit.elastic.roles import BOOTSTRAP, COMPLIANCE, SECURITY, VERIFIER
from audit.keys import FileMasterKey
from audit.ports import AuditUnavailableError
from audit.record import Kind
from audit.signing import SigningKeys
from gateway.cli import main
from tests.contract.audit.turns import accepted, completed, entry, released
from tests.integration.elastic.conftest import Line, closing, prepare
from tests.integration.elastic.verifying import deliver, get, id_of, index, named, put, verified


@pytest.fixture
async def filled(line: Line) -> Line:
    """Six turns: records 0 to 17, delivered."""
    for at in range(6):
        await line.append(
            accepted(f"t{at}", f"请问 {at}"), released("One.", 0, f"t{at}"), completed("One.", f"t{at}", "Two.")
        )
    await deliver(line)
    for family in (AUDIT, CONTENT):
        line.server.call("POST", f"/{index(family)}/_refresh")
    return line


async def test_an_honest_store_holds(filled: Line):
    summary, found = await verified(filled)
    assert found == []
    assert (summary.records, summary.documents, summary.undelivered) == (18, 36, 0)
    summary, found = await verified(filled, master=None)
    assert (found, summary.documents, summary.texts) == ([], 18, False)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_ten_thousand_honest_records_raise_no_alarm(line: Line):
    turns = 3_400

    async def talk(worker: int) -> None:
        for at in range(worker, turns, 20):
            turn, words = f"t{at}", f"第 {at} 个问题 “\u2028” \ud800 {'x' * (at % 300)}"
            await line.log.append(
                accepted(turn, words, subject=f"用户-{at % 90}"), released(words, 0, turn), completed(words, turn)
            )

    await asyncio.gather(*(talk(worker) for worker in range(20)))
    while await line.sequencer.step():
        pass
    async with closing(line.delivery(limits=DeliveryLimits(part=100))) as delivery:
        await delivery.drain()
    summary, found = await verified(line)
    assert found == []
    assert (summary.records, summary.documents, summary.undelivered) == (3 * turns, 6 * turns, 0)


async def test_what_was_not_delivered_yet_is_no_finding_and_what_is_just_there_is_found(filled: Line):
    await filled.append(accepted("late"))
    summary, found = await verified(filled)
    assert (found, summary.undelivered) == ([], 1)
    await deliver(filled)  # and no refresh: the scan does not show it yet
    summary, found = await verified(filled)
    assert (found, summary.undelivered, summary.documents) == ([], 0, 38)


async def test_a_deleted_document_is_missing(filled: Line):
    filled.server.call("DELETE", f"/{index()}/_doc/{await id_of(filled, 4)}?refresh=true")
    filled.server.call("DELETE", f"/{index(CONTENT)}/_doc/{await id_of(filled, 9)}?refresh=true")
    assert await named(filled) == [("missing", 4), ("missing", 9)]
    assert await named(filled, master=None) == [("missing", 4)]


EDITS = {
    "user": (lambda source: source["user"].update(id="eve"), "user.id"),
    "verdict": (lambda source: source["attest"].update(verdict="block"), "attest.verdict"),
    "time": (lambda source: source.update({"@timestamp": "2020-01-01T00:00:00Z"}), "@timestamp"),
    "field removed": (lambda source: source["attest"].pop("surface"), "attest.surface"),
    "field added": (lambda source: source["event"].update(reason="x"), "event.reason"),
    "turn": (lambda source: source["attest"]["turn"].update(group="others"), "attest.turn.group"),
    "hash": (lambda source: source["event"].update(hash="00"), "event.hash"),
    "sequence as text": (lambda source: source["event"].update(sequence="0"), "event.sequence"),
}


@pytest.mark.parametrize("edit", EDITS)
async def test_an_edited_field_is_named(filled: Line, edit):
    change, name = EDITS[edit]
    doc_id = await id_of(filled, 0)
    source = get(filled, doc_id)
    change(source)
    put(filled, doc_id, source)
    _, found = await verified(filled)
    assert [(one.code, one.record) for one in found] == [("projection", 0)]
    assert found[0].what.endswith(f": {name}")


async def test_an_altered_leaf_is_named(filled: Line):
    doc_id = await id_of(filled, 3)
    source = get(filled, doc_id)
    leaf = base64.b64decode(source["event"]["original"]).replace(b"alice", b"mallo")
    source["event"]["original"] = base64.b64encode(leaf).decode()
    put(filled, doc_id, source)
    assert await named(filled) == [("altered", 3)]


async def test_an_edited_text_is_named(filled: Line):
    doc_id = await id_of(filled, 3)
    source = get(filled, doc_id, CONTENT)
    source["attest"]["text"][0]["body"] = "harmless"
    put(filled, doc_id, source, CONTENT)
    assert await named(filled) == [("projection", 3)]


async def test_forged_and_copied_documents_are_named(filled: Line):
    source = get(filled, await id_of(filled, 3))
    put(filled, "copied", source)
    forged = base64.b64decode(source["event"]["original"]).replace(b"alice", b"mallo")
    source["event"]["original"] = base64.b64encode(forged).decode()
    put(filled, document_id(leaf_hash(forged)), source)
    source["event"]["sequence"] = 99
    put(filled, "beyond", source)
    del source["event"]["sequence"]
    put(filled, "nowhere", source)
    source["event"]["sequence"] = [-4, 3]
    put(filled, "several", source)
    assert await named(filled) == [("duplicate", 3), ("extra", 3), *[("extra", None)] * 3]


async def test_the_right_document_in_the_wrong_month_is_named(filled: Line):
    await prepare(filled.server, datetime(2020, 1, 1, tzinfo=UTC))
    doc_id = await id_of(filled, 3)
    put(filled, doc_id, get(filled, doc_id), name="attest-audit-2020.01")
    assert await named(filled) == [("duplicate", 3)]


async def test_texts_of_an_erased_person_must_be_gone(filled: Line):
    await filled.append(entry(Kind.SUBJECT_ERASED, "", "alice"))
    await deliver(filled)
    async with filled.engine.begin() as connection:
        await connection.execute(text("UPDATE subject_key SET wrapped = NULL, destroyed_us = 1"))
    found = await named(filled)
    assert found == sorted((("content", place) for place in range(18)), key=str)
    for place in range(18):
        filled.server.call("DELETE", f"/{index(CONTENT)}/_doc/{await id_of(filled, place)}?refresh=true")
    assert await named(filled) == []


async def test_fields_that_are_computed_while_searching_are_named(filled: Line):
    runtime = {"runtime": {"user.id": {"type": "keyword"}}}
    assert filled.server.status("PUT", f"/{index()}/_mapping", runtime) == 200
    assert await named(filled) == [("mapping", None)]


async def test_fields_that_are_no_longer_found_are_named(filled: Line):
    """What the server lets be changed on an index that stands, and what it takes back."""
    bootstrap = filled.server.login(BOOTSTRAP)

    def mapped(family, path: str, **field) -> None:
        for name in reversed(path.split(".")):
            field = {"properties": {name: field}}
        assert filled.server.status("PUT", f"/{index(family)}/_mapping", field, bootstrap) == 200

    mapped(CONTENT, "attest.search", type="text", analyzer="standard", search_analyzer="keyword")
    mapped(AUDIT, "attest.turn.subject", type="keyword", ignore_above=1)
    _, found = await verified(filled)
    assert [(one.code, one.what.partition(": ")[2].partition(":")[0]) for one in found] == [
        ("mapping", "field attest.turn.subject has ignore_above 1"),
        ("mapping", 'field attest.search has search_analyzer "keyword"'),
    ]
    mapped(CONTENT, "attest.search", type="text", analyzer="standard")
    mapped(AUDIT, "attest.turn.subject", type="keyword")
    assert await named(filled) == []


async def test_settings_by_which_words_are_cut_otherwise_are_named(filled: Line):
    """An analyser of the index's own, under the name of the one that every server has."""
    own = {"analysis": {"analyzer": {"standard": {"type": "standard", "max_token_length": 2}}}}
    assert filled.server.status("POST", f"/{index(CONTENT)}/_close") == 200
    assert filled.server.status("PUT", f"/{index(CONTENT)}/_settings", {"index": own}) == 200
    assert filled.server.status("POST", f"/{index(CONTENT)}/_open?wait_for_active_shards=1") == 200
    assert filled.server.status("PUT", f"/{index()}/_settings", {"index": {"default_pipeline": "theirs"}}) == 200
    _, found = await verified(filled)
    assert [(one.code, one.what.partition(": ")[2].partition(":")[0].split("{")[0]) for one in found] == [
        ("mapping", 'it has the setting default_pipeline "theirs"'),
        ("mapping", "it has the setting analysis "),
    ]


async def test_an_identity_that_may_not_read_is_a_clear_error(filled: Line):
    with pytest.raises(AuditUnavailableError, match=r"attest-content-.*attest_verifier"):
        await verified(filled, role=SECURITY)
    assert (await verified(filled, role=COMPLIANCE))[0].ok
    filled.server.clear()
    with pytest.raises(AuditUnavailableError, match="bootstrap"):
        await verified(filled)


def test_the_command_compares_with_the_store(elastic_server, tmp_path, monkeypatch):
    monkeypatch.setenv("ATTEST_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ATTEST_ELASTICSEARCH_URL", elastic_server.url)
    monkeypatch.setenv("ATTEST_ELASTICSEARCH_VERIFIER", elastic_server.login(VERIFIER))
    monkeypatch.setenv("ATTEST_ELASTICSEARCH_BOOTSTRAP", elastic_server.login(BOOTSTRAP))
    elastic_server.clear()
    FileMasterKey.load_or_create(tmp_path / "master.key")
    SigningKeys(tmp_path / "signing").load_or_create()

    def attest(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, list(words))
        return result.exit_code, result.output

    assert attest("migrate")[0] == 0
    code, output = attest("audit", "verify", "--elasticsearch")
    assert (code, "bootstrap" in output) == (3, True)
    attest("audit", "bootstrap")
    code, output = attest("audit", "verify", "--database", "--elasticsearch")
    assert (code, output.count("OK: all holds")) == (0, 2)
    put_raw = {"event": {"sequence": 3}}
    elastic_server.call("PUT", f"/{index()}/_doc/forged?refresh=true", put_raw)
    code, output = attest("audit", "verify", "--elasticsearch", "--json")
    finding, summary = map(json.loads, output.splitlines())
    assert (code, finding["code"], summary["ok"]) == (3, "extra", False)
