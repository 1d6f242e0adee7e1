"""The order of a turn, with small parts of our own: nothing is shown before its record, whatever ends it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, contextmanager
from dataclasses import replace

import pytest

from audit.ports import AuditUnavailableError
from audit.record import Entry, Kind, Receipt
from gateway.auth.principal import Principal, Role
from gateway.ending.watch import Watched
from gateway.judging import Judging
from gateway.limits.admission import Admission
from gateway.mirroring import AT_ONCE, Mirroring
from gateway.model_activation import Use
from gateway.models import Route
from gateway.problems import (
    AccessEndedError,
    AuditUnavailableProblemError,
    PolicyUnavailableError,
    RateLimitedError,
)
from gateway.settings import load
from gateway.telemetry import Telemetry
from gateway.turn import TurnService
from gateway.turn_events import Outcome, Surface, TextReleased, TurnEnded, TurnRequest, TurnStarted
from gateway.usage.allowance import Allowances
from gateway.usage.budget import Budgets
from gateway.usage.counters import SqlCounters
from gateway.usage.recorder import UsageRecorder
from inference.forbidden import digest
from inference.ports import Delta, FinishReason, ForbiddenWords, InferenceError, Message
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
        mirroring=Mirroring(model, Telemetry({}), settings.answer_limit_chars),
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
        await asyncio.gather(*turns.running, return_exceptions=True)
        await asyncio.sleep(0)


async def run(turns: TurnService, *texts: str, trace: Trace | None = None):
    events = []
    async for event in turns.run(request(*texts)):
        if trace is not None:
            trace.events.append(type(event).__name__)
        events.append(event)
    return events


async def test_each_release_is_durable_before_it_is_shown():
    trace = Trace()
    events = await run(service(trace, ScriptedModel(trace, "One. ", "Two. ", "Three")), "hello", trace=trace)
    assert trace.events[:3] == ["turn.accepted", "TurnStarted", "infer"] or trace.events[:3] == [
        "turn.accepted", "infer", "TurnStarted"]  # fmt: skip
    shown = 0
    for event in trace.events:
        shown += {"turn.released": 1, "TextReleased": -1}.get(event, 0)
        assert shown >= 0
    assert "".join(event.text for event in events if isinstance(event, TextReleased)) == "One. Two. Three"
    assert isinstance(events[-1], TurnEnded)
    assert trace.entries[-1].kind is Kind.TURN_COMPLETED
    assert {c.name: c.text for c in trace.entries[-1].contents} == {"generated": "One. Two. Three"}


async def test_blocked_input_never_reaches_the_model():
    trace = Trace()
    model = ScriptedModel(trace, "x")
    [ended] = await run(service(trace, model), "something bad")
    assert (ended.outcome, ended.reason, ended.rules) == (Outcome.BLOCKED, "input_blocked", ("words.bad",))
    assert model.asked == []
    assert trace.events == ["turn.accepted", "turn.blocked"]


async def test_redacted_input_is_what_the_model_is_sent():
    trace = Trace()
    model = ScriptedModel(trace, "Ok.")
    started, *_ = await run(service(trace, model), "my secret here")
    assert started == TurnStarted(turn_id=started.turn_id, message_redacted=True)
    assert [message.content for message in model.asked[0].messages] == ["my [SECRET] here"]
    assert trace.entries[0].contents[0].text == "my secret here"
    assert trace.entries[0].dialogue[0].text == "my [SECRET] here"


async def test_blocked_output_stops_the_model_and_withholds_the_rest():
    trace = Trace()
    model = ScriptedModel(trace, "Fine. ", "This is bad. ", "More. ", hangs=True)
    events = await run(service(trace, model), "hello")
    assert "".join(event.text for event in events if isinstance(event, TextReleased)) == "Fine. "
    assert events[-1].reason == "output_blocked"
    assert model.closed
    closing = {content.name: content.text for content in trace.entries[-1].contents}
    assert closing["withheld"].startswith("This is bad.")
    assert closing["generated"] == "Fine. " + closing["withheld"]


async def test_a_guard_that_fails_blocks_and_says_so():
    trace = Trace()
    [ended] = await run(service(trace, ScriptedModel(trace, "x")), "crash")
    assert ended.reason == "guard_failed"
    assert trace.entries[0].stages[0].status == "error"


async def test_an_earlier_blocked_message_stays_behind_with_its_answer():
    trace = Trace()
    model = ScriptedModel(trace, "Hi.")
    events = await run(service(trace, model), "this is bad", "I cannot", "hello")
    assert events[-1].outcome is Outcome.COMPLETED
    assert [message.content for message in model.asked[0].messages] == ["hello"]
    assert trace.entries[0].detail["left_out"] == 2


async def test_no_record_no_inference():
    trace = Trace()
    model = ScriptedModel(trace, "x")
    with pytest.raises(AuditUnavailableProblemError):
        await run(service(trace, model, ListLog(trace, fails_at=Kind.TURN_ACCEPTED)), "hello")
    assert model.asked == []


async def test_no_record_no_release():
    trace = Trace()
    log = ListLog(trace, fails_at=Kind.TURN_RELEASED)
    turns = service(trace, ScriptedModel(trace, "One. ", "Two. ", "Three"), log)
    events = await run(turns, "hello")
    assert not any(isinstance(event, TextReleased) for event in events)
    assert (events[-1].outcome, events[-1].reason) == (Outcome.ABORTED, "audit_unavailable")
    await turns.close()


async def test_a_model_that_fails_is_an_aborted_turn():
    trace = Trace()
    events = await run(service(trace, ScriptedModel(trace, "One. ", "Tw", fails=True)), "hello")
    assert (events[-1].outcome, events[-1].reason) == (Outcome.ABORTED, "model_failed")
    assert trace.entries[-1].kind is Kind.TURN_ABORTED
    assert "".join(event.text for event in events if isinstance(event, TextReleased)) == "One. "


@pytest.mark.parametrize("slow_s", [0, 0.01])
async def test_a_client_that_goes_away_leaves_a_closing_record(slow_s: float):
    trace = Trace()
    model = ScriptedModel(trace, "One. ", "Two. ", hangs=True)
    turns = service(trace, model, ListLog(trace, slow_s=slow_s))
    async with aclosing(turns.run(request("hello"))) as events:
        async for event in events:
            if isinstance(event, TextReleased):
                break
    await all_ended(turns)
    assert trace.entries[-1].kind is Kind.TURN_ABORTED
    assert trace.entries[-1].reason == "client_gone"
    assert [entry.kind for entry in trace.entries].count(Kind.TURN_ABORTED) == 1
    assert model.closed


@pytest.mark.parametrize("after_s", [0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05])
async def test_cancelled_at_any_moment_an_accepted_turn_is_closed_exactly_once(after_s: float):
    trace = Trace()
    turns = service(trace, ScriptedModel(trace, "One. ", "Two. ", "Three"), ListLog(trace, slow_s=0.01))
    reading = asyncio.create_task(run(turns, "hello"))
    await asyncio.sleep(after_s)
    reading.cancel()
    await asyncio.wait([reading])
    await all_ended(turns)
    kinds = [entry.kind for entry in trace.entries]
    closings = [kind for kind in kinds if kind in {Kind.TURN_COMPLETED, Kind.TURN_ABORTED}]
    assert len(closings) == kinds.count(Kind.TURN_ACCEPTED)


async def test_over_the_limit_is_refused_and_recorded():
    trace = Trace()
    turns = service(trace, ScriptedModel(trace, "Ok."), rate_per_minute=1, rate_burst=1)
    await run(turns, "hello")
    with pytest.raises(RateLimitedError) as refusal:
        await run(turns, "hello")
    assert refusal.value.retry_after
    assert trace.entries[-1].kind is Kind.TURN_REFUSED
    assert trace.entries[-1].reason == "rate_limited"


async def test_access_that_ends_cuts_a_silent_stream_and_is_recorded():
    trace, watch = Trace(), Watch()
    turns = service(trace, ScriptedModel(trace, "One sentence. ", "And another", hangs=True), watch=watch)
    events = []
    async with asyncio.timeout(5):
        async for event in turns.run(request("hello")):
            events.append(event)
            if isinstance(event, TextReleased):
                watch.watched.ended = True
    assert isinstance(events[-1], TurnEnded)
    assert (events[-1].outcome, events[-1].reason) == (Outcome.ABORTED, "access_ended")
    assert "another" not in "".join(event.text for event in events if isinstance(event, TextReleased))
    assert trace.entries[-1].kind is Kind.TURN_ABORTED
    assert trace.entries[-1].reason == "access_ended"


async def test_whoever_has_no_access_any_more_starts_no_turn():
    trace = Trace()
    with pytest.raises(AccessEndedError):
        await run(service(trace, ScriptedModel(trace, "text"), watch=Watch(ended_at_once=True)), "hello")
    assert [entry.kind for entry in trace.entries] == [Kind.TURN_REFUSED]
    assert trace.entries[0].reason == "access_ended"


async def mirrored(turns: TurnService, *texts: str):
    turns.routes.chosen = Route(Use("m@a", "r1"), mirror=Use("m@b", "r2"))
    events = await run(turns, *texts)
    await asyncio.gather(*turns.mirroring._running)
    return events


async def test_a_mirrored_answer_is_examined_recorded_and_never_shown():
    trace = Trace()
    model = ScriptedModel(trace, "One. ", "Then a bad thing. ", "Three")
    turns = service(trace, ScriptedModel(trace, "Fine."))
    turns.mirroring._model = model
    events = await mirrored(turns, "hello")
    assert "".join(event.text for event in events if isinstance(event, TextReleased)) == "Fine."
    assert events[-1].outcome is Outcome.COMPLETED
    [record] = [entry for entry in trace.entries if entry.kind is Kind.TURN_MIRRORED]
    assert (record.model_revision, record.verdict, record.turn_id) == ("r2", "block", events[-1].turn_id)
    assert record.detail == {"mirror": "m@b"}
    assert [(one.name, one.text) for one in record.contents] == [("mirrored", "One. Then a bad thing. Three")]
    assert record.findings[0].rule == "words.bad"
    assert [asked.model for asked in model.asked] == ["m@b"]
    closing = next(entry for entry in trace.entries if entry.kind is Kind.TURN_COMPLETED)
    assert closing.model_revision == "r1"


async def test_a_mirror_that_fails_leaves_the_turn_alone_and_a_record():
    trace = Trace()
    turns = service(trace, ScriptedModel(trace, "Fine."))
    turns.mirroring._model = ScriptedModel(trace, "Tw", fails=True)
    events = await mirrored(turns, "hello")
    assert events[-1].outcome is Outcome.COMPLETED
    [record] = [entry for entry in trace.entries if entry.kind is Kind.TURN_MIRRORED]
    assert record.reason == "model_failed"


async def test_blocked_input_is_not_mirrored_either():
    trace = Trace()
    turns = service(trace, model := ScriptedModel(trace, "x"))
    await mirrored(turns, "something bad")
    assert model.asked == []


async def test_mirrors_under_way_are_bounded_and_closed_with_a_record():
    trace = Trace()
    turns = service(trace, ScriptedModel(trace, "Fine."))
    turns.mirroring._model = ScriptedModel(trace, "never ", hangs=True)
    turns.routes.chosen = Route(Use("m@a", "r1"), mirror=Use("m@b", "r2"))
    for _ in range(AT_ONCE + 2):
        await run(turns, "hello")
    assert len(turns.mirroring._running) == AT_ONCE
    await turns.close()
    assert [entry.reason for entry in trace.entries if entry.kind is Kind.TURN_MIRRORED] == ["stopped"] * AT_ONCE


async def test_other_weights_than_those_on_record_are_not_heard():
    trace = Trace()
    turns = service(trace, ScriptedModel(trace, Delta(text="One. ", revision="r1"), Delta(text="Two. ", revision="r9")))
    events = await run(turns, "hello")
    assert (events[-1].outcome, events[-1].reason) == (Outcome.ABORTED, "model_changed")
    assert "Two" not in "".join(event.text for event in events if isinstance(event, TextReleased))
    assert turns.routes.was_misled


async def test_what_a_canary_answers_says_so():
    trace = Trace()
    turns = service(trace, model := ScriptedModel(trace, "Fine."))
    turns.routes.chosen = Route(Use("m@b", "r2"), canary=True)
    await run(turns, "hello")
    assert (trace.entries[0].detail["canary"], trace.entries[0].model_revision) == ("m@b", "r2")
    assert (trace.entries[0].model, model.asked[0].model) == ("m", "m@b")


async def test_a_turn_keeps_the_policy_with_which_it_began():
    trace = Trace()
    turns = service(trace, ScriptedModel(trace, "One. ", "It is bad. ", "Three"))
    other = WordSafety()
    other.policy_hash, other.examine = "other", None
    async for event in turns.run(request("hello")):
        if isinstance(event, TurnStarted):
            turns.policy.now = Judging(other)
    assert event.outcome is Outcome.BLOCKED
    assert {entry.policy_hash for entry in trace.entries} == {"policy"}


async def test_no_turn_begins_while_the_policy_in_force_cannot_be_used():
    trace = Trace()
    turns = service(trace, model := ScriptedModel(trace, "x"))
    turns.policy.trouble = True
    with pytest.raises(PolicyUnavailableError) as refused:
        await run(turns, "hello")
    assert (refused.value.status, refused.value.retry_after, model.asked) == (503, 5, [])
    [entry] = trace.entries
    assert (entry.kind, entry.reason) == (Kind.TURN_REFUSED, "policy_unavailable")


FORBIDDEN = (ForbiddenWords("company.projects", ("夜莺计划",)),)


def stopping(trace: Trace, *deltas: Delta, stops_words: bool = True) -> tuple[TurnService, ScriptedModel]:
    model = ScriptedModel(trace, *deltas)
    policy = FixedPolicy(WordSafety(), lambda groups: FORBIDDEN if "staff" in groups else ())
    turns = replace(service(trace, model), policy=policy)
    turns.routes.chosen = Route(Use("m", "r1"), stops_words=stops_words)
    return turns, model


def told(text: str, **fields) -> Delta:
    return Delta(text=text, lexicon=digest(FORBIDDEN), **fields)


@pytest.mark.parametrize("text", ["It is bad", "It is odd"])
async def test_a_model_stopped_while_it_decodes_is_a_blocked_turn_whatever_the_guards_see(text):
    trace = Trace()
    last = told(text, finish_reason=FinishReason.CONTENT_FILTER, stopped_by="company.projects")
    turns, model = stopping(trace, told("One. "), last)
    events = await run(turns, "hello")
    assert model.asked[0].forbidden == FORBIDDEN
    shown = "".join(event.text for event in events if isinstance(event, TextReleased))
    assert (events[-1].outcome, events[-1].reason) == (Outcome.BLOCKED, "output_blocked")
    closing = trace.entries[-1]
    assert (closing.kind, closing.finish_reason, closing.verdict) == (Kind.TURN_BLOCKED, "content_filter", "block")
    assert closing.detail["stopped_by"] == "company.projects"
    assert closing.findings[-1].rule == ("words.bad" if "bad" in text else "company.projects")
    texts = {one.name: one.text for one in closing.contents}
    assert texts["withheld"].endswith(text)
    assert shown + texts["withheld"] == texts["generated"] == "One. " + text
    stage = next(one for one in closing.stages if one.stage == "output.decoding")
    assert (stage.status, stage.version) == ("ran", digest(FORBIDDEN).removeprefix("sha256:")[:16])


async def test_an_endpoint_that_cannot_stop_is_not_asked_to_and_the_record_says_so():
    trace = Trace()
    turns, model = stopping(trace, Delta(text="One."), stops_words=False)
    events = await run(turns, "hello")
    assert model.asked[0].forbidden == ()
    assert events[-1].outcome is Outcome.COMPLETED
    stage = next(one for one in trace.entries[-1].stages if one.stage == "output.decoding")
    assert (stage.status, stage.characters) == ("skipped", 0)


async def test_a_tier_that_does_not_stop_as_it_said_answers_nothing():
    trace = Trace()
    turns, _ = stopping(trace, Delta(text="One. "), Delta(text="Two."))
    events = await run(turns, "hello")
    assert (events[-1].outcome, events[-1].reason) == (Outcome.ABORTED, "model_failed")
    assert not any(isinstance(event, TextReleased) for event in events)


async def test_an_endpoints_own_filter_is_a_block_too():
    trace = Trace()
    model = ScriptedModel(trace, "One. ", Delta(text="Tw", finish_reason=FinishReason.CONTENT_FILTER))
    events = await run(service(trace, model), "hello")
    assert (events[-1].outcome, events[-1].rules) == (Outcome.BLOCKED, ("decoding.endpoint",))
    assert trace.entries[-1].detail["stopped_by"] == "decoding.endpoint"
