"""What of a trial is told to whoever may not read texts."""

import pytest
from msgspec.structs import replace

from gateway.policies.telling import FEWEST_TURNS, Telling, telling, told
from gateway.policies.trials import Example, Result, Tally
from tests.unit.policies.test_changes import policy

COMPANY = {"input": "block", "output": "block"}
LISTS = {"projects": {"words": ["bluefin", "redfin"], "allow": ["bluefin tuna"]}}
IN_FORCE = policy(company=LISTS)
RESULT = Result(
    policy_hash="h",
    turns=FEWEST_TURNS,
    unreadable=3,
    stricter=29,
    milder=9,
    moves=(("allow", "flag", 29), ("flag", "allow", 9)),
    categories=(Tally("company", 29, 9),),
    groups=(Tally("sales", 29, 9),),
    examples=(Example("turn-1", "allow", "flag", ("company.projects",)),),
)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"version": 2, "categories__company": COMPANY},
        {"groups__sales": {"categories": {"company": COMPANY}}},
        {"company": {"projects": LISTS["projects"] | {"words": ["redfin", "bluefin"], "severity": "high"}}},
    ],
)
def test_with_the_words_in_force_a_trial_is_told_whole(fields):
    assert telling(policy(company=LISTS, **fields) if "company" not in fields else policy(**fields), IN_FORCE) == "all"
    assert told(RESULT, Telling.ALL) == (RESULT, Telling.ALL)


@pytest.mark.parametrize(
    "lists",
    [
        {},
        LISTS | {"customers": {"words": ["Contoso"]}},
        {"projects": {"words": ["bluefin", "redfin", "Contoso"], "allow": ["bluefin tuna"]}},
        {"projects": {"words": ["bluefin"], "allow": ["bluefin tuna"]}, "other": {"words": ["redfin"]}},
        {"projects": {"words": ["bluefin", "redfin"], "allow": ["bluefin tuna", "my bluefin"]}},
        {"renamed": LISTS["projects"]},
    ],
)
def test_with_other_words_only_rounded_totals_are_told(lists):
    candidate = policy(company=lists, version=2, name="x", categories__company=COMPANY, samples__allowed=True)
    assert telling(candidate, IN_FORCE) is Telling.TOTALS
    result, how = told(RESULT, Telling.TOTALS)
    assert how is Telling.TOTALS
    assert result == Result("h", FEWEST_TURNS, 3, 20, 0, (), (), (), ())
    assert told(replace(RESULT, turns=FEWEST_TURNS - 1), Telling.TOTALS) == (None, Telling.FEW)


def test_which_turns_cannot_be_judged_is_told_by_no_number():
    """A word that finds something in such a turn keeps it blocked, and so judged."""
    found, other = replace(RESULT, turns=FEWEST_TURNS), replace(RESULT, turns=FEWEST_TURNS - 1, unjudged=1)
    assert told(found, Telling.TOTALS) == told(other, Telling.TOTALS)
    assert told(other, Telling.ALL) == (other, Telling.ALL)


@pytest.mark.parametrize(
    "fields",
    [
        {"groups__sales": {"categories": {"company": COMPANY}}},
        {"groups__sales": {"rules": {"company.customers": {"input": "block"}}}},
        {"groups__sales": {"classifier": {"hate": {"uncertain": 0, "block": 0}}}},
        {"classifier__hate": {"uncertain": 0, "block": 0}},
        {"categories__prompt_attack__input": "block"},
        {"rules__secret_DOT_jwt": {"mode": "shadow"}},
        {"failures": {"default": "escalate"}},
    ],
)
def test_with_other_words_that_could_count_in_some_turns_alone_nothing_is_told(fields):
    candidate = policy(company={"customers": {"words": ["Contoso"]}}, **fields)
    assert telling(candidate, IN_FORCE) is Telling.NOTHING
    assert told(RESULT, Telling.NOTHING) == (None, Telling.NOTHING)


def test_words_that_the_policy_in_force_has_for_a_group_are_told_of_to_nobody_else():
    groups = {"groups__sales": {"categories": {"company": COMPANY}}}
    other = policy(company={"customers": {"words": ["Contoso"]}}, **groups)
    assert telling(other, policy(company=LISTS, **groups)) is Telling.NOTHING
