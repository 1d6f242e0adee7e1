"""Values that the telemetry tests share."""

import asyncio
from collections.abc import AsyncIterator

from gateway.auth.principal import Principal, Role
from gateway.turn_events import Surface, TurnRequest
from inference.ports import ChatRequest, Delta, Message, ModelInfo
from inference.ports import Role as Speaker
from safety.ports import TurnContext
from safety.verdict import (
    Action,
    Band,
    Category,
    Decision,
    Examination,
    Finding,
    StageStatus,
    Verdict,
)

MARKER = "marker-of-content-7f3a"


def turn_request(**changes: object) -> TurnRequest:
    fields: dict[str, object] = {
        "principal": Principal("alice", "Alice", ("staff",), frozenset({Role.STAFF})),
        "surface": Surface.API,
        "streamed": True,
        "messages": (Message(Speaker.USER, MARKER),),
        "model": "chatglm3",
        "conversation_id": "c-1",
    }
    return TurnRequest(**{**fields, **changes})  # type: ignore[arg-type]


def decision() -> Decision:
    finding = Finding("classifier", "classifier.violence", Category.VIOLENCE, 0, 5, 0.97)
    return Decision(
        action=Action.BLOCK,
        verdicts=(Verdict(finding, Band.BLOCK, 0.9, Action.BLOCK),),
        examinations=(
            Examination("filters", "v1", StageStatus.RAN, 20, (), 0.4),
            Examination("classifier", "v2", StageStatus.TIMED_OUT, 0, (), 5000.0, "TimeoutError"),
        ),
        policy_hash="policy-hash",
        normaliser_version="1",
    )


class ScriptedModel:
    """Answers from a list; notes the headers it was sent."""

    def __init__(self, *deltas: Delta, error: Exception | None = None) -> None:
        self.deltas = deltas
        self.error = error
        self.headers: dict[str, str] | None = None
        self.closed = False

    async def stream(self, request: ChatRequest, headers: dict[str, str] | None = None) -> AsyncIterator[Delta]:
        assert request.model
        self.headers = headers
        try:
            for delta in self.deltas:
                await asyncio.sleep(0)
                yield delta
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True

    async def models(self) -> tuple[ModelInfo, ...]:
        return (ModelInfo("chatglm3"),)


class ScriptedSafety:
    policy_hash = "policy-hash"
    classifier_hash = "classifier-hash"

    async def examine(self, text: str, context: TurnContext) -> Decision:
        assert text
        assert context.direction
        return decision()
