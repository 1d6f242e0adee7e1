"""The mirror: another version answers a turn a second time. Its answer is examined, recorded, shown to nobody."""

import asyncio
from contextlib import aclosing
from typing import Protocol

from gateway.answer import Answer
from gateway.lexicon import Lexicon
from gateway.model_activation import Use
from gateway.problems import AttestError
from gateway.telemetry import Telemetry
from inference.errors import ContextOverflowError
from inference.ports import ChatModel, ChatRequest, InferenceError
from safety.ports import SafetyLayer

AT_ONCE = 4
"""Mirrored answers under way at the same time; a turn beyond that is not mirrored, and counted."""
LONGEST_S = 900.0


class MirrorLog(Protocol):
    """Where a mirrored answer is recorded: the turn's own log."""

    async def mirrored(self, answer: Answer, mirror: Use, reason: str) -> None:
        """Record it. Raises `AttestError`."""


class Mirroring:
    """Runs mirrored answers beside the turns. Nothing that happens here reaches a turn."""

    def __init__(self, model: ChatModel, telemetry: Telemetry, limit_chars: int) -> None:
        self._model = model
        self._telemetry = telemetry
        self._limit_chars = limit_chars
        self._running: set[asyncio.Task[None]] = set()

    def begin(
        self, request: ChatRequest, mirror: Use, groups: tuple[str, ...], log: MirrorLog, safety: SafetyLayer
    ) -> None:
        """Let the mirror answer `request`; `safety` (the turn's own) examines it, its record goes to `log`."""
        if len(self._running) >= AT_ONCE:
            self._telemetry.mirrored("left_out")
            return
        answer = Answer(safety=safety, groups=groups, limit_chars=self._limit_chars, lexicon=Lexicon(request.forbidden))
        task = asyncio.create_task(self._answer(request, mirror, answer, log))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """End what runs; each gets its record."""
        for task in tuple(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(tuple(self._running), timeout=10)

    async def _answer(self, request: ChatRequest, mirror: Use, answer: Answer, log: MirrorLog) -> None:
        reason = ""
        try:
            async with asyncio.timeout(LONGEST_S):
                await self._examined(request, mirror, answer)
        except ContextOverflowError:
            reason = "context_too_long"
        except (InferenceError, TimeoutError):
            reason = "model_failed"
        except asyncio.CancelledError:
            reason = "stopped"
        except Exception as error:  # noqa: BLE001 - the turn must not notice
            self._telemetry.fault("mirror", error)
            reason = "internal"
        try:
            await log.mirrored(answer, mirror, reason)
        except AttestError as error:
            self._telemetry.fault("mirror", error)
            reason = "audit_unavailable"
        self._telemetry.mirrored(reason or "recorded")

    async def _examined(self, request: ChatRequest, mirror: Use, answer: Answer) -> None:
        async with aclosing(self._model.stream(request)) as stream:  # type: ignore[type-var]
            async for delta in stream:
                if mirror.revision and delta.revision not in ("", mirror.revision):
                    raise InferenceError("other weights answered than those on record")
                await answer.take([delta])
                if answer.blocking is not None or answer.full:
                    return
        await answer.finish()
