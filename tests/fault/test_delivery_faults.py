"""Whatever happens to Elasticsearch, to the way there or to the worker: every record arrives, once, exactly."""

import asyncio
import json
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from sqlalchemy import text

from audit.delivery import Delivery, DeliveryLimits
from audit.elastic.projection import leaf_in, without_volatile
from audit.elastic.rows import DocumentMaker, read_rows
from audit.fsck import Fsck
from audit.ring import KeyRing
from audit.sinks.ports import SinkUnavailableError
from migrations.run import upgrade
from tests.contract.audit.turns import accepted, completed, released
from tests.fault.delivering import LEASE_S, STEPS
from tests.integration.elastic.conftest import FAST, MASTER, Line, closing, line_on, prepare
from tests.rig.elasticsearch import ElasticsearchServer, own_elasticsearch
from tests.rig.faulty_proxy import HANG_UP, LOSE_ANSWER, FaultyProxy
from tests.rig.product import ROOT

LIMITS = DeliveryLimits(records=10, first_wait_s=0.02, longest_wait_s=0.2, idle_s=0.02, sample_s=0.2)


@pytest.fixture
async def line(database: str, elastic_server: ElasticsearchServer, tmp_path: Path) -> AsyncIterator[Line]:
    elastic_server.clear()
    await prepare(elastic_server)
    async with line_on(database, elastic_server, tmp_path) as line:
        yield line


async def talk(line: Line, prefix: str, count: int) -> None:
    for nth in range(count):
        turn = f"{prefix}-{nth}"
        await line.log.append(accepted(turn, f"问题 {turn}"), released("One. ", 0, turn), completed("One. ", turn))
    while await line.sequencer.step():
        pass


async def settled(line: Line, delivery: Delivery, seconds: float = 200) -> None:
    """Deliver in the background until nothing waits."""
    running = asyncio.create_task(delivery.run())
    end = time.monotonic() + seconds
    try:
        while (await line.outbox.state()).pending and time.monotonic() < end:  # noqa: ASYNC110 - as an operator looks
            await asyncio.sleep(0.1)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    assert (await line.outbox.state()).pending == 0
    assert line.watch.faults == []


async def expect_everything(line: Line) -> None:
    """The log is whole, and Elasticsearch holds exactly its projection: nothing missing, nothing twice."""
    async with line.engine.connect() as connection:
        found = (await connection.execute(text("SELECT entry_id, leaf_index, leaf FROM audit_entry"))).all()
        rows = [
            row for part in _parts(sorted(one.entry_id for one in found)) for row in await read_rows(connection, part)
        ]
    assert sorted(one.leaf_index for one in found) == list(range(len(found)))
    wanted = {(one.index, one.id): one.source for row in rows for one in DocumentMaker(KeyRing(MASTER)).make(row)}
    hits = line.server.documents("attest-audit-*") + line.server.documents("attest-content-*")
    assert len(hits) == len(wanted)
    assert {(hit["_index"], hit["_id"]): without_volatile(hit["_source"]) for hit in hits} == wanted
    leaves = {leaf_in(hit["_source"]) for hit in hits if hit["_index"].startswith("attest-audit")}
    assert leaves == {bytes(one.leaf) for one in found}
    assert [flaw async for flaw in Fsck(line.engine, line.keys.load()).flaws()] == []


def _parts(ids: list[str]) -> Iterator[list[str]]:
    return (ids[at : at + 500] for at in range(0, len(ids), 500))


async def test_a_way_that_fails_in_every_manner_loses_nothing(line: Line):
    """Half of all requests: 429, 503, hung up before or after the work; a third of documents refused for now."""
    chance = random.Random(5)
    tried: set[str] = set()

    def spoil(_: int, item: dict) -> dict | None:
        name = item.get("event", {}).get("id", "")
        if not name or name in tried or chance.random() > 0.3:
            return None
        tried.add(name)
        status = chance.choice([429, 503, 500])
        return {
            "create": {"status": status, "error": {"type": "es_rejected_execution_exception", "reason": "injected"}}
        }

    await talk(line, "before", 14)
    async with FaultyProxy(line.server.url) as proxy, closing(line.delivery(proxy.url, LIMITS)) as delivery:
        faults = [429, 503, HANG_UP, LOSE_ANSWER, None, None, None, None]
        first = [429, 503, HANG_UP, LOSE_ANSWER]
        proxy.fault = lambda number, _path: first[number % 4] if number < 20 else chance.choice(faults)
        proxy.spoil = spoil
        delivering = asyncio.create_task(settled(line, delivery))
        await talk(line, "during", 6)
        await delivering
    await expect_everything(line)
    assert {"busy 429", "server_error 503", "unreachable"} <= set(line.watch.interruptions)
    assert line.watch.delays
    assert "refused" not in line.watch.counts


async def test_one_document_that_is_refused_stops_no_other(line: Line):
    await talk(line, "t", 10)
    refusal = {"status": 400, "error": {"type": "document_parsing_exception", "reason": "secret words of a person"}}
    async with FaultyProxy(line.server.url) as proxy, closing(line.delivery(proxy.url, LIMITS)) as delivery:
        proxy.spoil = lambda _, item: {"create": refusal} if item["event"].get("sequence") == 4 else None
        await settled(line, delivery)
        (letter,) = await line.outbox.dead_letters(10)
        assert (letter.leaf_index, letter.reason) == (4, "document_parsing_exception 400")
        proxy.spoil = lambda _nth, _item: None
        assert await line.outbox.retry() == 1
        await settled(line, delivery)
    await expect_everything(line)


async def test_a_request_that_is_too_large_is_halved(line: Line):
    await talk(line, "t", 10)
    async with FaultyProxy(line.server.url) as proxy, closing(line.delivery(proxy.url, LIMITS)) as delivery:
        real, most = proxy._bulk, 3

        async def bulk(request, body, fault):
            if body.count(b"\n") > 2 * most:
                return await _too_large()
            return await real(request, body, fault)

        proxy._bulk = bulk  # type: ignore[method-assign]
        await settled(line, delivery)
    await expect_everything(line)


async def _too_large():
    return web.json_response({"status": 413}, status=413, headers={"X-Elastic-Product": "Elasticsearch"})


@pytest.mark.parametrize("step", STEPS)
async def test_a_worker_that_is_killed_leaves_its_claim_to_the_next(line: Line, database: str, step: str):
    await talk(line, "t", 5)
    arguments = (database, line.server.url, line.server.login("attest_writer"), step)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fault.delivering", *arguments, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == -signal.SIGKILL, said.decode()[-500:]
    await asyncio.sleep(LEASE_S)
    async with closing(line.delivery(limits=LIMITS)) as delivery:
        await settled(line, delivery)
    await expect_everything(line)


async def test_a_clock_that_stepped_back_keeps_nothing_waiting(line: Line):
    """The claim of a worker that died was made by a clock a year ahead."""
    await talk(line, "t", 3)
    year_ahead = (time.time_ns() // 1000) + 365 * 86_400_000_000
    async with line.engine.begin() as connection:
        await connection.execute(text("UPDATE outbox SET due_us = :due"), {"due": year_ahead})
    async with closing(line.delivery(limits=LIMITS)) as delivery:
        await settled(line, delivery)
    await expect_everything(line)


async def test_a_month_that_ends_between_two_tries_takes_its_records_with_it(line: Line):
    """The record is of last month, whose index is not there yet; and the answer to the second try is lost."""
    last = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0) - timedelta(microseconds=1)
    await line.log.append(accepted("t", at=last), released("One. ", 0, "t"), completed("One. ", "t"))
    await talk(line, "next", 2)
    async with FaultyProxy(line.server.url) as proxy, closing(line.delivery(proxy.url, LIMITS)) as delivery:
        await delivery.round()
        assert line.watch.delays == {"index_missing 403": 1}
        await prepare(line.server, last)
        await asyncio.sleep(0.1)
        proxy.fault = lambda _number, _path: LOSE_ANSWER
        with pytest.raises(SinkUnavailableError):
            await delivery.round()
        proxy.fault = lambda _number, _path: None
        await settled(line, delivery)
    assert line.watch.counts == {"created": 8, "present": 1}
    await expect_everything(line)
    assert len(line.server.documents(f"attest-audit-{last:%Y.%m}")) == 1


async def test_wrong_credentials_lose_nothing(line: Line):
    await talk(line, "t", 2)
    async with closing(line.delivery(role="attest_verifier")) as delivery:
        with pytest.raises(SinkUnavailableError, match="forbidden 403"):
            await delivery.round()
    assert (await line.outbox.state()).dead_letters == 0
    async with closing(line.delivery()) as delivery:
        await settled(line, delivery)
    await expect_everything(line)


@pytest.mark.parametrize(("status", "reason"), [(401, "unauthorized"), (403, "forbidden"), (404, "index_missing")])
async def test_a_key_that_expires_makes_no_dead_letter(line: Line, status: int, reason: str):
    """docs/decisions/0011: an answer that any record would have got is no document's fault, and nothing is lost."""
    await talk(line, "t", 8)
    async with FaultyProxy(line.server.url) as proxy, closing(line.delivery(proxy.url, LIMITS)) as delivery:
        proxy.fault = lambda _number, _path: status if _number > 2 else None
        delivering = asyncio.create_task(settled(line, delivery))
        while proxy.answered[status] < 4:  # noqa: ASYNC110 - told by a count
            await asyncio.sleep(0.02)
        await talk(line, "meanwhile", 2)
        assert (await line.outbox.state()).pending
        proxy.fault = lambda _number, _path: None
        await delivering
        assert (await line.outbox.state()).dead_letters == 0
    await expect_everything(line)
    assert f"{reason} {status}" in line.watch.interruptions
    assert "refused" not in line.watch.counts


@pytest.mark.slow
@pytest.mark.timeout(900)  # the server starts three times
async def test_a_server_that_is_down_from_the_start_and_killed_under_load(tmp_path: Path, postgres):
    database = f"sqlite+aiosqlite:///{tmp_path}/attest.db"
    upgrade(database)
    with own_elasticsearch() as server:
        await prepare(server)
        server.stop()
        async with line_on(database, server, tmp_path) as line, closing(line.delivery(limits=FAST)) as delivery:
            running = asyncio.create_task(delivery.run())
            await talk(line, "down", 15)
            while not line.watch.interruptions:  # noqa: ASYNC110 - told by a count
                await asyncio.sleep(0.05)
            await asyncio.to_thread(server.start)
            talking = asyncio.create_task(talk(line, "load", 60))
            await asyncio.sleep(0.5)
            await asyncio.to_thread(server.kill)
            await talking
            await talk(line, "gone", 10)
            await asyncio.to_thread(server.start)
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            await settled(line, delivery)
            await expect_everything(line)


async def test_a_lost_index_comes_back_with_its_records(tmp_path: Path, elastic_server: ElasticsearchServer):
    elastic_server.clear()
    database = f"sqlite+aiosqlite:///{tmp_path}/attest.db"
    upgrade(database)
    environment = {
        "PATH": "/usr/bin:/bin", "ATTEST_DATABASE_URL": database, "ATTEST_DATA_DIR": str(tmp_path),
        "ATTEST_ELASTICSEARCH_URL": elastic_server.url,
        "ATTEST_ELASTICSEARCH_BOOTSTRAP": elastic_server.login("attest_bootstrap"),
    }  # fmt: skip

    async def bootstrap() -> list[dict]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "audit", "bootstrap", "--months", "1", "--json",
            cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate()
        return [step for step in json.loads(out) if step["what"] in {"index", "records"}]

    await bootstrap()
    async with line_on(database, elastic_server, tmp_path) as line, closing(line.delivery()) as delivery:
        await talk(line, "t", 10)
        await delivery.drain()
        month = datetime.now(UTC).strftime("%Y.%m")
        elastic_server.call("DELETE", f"/attest-content-{month}")
        steps = await bootstrap()
        assert [step["detail"] for step in steps if step["what"] == "records"] == ["30 queued again"]
        await delivery.drain()
        await expect_everything(line)
        assert not [step for step in await bootstrap() if step["state"] != "there"]
