"""Log lines as they leave the process: JSON, and no key that nobody allowed."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from litestar import Litestar, get
from litestar.params import FromPath
from litestar.testing import AsyncTestClient

from gateway.logging import RequestLog, configure_logging
from gateway.telemetry import Telemetry
from tests.unit.telemetry.values import MARKER


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    root, stream = logging.getLogger(), io.StringIO()
    before = (root.handlers[:], root.level)
    configure_logging("INFO", stream)
    yield stream
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def fail() -> None:
    raise ValueError(MARKER)


def parsed(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_unknown_keys_are_dropped_and_counted(output: io.StringIO) -> None:
    structlog.get_logger("attest.x").info("turn", status=200, prompt=MARKER, answer=MARKER)
    (line,) = parsed(output)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "turn", "level": "info", "logger": "attest.x", "status": 200, "dropped": 2}


@pytest.mark.parametrize("value", [ValueError(MARKER), [MARKER], {"text": MARKER}, MARKER.encode()])
def test_an_object_is_named_by_its_class(output: io.StringIO, value: object) -> None:
    structlog.get_logger().warning("turn", error=value)
    assert parsed(output)[0]["error"] == type(value).__name__
    assert MARKER not in output.getvalue()


def test_an_exception_is_its_class_and_place(output: io.StringIO) -> None:
    try:
        fail()
    except ValueError:
        structlog.get_logger().exception("it failed")
    (line,) = parsed(output)
    assert line["error"] == "ValueError"
    assert line["place"].startswith("test_logging.py:")
    assert MARKER not in output.getvalue()


@pytest.mark.parametrize("name", ["asyncio", "aiohttp.client", "litestar", "sqlalchemy.engine", "py.warnings"])
def test_a_librarys_message_is_not_repeated(output: io.StringIO, name: str) -> None:
    try:
        fail()
    except ValueError:
        logging.getLogger(name).exception("about %s", MARKER, stack_info=True)
    (line,) = parsed(output)
    assert (line["event"], line["logger"], line["error"]) == ("library.message", name, "ValueError")
    assert MARKER not in output.getvalue()


def test_a_servers_own_words_are_kept(output: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)
    assert parsed(output)[0]["event"] == "Started server process [7]"


def test_the_level_holds_for_everybody(output: io.StringIO) -> None:
    structlog.get_logger().debug("quiet")
    logging.getLogger("aiohttp").info("heard")
    assert len(parsed(output)) == 1


@get("/things/{name:str}", sync_to_thread=False)
def thing(name: FromPath[str]) -> str:
    if name == "broken":
        raise ValueError(name)
    return name


@get("/health/live", sync_to_thread=False)
def live() -> str:
    return "ok"


async def test_a_request_is_one_line_by_its_route(output: io.StringIO) -> None:
    telemetry = Telemetry({})
    app = Litestar([thing, live], middleware=[RequestLog(telemetry)], logging_config=None)
    async with AsyncTestClient(app) as client:
        await client.get(f"/things/{MARKER}?q={MARKER}", headers={"cookie": f"c={MARKER}"})
        await client.get("/things/broken")
        await client.get("/health/live")
    found = [line for line in parsed(output) if line["logger"] == "attest.http"]
    assert [(line["route"], line["status"], line["method"]) for line in found] == [
        ("/things/{name}", 200, "GET"),
        ("/things/{name}", 500, "GET"),
    ]
    assert all(len(line["trace_id"]) == 32 and line["ms"] >= 0 for line in found)
    assert MARKER not in output.getvalue()
    metrics = telemetry.render().decode()
    assert 'attest_http_request_seconds_count{method="GET",route="/things/{name}",status="200"} 1.0' in metrics
