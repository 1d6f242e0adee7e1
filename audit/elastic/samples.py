"""Documents that say how delivery goes: for dashboards, not evidence. No text and no name of a person. Pure."""

import socket
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from audit.elastic.families import DELIVERY
from audit.elastic.fields import timestamp
from audit.elastic.projection import ECS_VERSION
from audit.outbox import OutboxState
from audit.sinks.ports import Document


def sample_document(at: datetime, state: OutboxState, counts: Mapping[str, int]) -> Document:
    """Return a sample of the outbox; `counts`: what was delivered, retried and refused since the last one."""
    delivery = {
        "pending": state.pending,
        "dead_letters": state.dead_letters,
        "lag_seconds": round(state.lag_seconds, 3),
        **counts,
    }
    return _document(at, "metric", "delivery.sample", {"delivery": delivery})


def dead_letter_document(at: datetime, entry_id: str, leaf_index: int, reason: str) -> Document:
    """Return the note that a record was refused."""
    return _document(
        at, "alert", "delivery.dead_letter", {"dead_letter": {"id": entry_id, "sequence": leaf_index, "reason": reason}}
    )


def _document(at: datetime, kind: str, action: str, fields: dict[str, Any]) -> Document:
    source = {
        "@timestamp": timestamp(at),
        "ecs": {"version": ECS_VERSION},
        "event": {
            "kind": kind,
            "category": ["process"],
            "type": ["info"],
            "action": action,
            "dataset": "attest.delivery",
            "module": "attest",
        },
        "service": {"name": "attest", "node": {"name": socket.gethostname()}},
        "attest": fields,
    }
    return Document(DELIVERY.index(at), "", source)
