"""JSON logs of the inference tier: one object a line, only named fields, never content."""

import json
import logging
import sys
from datetime import UTC, datetime

FIELDS = (
    "request_id",
    "trace_id",
    "model",
    "status",
    "code",
    "finish_reason",
    "prompt_tokens",
    "completion_tokens",
    "left_out",
    "queued_ms",
    "first_ms",
    "duration_ms",
    "streamed",
    "error_type",
    "where",
    "host",
    "port",
    "revision",
    "device",
    "dtype",
)
"""The only extras that a line may carry."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line; of an exception only its type and place, since its message could quote content."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "@timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "log.level": record.levelname.lower(),
            "log.logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info and record.exc_info[0] is not None:
            line["error_type"] = record.exc_info[0].__name__
            line["where"] = _place(record)
        return json.dumps(line, ensure_ascii=False)


def _place(record: logging.LogRecord) -> str:
    trace = record.exc_info[2] if record.exc_info else None
    place = ""
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def configure(level: str) -> None:
    """Send every log line of this process to stderr as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
