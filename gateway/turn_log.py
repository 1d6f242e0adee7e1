"""The records of one turn, written as it goes: accepted, released stretch by stretch, closed; or refused."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from audit.ports import AuditLog, AuditOverloadedError, AuditUnavailableError
from audit.record import Content, Entry, FindingRecord, Kind, user_agent
from gateway.answer import Answer, Release
from gateway.dialogue import ExaminedDialogue
from gateway.model_activation import Use
from gateway.models import Route
from gateway.problems import AttestError, AuditUnavailableProblemError
from gateway.telemetry import Telemetry
from gateway.turn_events import TurnRequest
from gateway.turn_records import findings_of, stages_of, strictest
from safety.ports import SafetyLayer
from safety.verdict import Action, severity_of

CLOSING = frozenset({Kind.TURN_COMPLETED, Kind.TURN_BLOCKED, Kind.TURN_ABORTED, Kind.TURN_INTERRUPTED})
CLOSING_TRIES = 60
"""How often the closing record of a turn is tried, a second apart, while the log is gone. After that the turn stays
open until the next start closes it as interrupted."""


class TurnLog:
    """Writes the records of one turn. Every method that returns has made its record durable."""

    def __init__(
        self, audit: AuditLog, safety: SafetyLayer, telemetry: Telemetry, request: TurnRequest, turn_id: str
    ) -> None:
        self._audit = audit
        self._telemetry = telemetry
        self._began = time.monotonic()
        self._first_release_ms = 0
        self._input_action = Action.ALLOW
        self._durable: set[Kind] = set()
        principal = request.principal
        self._base = Entry(
            kind=Kind.TURN_ACCEPTED,
            at=datetime.now(UTC),
            subject=principal.subject,
            turn_id=turn_id,
            conversation_id=request.conversation_id,
            name=principal.name,
            groups=principal.groups,
            roles=tuple(sorted(role.value for role in principal.roles)),
            surface=request.surface.value + (".stream" if request.streamed else ""),
            source_ip=request.source_ip,
            user_agent=user_agent(request.user_agent),
            trace_id=telemetry.trace_id(),
            model=request.model,
            policy_hash=safety.policy_hash,
            classifier_hash=safety.classifier_hash,
        )
        self._parameters: dict[str, str | int | float | bool] = {
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stops": len(request.stop),
        }
        if request.seed is not None:
            self._parameters["seed"] = request.seed

    @property
    def accepted_durably(self) -> bool:
        """Whether `turn.accepted` stands in the log."""
        return Kind.TURN_ACCEPTED in self._durable

    @property
    def open(self) -> bool:
        """Whether the turn is accepted and has no closing record yet."""
        return self.accepted_durably and self._durable.isdisjoint(CLOSING)

    @property
    def elapsed_ms(self) -> int:
        """Milliseconds since the turn began."""
        return round((time.monotonic() - self._began) * 1000)

    async def accepted(self, request: TurnRequest, dialogue: ExaminedDialogue, route: Route) -> None:
        """Record what was asked, what the guards made of it and what the model will be sent."""
        self._input_action = strictest((dialogue.deciding, *dialogue.decisions[-1:]))
        last = len(dialogue.decisions) - 1
        findings = tuple(
            finding
            for at, decision in enumerate(dialogue.decisions)
            for finding in findings_of(decision, "message" if at == last else f"context.{last - at}")
        )
        blocked = dialogue.deciding.blocked
        accepted = self._entry(
            Kind.TURN_ACCEPTED,
            verdict=self._input_action.value,
            model_revision=route.use.revision,
            normaliser_version=dialogue.deciding.normaliser_version,
            stages=stages_of("input", dialogue.decisions),
            findings=findings,
            categories=_categories(findings),
            parameters=self._parameters,
            detail=_detail(request, dialogue, route),
            contents=(Content(name="message", role="user", text=request.messages[-1].content),),
            dialogue=()
            if blocked
            else tuple(
                Content(name="context", role=message.role.value, text=message.content) for message in dialogue.context
            ),
        )
        self._base = msgspec.structs.replace(
            self._base, model_revision=route.use.revision, normaliser_version=dialogue.deciding.normaliser_version
        )
        await self._append(accepted)

    async def released(self, answer: Answer, release: Release) -> None:
        """Record a stretch of the answer; only after that may it be shown. Taken back if its record does not stand."""
        await self._append(self._released(release), refused=lambda: self._take_back(answer, release))

    async def closed(self, kind: Kind, answer: Answer, reason: str = "", release: Release | None = None) -> None:
        """Record the end; a last stretch goes into the same transaction, and is taken back with it."""
        if release is None:
            await self._append(self._closing(kind, answer, reason))
        else:
            entries = self._released(release), self._closing(kind, answer, reason)
            await self._append(*entries, refused=lambda: self._take_back(answer, release))

    async def closed_without_reader(self, kind: Kind, answer: Answer, reason: str) -> None:
        """Record an end that nobody waits for; while the log is gone, try again for a minute."""
        entry = self._closing(kind, answer, reason)
        for _ in range(CLOSING_TRIES):
            try:
                await self._append(entry)
            except AuditUnavailableProblemError:
                await asyncio.sleep(1)
            else:
                return

    async def refused(self, error: AttestError, message: str) -> None:
        """Record that a turn was refused before it was accepted."""
        await self._append(
            self._entry(
                Kind.TURN_REFUSED,
                verdict="refused",
                reason=error.code.replace("-", "_"),
                detail={"retry_after_s": error.retry_after or 0, **error.about},
                duration_ms=self.elapsed_ms,
                contents=(Content(name="message", role="user", text=message),),
            )
        )

    async def mirrored(self, answer: Answer, mirror: Use, reason: str) -> None:
        """Record what another version made of the same dialogue; nobody is shown it."""
        entry = self._closing(Kind.TURN_MIRRORED, answer, reason)
        text = (Content(name="mirrored", role="assistant", text=answer.text),) if answer.text else ()
        await self._append(
            msgspec.structs.replace(
                entry,
                model_revision=mirror.revision,
                verdict=strictest(answer.decisions).value,
                length=0,
                first_release_ms=0,
                detail={"mirror": mirror.version},
                contents=text,
            )
        )

    def _released(self, release: Release) -> Entry:
        self._first_release_ms = self._first_release_ms or self.elapsed_ms
        return self._entry(
            Kind.TURN_RELEASED,
            verdict=strictest(release.decisions).value,
            stages=stages_of("output", release.decisions),
            findings=release.findings,
            offset=release.offset,
            length=len(release.text),
            contents=(Content(name="delivered", role="assistant", text=release.text),),
        )

    def _take_back(self, answer: Answer, release: Release) -> None:
        answer.take_back(release)
        if not release.offset:
            self._first_release_ms = 0

    def _closing(self, kind: Kind, answer: Answer, reason: str) -> Entry:
        texts = (("generated", answer.text), ("withheld", answer.withheld))
        verdict = max((self._input_action, strictest(answer.decisions)), key=severity_of)
        return self._entry(
            kind,
            verdict=verdict.value,
            reason=reason,
            stages=stages_of("output", answer.decisions)
            + answer.lexicon.stage(stopping=answer.stopping, characters=answer.characters),
            findings=tuple(answer.findings),
            categories=_categories(tuple(answer.findings)),
            length=answer.delivered,
            finish_reason=answer.finish_reason.value if answer.finish_reason else "",
            prompt_tokens=answer.usage.prompt_tokens,
            completion_tokens=answer.usage.completion_tokens,
            duration_ms=self.elapsed_ms,
            first_release_ms=self._first_release_ms,
            detail=_closing_detail(answer),
            contents=tuple(Content(name=name, role="assistant", text=text) for name, text in texts if text),
        )

    def _entry(self, kind: Kind, **fields: object) -> Entry:
        return msgspec.structs.replace(self._base, kind=kind, at=datetime.now(UTC), **fields)

    async def _append(self, *entries: Entry, refused: Callable[[], None] = lambda: None) -> None:
        """Make entries durable; `refused` is called when they surely are not. Raises `AuditUnavailableProblemError`."""
        appending = asyncio.ensure_future(self._audit.append(*entries))
        try:
            with self._telemetry.audit_commit():
                await asyncio.shield(appending)
        except AuditOverloadedError as error:
            raise AuditUnavailableProblemError(retry_after=1) from error
        except AuditUnavailableError as error:
            raise AuditUnavailableProblemError(retry_after=5) from error
        except asyncio.CancelledError:
            # Cancelled while the commit is under way: whether it stands decides what must follow, so wait for it,
            # however often it is said (the client goes, and the gateway ends).
            while not appending.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([appending])
            raise
        finally:
            if appending.done():
                if appending.cancelled() or appending.exception() is not None:
                    refused()
                else:
                    self._durable.update(entry.kind for entry in entries)


def _detail(request: TurnRequest, dialogue: ExaminedDialogue, route: Route) -> dict[str, str | int | float | bool]:
    detail: dict[str, str | int | float | bool] = {"messages": len(request.messages), "left_out": dialogue.left_out}
    detail |= {"canary": route.use.version} if route.canary else {}
    return detail | ({"pseudonyms": len(dialogue.pseudonyms)} if dialogue.pseudonyms else {})


def _closing_detail(answer: Answer) -> dict[str, str | int | float | bool]:
    detail: dict[str, str | int | float | bool] = {}
    detail |= {"restored": answer.restorer.restored} if answer.restorer.restored else {}
    return detail | ({"stopped_by": answer.stopped_by} if answer.stopped_by else {})


def _categories(findings: tuple[FindingRecord, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(finding.category for finding in findings))
