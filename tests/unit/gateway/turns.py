"""A turn with small parts of our own, which write down what happened in its order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import contextmanager

from audit.ports import AuditUnavailableError
from audit.record import Entry, Kind, Receipt
from gateway.auth.principal import Principal, Role
from gateway.bulk import Bulk
from gateway.ending.watch import Watched
from gateway.judging import Judging
from gateway.limits.admission import Admission
from gateway.mirroring import Mirroring
from gateway.model_activation import Use
from gateway.models import Route
from gateway.problems import (
    AccessEndedError,
    PolicyUnavailableError,
)
from gateway.settings import load
from gateway.telemetry import Telemetry
from gateway.turn import TurnService
from gateway.turn_events import Surface, TurnRequest
from gateway.usage.allowance import Allowances
from gateway.usage.budget import Budgets
from gateway.usage.counters import SqlCounters
from gateway.usage.recorder import UsageRecorder
from inference.ports import Delta, FinishReason, InferenceError, Message
from inference.ports import Role as Speaker
from safety.verdict import Action, Band, Category, Decision, Examination, Finding, Redaction, StageStatus, Verdict


class Trace:
    """One list of what happened, in order."""

    def __init__(self):
        self.events: list[str] = []
        self.entries: list[Entry] = []


class WordSafety:
    """Blocks texts with `bad`, redacts `secret`, fails on `crash`."""

    policy_hash = "policy"
    classifier_hash = "classifier"

    async def examine(self, text, context):
        status = StageStatus.ERROR if "crash" in text else StageStatus.RAN
        examination = Examination(guard="words", version="1", status=status, characters=len(text))
        verdicts, redactions, action = [], [], Action.BLOCK if status is StageStatus.ERROR else Action.ALLOW
        for word, wanted in (("secret", Action.REDACT), ("bad", Action.BLOCK)):
            at = text.find(word)
            if at >= context.overlap:
                finding = Finding(guard="words", rule=f"words.{word}", category=Category.SECRET, start=at,
                                  end=at + len(word), score=1.0)  # fmt: skip
                verdicts.append(Verdict(finding=finding, band=Band.BLOCK, threshold=0.5, action=wanted))
                action = wanted
                if wanted is Action.REDACT:
                    redactions.append(Redaction(at, at + len(word), "[SECRET]"))
        return Decision(action=action, verdicts=tuple(verdicts), examinations=(examination,), policy_hash="policy",
                        normaliser_version="1", redactions=tuple(redactions))  # fmt: skip


class FixedPolicy:
    """One policy, until a test changes it."""

    def __init__(self, safety, forbidden=lambda _: ()):
        self.now, self.trouble = Judging(safety, forbidden), False

    def check(self):
        if self.trouble:
            raise PolicyUnavailableError(retry_after=5)


class ScriptedModel:
    def __init__(self, trace: Trace, *deltas: str | Delta, fails: bool = False, hangs: bool = False):
        self.trace, self.deltas, self.fails, self.hangs = trace, deltas, fails, hangs
        self.asked = []
        self.closed = False

    async def stream(self, request, _headers=None) -> AsyncIterator[Delta]:
        self.asked.append(request)
        self.trace.events.append("infer")
        try:
            for text in self.deltas:
                yield text if isinstance(text, Delta) else Delta(text=text)
                await asyncio.sleep(0)
            if self.fails:
                raise InferenceError("gone")
            if self.hangs:
                await asyncio.sleep(3600)
            yield Delta(finish_reason=FinishReason.STOP)
        finally:
            self.closed = True

    async def models(self):
        return ()


class FixedRoutes:
    """Sends every turn to one version."""

    def __init__(self, mirror: Use | None = None):
        self.chosen, self.was_misled = Route(Use("m", "r1"), mirror=mirror), False

    async def route(self, _model, _principal, _turn_id):
        return self.chosen

    def misled(self):
        self.was_misled = True


class ListLog:
    def __init__(self, trace: Trace, fails_at: Kind | None = None, slow_s: float = 0):
        self.trace, self.fails_at, self.slow_s = trace, fails_at, slow_s

    async def append(self, *entries: Entry):
        await asyncio.sleep(self.slow_s)
        if any(entry.kind is self.fails_at for entry in entries):
            raise AuditUnavailableError("gone")
        for entry in entries:
            self.trace.entries.append(entry)
            self.trace.events.append(entry.kind.value)
        return tuple(Receipt("id", "hash") for _ in entries)


class Unwritten(UsageRecorder):
    async def write(self):
        self._gathered.clear()


class Watch:
    """Hands out one `Watched`, so that a test can end it."""

    def __init__(self, ended_at_once: bool = False):
        self.watched: Watched | None = None
        self.ended_at_once = ended_at_once

    @contextmanager
    def over(self, principal):
        if self.ended_at_once:
            raise AccessEndedError
        self.watched = Watched(principal)
        yield self.watched


def service(trace: Trace, model: ScriptedModel, log: ListLog | None = None, watch=None, **settings) -> TurnService:
    settings = load(**settings)
    return TurnService(
        policy=FixedPolicy(WordSafety()), model=model, audit=log or ListLog(trace),
        admission=Admission.from_settings(settings),
        allowances=Allowances(Budgets.load(None), SqlCounters(None), Unwritten(None)),  # type: ignore[arg-type]
        watch=watch or Watch(),  # type: ignore[arg-type]
        telemetry=Telemetry({}), settings=settings, routes=FixedRoutes(),
        mirroring=Mirroring(model, Telemetry({}), settings.answer_limit_chars), bulk=Bulk(2, 10),
    )  # fmt: skip


def request(*texts: str) -> TurnRequest:
    roles = (Speaker.USER, Speaker.ASSISTANT)
    return TurnRequest(
        principal=Principal(subject="s1", name="Alice", groups=("staff",), roles=frozenset({Role.STAFF})),
        surface=Surface.API, streamed=True, model="m",
        messages=tuple(Message(role=roles[at % 2], content=text) for at, text in enumerate(texts)),
    )  # fmt: skip


async def all_ended(turns: TurnService) -> None:
    for _ in range(3):  # a turn, then the closing record that it left to a task of its own
        await asyncio.gather(*turns.running, *turns.closings, return_exceptions=True)
        await asyncio.sleep(0)


async def run(turns: TurnService, *texts: str, trace: Trace | None = None):
    events = []
    async for event in turns.run(request(*texts)):
        if trace is not None:
            trace.events.append(type(event).__name__)
        events.append(event)
    return events
