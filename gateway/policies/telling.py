"""How much of a trial an officer is told who may not read texts. Pure.

A company's words are the one thing in a policy that finds whatever its author writes. A candidate with other words than
those in force makes its trial a search in everybody's texts: it would show which person's turn holds which word.
"""

from enum import StrEnum

import msgspec
from msgspec.structs import replace

from gateway.policies.trials import Result
from safety.policy_shape import Override, Policy, SampleRule, SecondOpinionRule, category_of_rule
from safety.verdict import Category

FEWEST_TURNS = 100
"""Turns that a trial must have judged before its totals are told: the least that the form offers. The total of a single
person's morning would say what that person wrote."""
STEP = 10
"""Totals are rounded down to tens: two trials, before and after somebody's turn, differ by that turn alone."""


class Telling(StrEnum):
    """What an officer is told."""

    ALL = "all"
    TOTALS = "totals"
    FEW = "few"
    """Nothing: too few turns were judged."""
    NOTHING = "nothing"
    """Nothing: the candidate could choose whose turns its words count in."""


def telling(candidate: Policy, in_force: Policy) -> Telling:
    """Return what whoever may not read texts is told of a candidate's trial."""
    if _words(candidate) == _words(in_force):
        return Telling.ALL
    alone = _beside_words(candidate) == _beside_words(in_force)
    for_all_alike = not any(_is_about_words(override) for override in candidate.groups.values())
    return Telling.TOTALS if alone and for_all_alike else Telling.NOTHING


def told(result: Result, how: Telling) -> tuple[Result | None, Telling]:
    """Return as much of a result as may be told, and how much that is.

    Which turns cannot be judged, the words decide as well: they count among the others, so that no number is exact.
    """
    looked_at = result.turns + result.unjudged
    if how is Telling.TOTALS and looked_at < FEWEST_TURNS:
        how = Telling.FEW
    if how is Telling.ALL:
        return result, how
    if how is not Telling.TOTALS:
        return None, how
    rounded = {name: getattr(result, name) // STEP * STEP for name in ("stricter", "milder")}
    return replace(result, **rounded, turns=looked_at, unjudged=0, moves=(), categories=(), groups=(), examples=()), how


def _words(policy: Policy) -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """Return what is searched for; in which list it stands would be told by its rule."""
    return {name: (frozenset(each.words), frozenset(each.allow)) for name, each in policy.company.items()}


def _beside_words(policy: Policy) -> bytes:
    """Return all else that decides about a turn in a trial.

    What blocks or passes other turns leaves the words to count in the rest: in one group, or in one turn.
    """
    rest = replace(
        policy,
        version=0,
        name="-",
        company={},
        categories={name: rule for name, rule in policy.categories.items() if name is not Category.COMPANY},
        rules={name: entry for name, entry in policy.rules.items() if not _is_of_words(name)},
        samples=SampleRule(),
        second_opinion=SecondOpinionRule(),
    )
    return msgspec.json.encode(rest, order="deterministic")


def _is_about_words(override: Override) -> bool:
    return Category.COMPANY in override.categories or any(map(_is_of_words, override.rules))


def _is_of_words(rule: str) -> bool:
    return category_of_rule(rule) is Category.COMPANY
