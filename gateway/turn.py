"""The governed turn. `TurnService.run` is the only way from a person to the model and back, on every surface.

The stages stand in `_Conductor.conduct` in the order in which they happen. What a person sees is durable before it is
shown; a stage that fails stops the turn; whatever ends a turn, it gets a closing record. Longer than other files on
purpose: a turn is read from its beginning to each of its ends without turning a page.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from audit.ports import AuditLog, AuditUnavailableError
from audit.record import Kind
from gateway.answer import Answer, Release
from gateway.bulk import Bulk
from gateway.delta_reader import DeltaReader
from gateway.dialogue import ExaminedDialogue, examine_dialogue
from gateway.ending.watch import AccessWatch, Watched
from gateway.identifiers import uuid7
from gateway.judging import InForce
from gateway.lexicon import Lexicon
from gateway.limits.admission import Admission
from gateway.mirroring import Mirroring
from gateway.model_activation import Use
from gateway.models import Route, Routes
from gateway.problems import AccessEndedError, AttestError, AuditUnavailableProblemError, ForbiddenError
from gateway.settings import Settings
from gateway.spans import TurnSpan
from gateway.telemetry import Telemetry
from gateway.turn_events import Outcome, TextReleased, TurnEnded, TurnEvent, TurnRequest, TurnStarted
from gateway.turn_log import TurnLog
from gateway.turn_records import blocking, reason_of
from gateway.unread import Unread
from gateway.usage.allowance import Allowance, Allowances
from gateway.usage.tokens import most_tokens
from inference.errors import ContextOverflowError
from inference.ports import ChatModel, ChatRequest, Delta, InferenceError
from safety.verdict import Decision

ENDING_S = 10.0
"""How long a gateway that ends waits for the closing records of its turns."""
TICK_S = 0.25
"""How often a silent model is looked after: overdue half sentences are examined and released."""

Emit = Callable[[TurnEvent], Awaitable[None]]


@dataclass(frozen=True)
class TurnService:
    """Runs governed turns with the parts that the composition root gives it."""

    policy: InForce
    model: ChatModel
    audit: AuditLog
    admission: Admission
    watch: AccessWatch
    allowances: Allowances
    telemetry: Telemetry
    settings: Settings
    routes: Routes
    """Chooses the version of the model that answers; its being in use is on record by then."""
    mirroring: Mirroring
    bulk: Bulk
    """Examines earlier messages; shared by all turns, so that the newest messages go before them."""
    running: set[asyncio.Task[None]] = field(default_factory=set)
    closings: set[asyncio.Task[None]] = field(default_factory=set)
    """Closing records that turns left to tasks of their own."""

    async def run(self, request: TurnRequest) -> AsyncGenerator[TurnEvent, None]:
        """Run one turn and yield what may be shown, as it may be shown.

        Raises an `AttestError` only before the first event; after it every end is a `TurnEnded`. Closing the generator
        (the client is gone) aborts the turn; its closing record is written all the same.
        """
        unread = Unread()
        # The turn has a task of its own: a reader that stalls or vanishes can neither hold a place nor lose a record.
        task = asyncio.create_task(self._conduct(request, unread))
        self.running.add(task)
        task.add_done_callback(self.running.discard)
        try:
            while (event := await unread.get()) is not None:
                yield event
        finally:
            task.cancel()

    async def close(self) -> None:
        """End all running turns; each gets its closing record, and its usage is written."""
        for task in tuple(self.running):
            task.cancel()
        until = time.monotonic() + ENDING_S
        # A turn that ends may leave its closing record to a task of its own, which is not cancelled.
        while (ending := (*self.running, *self.closings)) and (left := until - time.monotonic()) > 0:
            await asyncio.wait(ending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        await self.mirroring.close()
        await self.allowances.aclose()

    async def _conduct(self, request: TurnRequest, unread: Unread) -> None:
        last: AttestError | None = None
        try:
            with self.telemetry.turn(request) as span:
                await unread.put(await _Conductor(self, request, unread.put, span).conduct())
        except AttestError as error:
            last = error
        except TimeoutError:
            return
        finally:
            unread.end(last)


class _OtherRevisionError(InferenceError):
    """Other weights answer than those that the record names."""


class _Conductor:
    """One turn from its first stage to its closing record."""

    def __init__(self, service: TurnService, request: TurnRequest, emit: Emit, span: TurnSpan) -> None:
        self._service = service
        self._request = request
        self._emit = emit
        self._span = span
        self._turn_id = uuid7()
        self._allowance: Allowance | None = None
        self._max_tokens = request.max_tokens
        self._asked = False
        self._left_out = 0
        # One policy from the first stage to the last, whatever comes into force meanwhile; the records name it.
        self._judging = service.policy.now
        safety = self._judging.safety
        self._log = TurnLog(service.audit, safety, service.telemetry, request, self._turn_id)
        self._answer = Answer(
            safety=safety, groups=request.principal.groups, limit_chars=service.settings.answer_limit_chars
        )

    async def conduct(self) -> TurnEnded:
        """Run the stages, top to bottom; the closing record is durable when this returns."""
        log = self._log
        try:
            with self._service.watch.over(self._request.principal) as watched:
                return await self._stages(watched)
        except AttestError as error:
            return await self._stopped(error)
        except ContextOverflowError:
            return await self._aborted("context_too_long")
        except _OtherRevisionError:
            return await self._aborted("model_changed")
        except InferenceError:
            return await self._aborted("model_failed")
        except (asyncio.CancelledError, TimeoutError):
            if log.open:
                self._abandoned("client_gone")
            raise
        except Exception as error:
            self._service.telemetry.fault("turn", error)
            if log.accepted_durably:
                return self._abandoned("internal")
            raise AttestError(turn_id=self._turn_id) from error

    async def _stages(self, watched: Watched) -> TurnEnded:
        log, answer, request = self._log, self._answer, self._request
        if not request.principal.may_ask(request.model):
            raise ForbiddenError("Your key may not ask this model.")
        self._service.policy.check()
        async with self._service.admission.admit(request.principal), self._allowed():
            dialogue = await self._examine_input()
            self._left_out = dialogue.left_out
            answer.restorer = dialogue.pseudonyms.restorer()
            answer.lexicon = Lexicon(self._judging.forbidden(request.principal.groups))
            route = await self._route()
            await log.accepted(request, dialogue, route)
            if dialogue.deciding.blocked:
                return await self._blocked("input", dialogue.deciding)
            await self._emit(TurnStarted(self._turn_id, message_redacted=bool(dialogue.decisions[-1].redactions)))
            if route.mirror is not None:
                mirrored = self._model_request(dialogue, route.mirror, route)
                self._service.mirroring.begin(mirrored, route.mirror, request.principal.groups, log, answer.safety)
            last = await self._infer_and_release(dialogue, route, watched)
            if answer.blocking is not None:
                return await self._blocked("output", answer.blocking, last)
            return await self._completed(last)

    async def _examine_input(self) -> ExaminedDialogue:
        with self._service.telemetry.stage("input"):
            return await examine_dialogue(self._judging.safety, self._request, self._service.bulk)

    async def _route(self) -> Route:
        request = self._request
        try:
            return await self._service.routes.route(request.model, request.principal, self._turn_id)
        except AuditUnavailableError as error:
            raise AuditUnavailableProblemError(retry_after=5) from error

    async def _infer_and_release(self, dialogue: ExaminedDialogue, route: Route, watched: Watched) -> Release | None:
        """Release the answer sentence by sentence; return the last stretch, which goes with the closing record."""
        answer, deadline = self._answer, time.monotonic() + self._service.settings.turn_timeout_s
        self._asked = True
        stream = self._service.model.stream(self._model_request(dialogue, route.use, route))
        async with DeltaReader(stream) as reader:
            while not answer.full and (deltas := await reader.batch(TICK_S)) is not None:
                watched.check()
                self._check_source(deltas, route)
                release = await (answer.take(deltas) if deltas else answer.tick())
                if answer.blocking is not None:
                    return release
                if release is not None:
                    await self._release(release)
                if time.monotonic() > deadline:
                    raise InferenceError("the turn took longer than its time limit")
        watched.check()
        return await answer.finish()

    async def _release(self, release: Release) -> None:
        await self._log.released(self._answer, release)
        await self._emit(TextReleased(release.text))

    @asynccontextmanager
    async def _allowed(self) -> AsyncIterator[None]:
        """Hold the turn's budget for the length of the block."""
        request = self._request
        characters = sum(len(message.content) for message in request.messages)
        dialogue_tokens = most_tokens(message.content for message in request.messages)

        def used() -> tuple[int, int]:
            usage = self._answer.usage
            if not self._asked or usage.prompt_tokens or usage.completion_tokens:
                return usage.prompt_tokens, usage.completion_tokens
            # Cut short before the model gave figures: half a token a character lies between Chinese and English.
            return characters // 2, len(self._answer.text) // 2

        allowances = self._service.allowances
        async with allowances.turn(request.principal, dialogue_tokens, request.max_tokens, used) as self._allowance:
            if self._allowance.tokens is not None:
                self._max_tokens = min(request.max_tokens, self._allowance.tokens - dialogue_tokens)
            yield

    def _check_source(self, deltas: list[Delta], route: Route) -> None:
        """Raise `_OtherRevisionError` when other weights answer than those that are on record.

        Raises `InferenceError` when forbidden words do not stop the answer although the tier said that they would.
        """
        lexicon = self._answer.lexicon
        if lexicon.words and route.stops_words and any(delta.lexicon != lexicon.digest for delta in deltas):
            raise InferenceError("the tier does not stop at the forbidden words")
        wanted = route.use.revision
        if wanted and any(delta.revision not in ("", wanted) for delta in deltas):
            self._service.routes.misled()
            raise _OtherRevisionError("other weights answered than those on record")

    def _model_request(self, dialogue: ExaminedDialogue, use: Use, route: Route) -> ChatRequest:
        request = self._request
        return ChatRequest(
            model=use.version,
            messages=dialogue.context,
            max_tokens=self._max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            stop=request.stop,
            seed=request.seed,
            forbidden=self._answer.lexicon.words if route.stops_words else (),
        )

    async def _completed(self, last: Release | None) -> TurnEnded:
        reason = self._answer.finish_reason
        finish_reason = reason.value if reason else "stop"
        return await self._closed(Kind.TURN_COMPLETED, last, Outcome.COMPLETED, finish_reason=finish_reason)

    async def _blocked(self, side: str, decision: Decision, last: Release | None = None) -> TurnEnded:
        categories, rules = blocking(decision)
        about = {"categories": categories, "rules": rules, "finish_reason": "content_filter"}
        return await self._closed(Kind.TURN_BLOCKED, last, Outcome.BLOCKED, reason_of(decision, side), **about)

    async def _closed(
        self, kind: Kind, last: Release | None, outcome: Outcome, reason: str = "", **about: object
    ) -> TurnEnded:
        """Make the closing record durable, then show the last stretch."""
        try:
            await self._log.closed(kind, self._answer, reason, release=last)
        except asyncio.CancelledError:
            if not self._log.open:  # the record stands: so the turn ended, though its reader did not wait for it
                self._ended(outcome, reason=reason, **about)
            raise
        ended = self._ended(outcome, reason=reason, **about)
        await self._show(last)
        return ended

    async def _stopped(self, error: AttestError) -> TurnEnded:
        if not self._log.accepted_durably:
            await self._refused(error)
            raise error
        if isinstance(error, AccessEndedError):
            return await self._aborted("access_ended")
        return self._abandoned("audit_unavailable")

    async def _aborted(self, reason: str) -> TurnEnded:
        try:
            await self._log.closed(Kind.TURN_ABORTED, self._answer, reason)
        except AuditUnavailableProblemError:
            return self._abandoned(reason)
        except asyncio.CancelledError:
            if self._log.open:
                self._abandoned(reason)
            else:
                self._ended(Outcome.ABORTED, reason=reason)
            raise
        return self._ended(Outcome.ABORTED, reason=reason)

    def _abandoned(self, reason: str) -> TurnEnded:
        """Leave the closing record to a task of its own: nobody waits for it, or the log is gone for now."""
        service = self._service
        task = asyncio.create_task(self._log.closed_without_reader(Kind.TURN_ABORTED, self._answer, reason))
        service.closings.add(task)
        task.add_done_callback(service.closings.discard)
        return self._ended(Outcome.ABORTED, reason=reason)

    async def _refused(self, error: AttestError) -> None:
        error.turn_id = self._turn_id
        self._service.telemetry.refused(error.code)
        with suppress(AuditUnavailableProblemError):  # the refusal stands all the same: nothing was shown
            await self._log.refused(error, self._request.messages[-1].content)

    async def _show(self, release: Release | None) -> None:
        if release is not None:
            await self._emit(TextReleased(release.text))

    def _ended(self, outcome: Outcome, **fields: object) -> TurnEnded:
        """Return the end as the reader is told it; counted here, whether or not there still is a reader."""
        ended = TurnEnded(
            turn_id=self._turn_id,
            outcome=outcome,
            redacted=self._answer.redacted,
            left_out=self._left_out,
            usage=self._answer.usage,
            budget=self._allowance.notice() if self._allowance else None,
            duration_ms=self._log.elapsed_ms,
            **fields,  # type: ignore[arg-type]
        )
        self._span.ended(ended)
        return ended
