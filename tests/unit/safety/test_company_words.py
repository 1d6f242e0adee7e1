"""Company words: whole ones, whatever stands beside them, in time that grows with the text."""

import pytest

from safety.filters.company import CompanyWords
from safety.filters.words import WordFinder
from safety.normalise import NormalisedText, normalise
from safety.parts import filters
from safety.policy_shape import WordList
from safety.verdict import StageStatus
from tests.unit.safety.guards import INPUT, default_policy
from tests.unit.safety.hostile import seconds


def test_word_lists_take_whole_words_and_spare_longer_harmless_ones():
    finder = WordFinder(("Falcon", "天鹅", "New York"), allow=("天鹅绒", "falcon heavy"))

    def found(text):
        return [text[start:end] for start, end in finder.spans(normalise(text))]

    assert found("Project FALCON and f4lc0n in new york") == ["FALCON", "new york", "f4lc0n"]
    assert found("falconry,天鹅绒, Falcon Heavy") == []
    assert found("天鹅项目") == ["天鹅"]


@pytest.mark.parametrize(
    ("words", "allow", "text", "found"),
    [
        (("Blue", "Blue Heron"), (), "the Blue Herons met", ["Blue"]),
        (("Titan", "Titan Nova"), (), "Titan novation is due", ["Titan"]),
        (("Apollo", "Apollo 11"), (), "Apollo 110, Apollo 11", ["Apollo", "Apollo 11"]),
        (("天鹅", "天鹅计划", "计划书"), (), "天鹅计划书", ["天鹅计划", "计划书"]),
        (("天鹅",), ("白天", "天鹅湖"), "白天鹅湖", []),
        (("Blue Heron",), (), "Blue\nHeron", ["Blue\nHeron"]),
        (("Blue Heron",), (), "Blue  \r\n Heron", ["Blue  \r\n Heron"]),
        (("Blue\tHeron",), (), "the blue heron\n", ["blue heron"]),
        (("Blue Heron",), (), "BlueHeron, Blue\nHerons", []),
        (("天鹅计划",), (), "关于天鹅\n计划", ["天鹅\n计划"]),
        (("天鹅计划",), (), "x\n\n的 天 鹅 计 划 呢", ["天 鹅 计 划"]),
        (("方舟 X1",), (), "方舟\nX1 和方 舟 X12", ["方舟\nX1"]),
        (("天鹅",), ("天鹅湖",), "天鹅\n湖和天鹅\n", ["天鹅"]),
        (("Blue Heron",), (), "blu3\nh3ron", ["blu3\nh3ron"]),
    ],
)
def test_neither_a_longer_listed_word_nor_a_line_break_hides_a_word(words, allow, text, found):
    read = NormalisedText(text, text)
    assert [text[start:end] for start, end in WordFinder(words, allow).spans(read)] == found


@pytest.mark.parametrize("stretch", [1, 7, 16_384])
def test_words_are_found_across_the_stretches_that_are_searched(monkeypatch, stretch):
    monkeypatch.setattr("safety.filters.words._STRETCH", stretch)
    text = "天鹅湖边的天鹅计划书，Blue  Heron" * 3
    finder = WordFinder(("天鹅", "天鹅计划", "计划书", "heron", "Blue Heron"), ("天鹅湖",))
    found = [text[start:end] for start, end in finder.spans(NormalisedText(text, text))]
    assert found == ["天鹅计划", "计划书", "Blue  Heron"] * 3


@pytest.mark.parametrize(
    ("words", "allow", "unit"),
    [
        (("天鹅",), ("天鹅湖",), "天鹅湖"),
        (("天", "天天", "天天天"), ("天空",), "天"),
        (("a", "a a", "a a a"), (), "a  "),
        (("a b", "b a"), (), "a\nb\t\n"),
        (("x",), (), " \n"),
    ],
    ids=str,
)
def test_words_take_time_in_proportion(words, allow, unit):
    finder = WordFinder(words, allow)

    def look(text):
        return list(finder.spans(text))

    small, large = seconds(unit, 10_000, look), seconds(unit, 40_000, look)
    assert large < 8 * small + 0.05  # four times the text; each hit against each allowed word would be sixteen times


def test_words_found_are_bounded_and_still_cover_the_text():
    guard = CompanyWords({"p": WordList(words=("方舟",))})
    text = "关于" + "方舟" * 16_000
    found = guard.look(normalise(text))
    assert len(found) == 500
    assert [(f.start, f.end) for f in (found[0], found[-1])] == [(2, 4), (1000, len(text))]
    assert len(guard.look(normalise("方舟" * 500))) == 500


async def test_company_words_come_from_the_policy():
    guard = next(g for g in filters(default_policy()) if g.name == "filters.company")
    assert (await guard.examine(normalise("x"), INPUT)).status is StageStatus.SKIPPED
    lists = {"projects": WordList(words=("Blue Heron", "蓝鹭"))}
    guard = type(guard)(lists)
    found = (await guard.examine(normalise("关于蓝鹭项目 and BLUE HERON"), INPUT)).findings
    assert [(f.rule, f.start, f.end) for f in found] == [("company.projects", 2, 4), ("company.projects", 11, 21)]
