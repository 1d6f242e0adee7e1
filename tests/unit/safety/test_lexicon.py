"""Which words the policy lets into no answer."""

import pytest

from safety.lexicon import MOST_WORDS, LexiconPart, lexicon
from safety.policy import DEFAULT_POLICY, parse_policy

COMPANY = """
company:
  projects: {words: ["Project Nightingale", "夜莺计划"], severity: high}
  customers: {words: ["Acme", "计划"], allow: ["夜莺计划书", "计划生育"], severity: high}
  slang: {words: ["widget"], severity: low}
"""


def policy(rules: str = "", groups: str = ""):
    text = DEFAULT_POLICY.read_text("utf-8")
    text = text.replace("rules:\n", f"rules:\n{rules}", 1)
    return parse_policy(text + COMPANY + groups)


def test_only_lists_that_are_blocked_in_answers():
    assert lexicon(policy(), ()) == ()
    rules = "  company.projects: {output: block}\n  company.slang: {output: flag}\n"
    assert lexicon(policy(rules), ()) == (LexiconPart("company.projects", ("Project Nightingale", "夜莺计划")),)


def test_a_word_within_a_harmless_longer_one_is_left_to_the_guards():
    rules = "  company.customers: {output: escalate}\n"
    assert lexicon(policy(rules), ()) == (LexiconPart("company.customers", ("Acme",)),)


def test_a_rule_on_trial_stops_nothing():
    assert lexicon(policy("  company.projects: {output: block, mode: shadow}\n"), ()) == ()


def test_a_group_may_be_stricter():
    groups = "groups:\n  interns:\n    rules:\n      company.slang: {output: block}\n"
    assert lexicon(policy(groups=groups), ("staff",)) == ()
    assert lexicon(policy(groups=groups), ("staff", "interns")) == (LexiconPart("company.slang", ("widget",)),)


@pytest.mark.parametrize(("count", "kept"), [(MOST_WORDS, True), (MOST_WORDS + 1, False)])
def test_more_words_than_a_tier_takes_are_left_to_the_guards(count, kept):
    words = ", ".join(f"w{at}" for at in range(count))
    text = DEFAULT_POLICY.read_text("utf-8").replace("rules:\n", "rules:\n  company.many: {output: block}\n", 1)
    many = parse_policy(text + f"company:\n  many: {{words: [{words}]}}\n")
    assert bool(lexicon(many, ())) is kept
