"""What a policy changes, in the reader's words; names from elsewhere are shown as they stand."""

from pathlib import Path

import pytest

from gateway.console.policy_words import PolicyWords
from gateway.policies.changes import Change
from gateway.settings import Settings
from gateway.web.pages import View, make_pages
from safety.policy_shape import (
    CategoryRule,
    Mode,
    RuleEntry,
    SampleRule,
    SecondOpinionRule,
    Thresholds,
    WordList,
)
from safety.verdict import Action, Severity

TITLES = {"en": "Mobile number", "zh-CN": "手机号"}
HIDDEN = "x\u202ey"


def title(rule: str, language: str) -> str:
    return TITLES[language] if rule == "personal_data.cn_mobile" else ""


@pytest.fixture(params=["en", "zh-CN"])
def words(request, tmp_path: Path) -> PolicyWords:
    pages = make_pages(Settings(data_dir=tmp_path), title)
    view = View(pages, pages.catalogues[request.param], theme="auto", principal=None, csrf="", path="/")
    return PolicyWords(view, title)


def said(words: PolicyWords, *path: str, before: str = "", after: str = "") -> tuple[str, str, str]:
    line = words.line(Change(".".join(path), before, after, path=path))
    return line.what, line.before, line.after


@pytest.mark.parametrize(
    ("field", "before", "after", "english", "chinese"),
    [
        ("version", "1", "2", "Version | 1 | 2", "版本号 | 1 | 2"),
        (
            "rules/personal_data.cn_mobile/input", "flag", "block",
            "Mobile number: in a question | Flagged | Blocked", "手机号：提问中 | 标记 | 拦截",
        ),
        (
            "categories/prompt_attack/output/high", "", "block",
            "Manipulation of the assistant: in an answer, degree high |  | Blocked",
            "操纵助手：回答中，程度高 |  | 拦截",
        ),
        (
            "groups/sales/classifier/hate/mode", "shadow", "enforce",
            "Group sales · Hate: carried out or on trial | on trial: only recorded | carried out",
            "用户组 sales · 仇恨：执行或试运行 | 试运行：仅记录 | 执行",
        ),
        (
            "failures/guards/classifier", "block", "escalate",
            "When a check fails or is too slow: classifier | Blocked | Escalated",
            "检查出错或超时时：分类器 | 拦截 | 上报",
        ),
        (
            "groups/sales/failures/default", "block", "escalate",
            "Group sales · When a check fails or is too slow: any check | Blocked | Escalated",
            "用户组 sales · 检查出错或超时时：任何检查 | 拦截 | 上报",
        ),
        (
            "company/input/severity", "low", "high",
            "Company list input: degree | low | high", "企业词表 input：程度 | 低 | 高",
        ),
        ("company/p/words", "flag", "true", "Company list p: words | flag | true", "企业词表 p：词语 | flag | true"),
        (
            "samples/allowed", "false", "true",
            "Reviewed texts for training: allowed | no | yes", "复核文本用于训练：是否允许 | 否 | 是",
        ),
    ],
)  # fmt: skip
def test_a_change_is_said_in_both_languages(
    words: PolicyWords, field: str, before: str, after: str, english: str, chinese: str
):
    expected = english if words.view.language == "en" else chinese
    assert " | ".join(said(words, *field.split("/"), before=before, after=after)) == expected


def test_every_field_of_a_policy_and_every_code_has_words(words: PolicyWords):
    parts = (CategoryRule, RuleEntry, Thresholds, SecondOpinionRule, WordList, SampleRule)
    fields = {name for part in parts for name in part.__struct_fields__} | {"version", "name"}
    wanted = [f"console.policy.change.field.{name}" for name in fields]
    wanted += [f"console.policy.change.mode.{one}" for one in Mode] + [f"console.verdict.{one}" for one in Action]
    wanted += [f"console.policy.degree.{one}" for one in Severity]
    assert [key for key in wanted if not words.view.catalogue.has(key)] == []


def test_what_nobody_knows_is_shown_without_hidden_characters(words: PolicyWords):
    for path in (
        ("rules", HIDDEN, "input"), ("company", HIDDEN, "words"), ("groups", HIDDEN, "rules", HIDDEN, HIDDEN),
        ("failures", "guards", HIDDEN), ("categories", HIDDEN, HIDDEN, HIDDEN), (HIDDEN,),
    ):  # fmt: skip
        for text in said(words, *path, before=HIDDEN, after=HIDDEN):
            assert "\u202e" not in text
            assert "x" in text
