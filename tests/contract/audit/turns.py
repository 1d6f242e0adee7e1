"""Entries as the gateway appends them."""

from datetime import UTC, datetime

from audit.record import Content, Entry, FindingRecord, Kind, StageRecord

STAGES = tuple(
    StageRecord(stage=f"input.{name}", status="ran", characters=12, milliseconds=0.25, version="ab" * 32)
    for name in ("personal_data", "secrets", "prompt_attack", "company", "classifier")
)
FINDING = FindingRecord(
    guard="classifier", rule="hate", category="hate", start=0, end=12, score=0.0312, threshold=0.5, band="allow",
    action="allow", where="message",
)  # fmt: skip


def entry(kind: Kind, turn_id: str = "t1", subject: str = "alice", **fields) -> Entry:
    return Entry(**{"kind": kind, "at": datetime.now(UTC), "subject": subject, "turn_id": turn_id, **fields})


def accepted(turn_id: str = "t1", message: str = "Hello?", history: tuple[str, ...] = (), **fields) -> Entry:
    return entry(
        Kind.TURN_ACCEPTED,
        turn_id,
        **{
            "verdict": "allow",
            "name": "Alice",
            "groups": ("staff",),
            "conversation_id": "c1",
            "surface": "page.stream",
            "model": "demo",
            "stages": STAGES,
            "findings": (FINDING,),
            "parameters": {"temperature": 0.7, "seed": 2**62},
            "contents": (Content("message", "user", message),),
            "dialogue": tuple(
                Content("context", "assistant" if at % 2 else "user", text)
                for at, text in enumerate((*history, message))
            ),
            **fields,
        },
    )


def released(text: str, offset: int, turn_id: str = "t1", **fields) -> Entry:
    contents = (Content("delivered", "assistant", text),)
    return entry(Kind.TURN_RELEASED, turn_id, offset=offset, length=len(text), contents=contents, **fields)


def completed(generated: str, turn_id: str = "t1", withheld: str = "", **fields) -> Entry:
    texts = (("generated", generated), ("withheld", withheld))
    contents = tuple(Content(name, "assistant", text) for name, text in texts if text)
    return entry(Kind.TURN_COMPLETED, turn_id, **{"verdict": "allow", "contents": contents, **fields})
