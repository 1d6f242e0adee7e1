"""JSON logs on standard output, without content: only keys of the list below come through, whoever logs.

Records of libraries keep their level, logger and place, never their message, which might quote a request; those of the
servers in `PLAIN_LOGGERS` are known to speak of addresses and processes only, and keep it.
"""

import logging
import sys
import time
from collections.abc import MutableMapping
from typing import TextIO, cast

import structlog
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from gateway.telemetry import Telemetry
from gateway.tracing import place_of

ALLOWED = frozenset(
    {
        *("event", "level", "logger", "timestamp", "trace_id", "error", "place", "where", "status", "method", "route"),
        *("ms", "seconds", "setting", "turn_id", "reason", "count", "version", "host", "port", "address", "model"),
        *("kind", "code", "attempt", "pid", "name", "check", "lag", "dropped"),
    }
)
"""Keys that a log line may have. A new one is a decision: it must never hold what a person typed or a model said."""
PLAIN_LOGGERS = ("_granian", "granian", "uvicorn", "alembic")
"""Libraries whose messages are about themselves. Their access logs (raw paths) stay off."""
_TRACEBACK = ("Traceback", "+ Exception Group Traceback")
LONGEST_VALUE = 300
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
QUIET_ROUTES = ("/health", "/metrics")

Event = MutableMapping[str, object]


def configure_logging(level: str, stream: TextIO | None = None) -> None:
    """Send every log line of this process, ours and the libraries', to one JSON stream. Call once, at start."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            describe_exception,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, structlog.stdlib.add_log_level, _silence_foreign],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            drop_unknown_keys,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
    )
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    # A library that brought handlers of its own, or cut itself off, speaks through this stream as well.
    for known in list(root.manager.loggerDict.values()):
        if isinstance(known, logging.Logger):
            known.handlers[:], known.propagate, known.disabled = [], True, False
    for name in ("granian.access", "uvicorn.access"):
        logging.getLogger(name).disabled = True
    logging.captureWarnings(capture=True)


def drop_unknown_keys(_logger: object, _method: str, event: Event) -> Event:
    """Keep allow-listed keys with short, plain values; a count of the dropped ones tells that something was there."""
    kept: Event = {key: _plain(value) for key, value in event.items() if key in ALLOWED}
    lost = len(event) - len(kept)
    if lost:
        kept["dropped"] = lost
    return kept


def describe_exception(_logger: object, _method: str, event: Event) -> Event:
    """Replace an exception by its class and place; its message and its traceback's lines may quote content."""
    raised = event.pop("exc_info", None)
    if raised:
        error = raised if isinstance(raised, BaseException) else sys.exc_info()[1]
        if error is not None:
            event["error"], event["place"] = type(error).__name__, place_of(error.__traceback__)
    return event


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value[:LONGEST_VALUE]
    # The text of any other object is its own business: an exception's may quote what it choked on.
    return type(value).__name__


def _silence_foreign(_logger: object, _method: str, event: Event) -> Event:
    """Replace a library's message by its place in the code."""
    record = cast("logging.LogRecord", event["_record"])
    # uvicorn gives the traceback of a start that failed as its message.
    if not record.name.startswith(PLAIN_LOGGERS) or str(event.get("event")).lstrip().startswith(_TRACEBACK):
        event["event"] = "library.message"
    event["place"] = f"{record.filename}:{record.lineno}"
    raised = record.exc_info
    if isinstance(raised, tuple) and raised[0] is not None:
        event["error"] = raised[0].__name__
        event["where"] = place_of(raised[2])
    event.pop("exc_info", None)
    # The formatter would append the traceback, whose last line is the message.
    record.exc_info, record.exc_text, record.stack_info = None, None, None
    return event


class RequestLog(ASGIMiddleware):
    """One span, one metric and one log line for each request: route template, never the path; no header, no body."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._log = structlog.stdlib.get_logger("attest.http")

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass the request on and say what became of it."""
        method = str(scope.get("method"))
        method = method if method in METHODS else "other"
        route = str(scope.get("path_template") or "unknown")
        began = time.monotonic()
        with self._telemetry.request(method, route) as answered:
            status = 0

            async def noting_send(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                    answered(status)
                await send(message)

            try:
                await next_app(scope, receive, noting_send)
            finally:
                level = logging.DEBUG if route.startswith(QUIET_ROUTES) and status < 400 else logging.INFO  # noqa: PLR2004 - HTTP's own border
                self._log.log(
                    level,
                    "request",
                    method=method,
                    route=route,
                    status=status,
                    ms=round((time.monotonic() - began) * 1000, 1),
                    trace_id=self._telemetry.trace_id(),
                )
