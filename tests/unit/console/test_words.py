"""What records say in codes, in the reader's language; a code from elsewhere is shown as it stands."""

import pytest

from audit.record import FindingRecord, StageRecord
from gateway.console.words import Words
from gateway.rejudging import Outcome, StageAgain, Why
from gateway.web.catalogue import load_catalogues

CATALOGUES = load_catalogues()
EN, ZH = Words(CATALOGUES["en"]), Words(CATALOGUES["zh-CN"])
HIDDEN = "x\u202ey"


def finding(where: str) -> FindingRecord:
    return FindingRecord("classifier", "model.message", "hate", 3, 9, 0.7, 0.5, "block", "block", where)


def stage(error: str) -> StageRecord:
    return StageRecord("input.classifier", "error", 0, 1.0, "", error)


def test_codes_are_said_in_both_languages():
    assert (EN.stage("input.filters.secrets"), ZH.stage("output.classifier")) == ("Question: secrets", "回答：分类器")
    assert (EN.kind("turn.blocked"), ZH.kind("turn.blocked")) == ("Turn blocked", "轮次被拦截")
    assert (EN.reason("rate_limited"), ZH.reason("not_found")) == ("too many turns", "不存在或属于他人")
    assert EN.reason("logout_signature") == "sign-out by the provider: wrong signature"
    assert (EN.surface("page.stream"), ZH.surface("cli")) == ("chat page, streamed", "命令行")
    assert (EN.worked_at("page"), ZH.worked_at("api"), ZH.role("staff")) == ("console", "API 接口", "员工")
    assert EN.code("a_b.c<d>_") == "a_<wbr>b.<wbr>c&lt;d&gt;_"
    assert (EN.place(finding("message")), EN.place(finding("answer"))) == ("question 3–9", "answer 3–9")
    assert (EN.place(finding("context.2")), ZH.place(finding("context.2"))) == (
        "earlier message, 2 back, 3–9", "往前第 2 条消息 3–9",
    )  # fmt: skip
    assert [EN.error(stage(name)) for name in ("", "TimeoutError", "OSError")] == [
        "", "took too long", "fault in the check (OSError)",
    ]  # fmt: skip


def test_why_a_turn_is_judged_otherwise():
    verdict = StageAgain("input.verdict", Outcome.DIFFERENT, Why.VERDICT, "block", "allow")
    status = StageAgain("input.classifier", Outcome.DIFFERENT, Why.STATUS, "ran", "timed_out")
    assert (EN.again(verdict), ZH.again(status)) == ("Blocked → Allowed", "已执行 → 超时")
    assert EN.again(StageAgain("input.classifier", Outcome.CANNOT, Why.RULES)) == "Other rules are installed."
    assert EN.again(StageAgain("input.classifier", Outcome.SAME)) == EN.why(None) == ""


@pytest.mark.parametrize("words", [EN, ZH], ids=["en", "zh-CN"])
def test_what_nobody_knows_is_shown_without_hidden_characters(words: Words):
    said = [words.kind(HIDDEN), words.stage(HIDDEN), words.stage(f"input.{HIDDEN}"), words.reason(HIDDEN)]
    said += [words.surface(HIDDEN), words.place(finding(HIDDEN)), words.place(finding(f"context.{HIDDEN}"))]
    said += [words.error(stage(HIDDEN)), words.reason(f"logout_{HIDDEN}")]
    assert [one for one in said if "\u202e" in one or "x" not in one] == []
