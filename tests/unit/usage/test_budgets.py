"""Budgets as the company writes them, and usage as a file."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.auth.principal import Principal, Role
from gateway.problems import BudgetExhaustedError
from gateway.settings import SettingsError
from gateway.usage.allowance import Allowances
from gateway.usage.budget import Budgets, Charge, Counter
from gateway.usage.counters import Exceeded, Held
from gateway.usage.recorder import UsageRecorder
from gateway.usage.report import UsageRow, as_csv

NOW = datetime(2026, 11, 30, 17, 0, tzinfo=UTC)
ALICE = Principal("alice", "Alice", ("/staff", "/trading", "/other"), frozenset({Role.STAFF}))
FILE = """
zone: Asia/Shanghai
warn_at: 0.5
person: {day: {tokens: 100, turns: 5}}
people: {"service:k": {month: {tokens: 7}}}
groups: {/trading: {month: {tokens: 1000}}}
"""


def budgets(tmp_path: Path, text: str = FILE) -> Budgets:
    path = tmp_path / "budgets.yaml"
    path.write_text(text)
    return Budgets.load(path)


def test_a_day_begins_where_the_company_is(tmp_path: Path) -> None:
    found = budgets(tmp_path)
    assert found.charges(ALICE, NOW) == (
        Charge(Counter("group", "trading", "2026-12"), 1000, None),
        Charge(Counter("person", "alice", "2026-12-01"), 100, 5),
    )
    assert found.resets_at("2026-12-01").isoformat() == "2026-12-02T00:00:00+08:00"
    assert found.resets_at("2026-12").isoformat() == "2027-01-01T00:00:00+08:00"
    service = Principal("service:k", "k", (), frozenset({Role.STAFF}))
    assert [charge.tokens for charge in found.charges(service, NOW)] == [7]
    assert Budgets.load(None).charges(ALICE, NOW) == ()


@pytest.mark.parametrize(
    "text",
    ["zone: Mars/Olympus", "warn_at: 0", "person: {week: {tokens: 1}}", "person: {day: {tokens: -1}}", "- 1", "{",
     "people: {a: {day: {tokens: much}}}"],
)  # fmt: skip
def test_a_file_that_is_wrong_stops_the_start(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="ATTEST_BUDGETS"):
        budgets(tmp_path, text)


class Answers:
    """Counters that answer as a test wants."""

    def __init__(self, answer: Held | Exceeded) -> None:
        self.answer = answer
        self.corrected: list[tuple[Held, int, int]] = []

    async def hold(self, _charges, _tokens, _least):
        return self.answer

    async def correct(self, _counters, held, tokens, turns):
        self.corrected.append((held, tokens, turns))

    async def aclose(self):
        pass


class Recorder(UsageRecorder):
    def note(self, day, names, prompt_tokens, completion_tokens):
        self.noted = (day, names, prompt_tokens, completion_tokens)


def allowances(tmp_path: Path, answer: Held | Exceeded) -> Allowances:
    return Allowances(budgets(tmp_path), Answers(answer), Recorder(None), clock=lambda: NOW)  # type: ignore[arg-type]


async def test_what_was_not_used_is_given_back_and_a_near_limit_is_told(tmp_path: Path) -> None:
    held = Held(60, ((900, 3), (20, 1)), ("one", "other"))
    made = allowances(tmp_path, held)
    async with made.turn(ALICE, 10, 50, lambda: (4, 6)) as allowance:
        assert allowance.tokens == 60
        notice = allowance.notice()
        assert notice is not None
        assert (notice.scope, notice.name, notice.period, notice.percent) == ("group", "trading", "month", 91)
    await made._counters.aclose()
    for task in tuple(made._ending):
        await task
    assert made._counters.corrected == [(held, 10, 1)]
    assert made.usage.noted == (
        "2026-12-01", (("person", "alice"), ("group", "trading"), ("group", "staff"), ("group", "other")), 4, 6,
    )  # fmt: skip


async def test_a_budget_that_is_used_up_says_so_in_both_languages(tmp_path: Path) -> None:
    charge = budgets(tmp_path).charges(ALICE, NOW)[1]
    with pytest.raises(BudgetExhaustedError) as refused:
        async with allowances(tmp_path, Exceeded(charge)).turn(ALICE, 10, 50, lambda: (0, 0)):
            pass
    error = refused.value
    assert error.retry_after == 23 * 3600
    assert error.about == {"scope": "person", "name": "", "period": "day"}
    assert "today" in error.detail
    assert "今日" in error.detail


def test_a_file_holds_no_formula() -> None:
    row = UsageRow("2026-11-28", "group", "=HYPERLINK(1)", 1, 2, 3)
    assert "'=HYPERLINK(1)" in as_csv((row,))
