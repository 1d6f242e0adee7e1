"""The words at which the model itself is stopped: lists of the company whose words the policy lets into no answer.

The guards examine the answer all the same; stopping the model while it decodes spares what it would go on to say.
"""

from collections.abc import Iterable

import msgspec

from safety.decide import judge
from safety.policy_shape import Policy
from safety.ports import Direction
from safety.verdict import Action, Category, Finding

MOST_WORDS = 10_000
"""More words than this are left to the guards."""
_GUARD = "lexicon"
_STOPS = frozenset({Action.BLOCK, Action.ESCALATE})


class LexiconPart(msgspec.Struct, frozen=True):
    """Words of one list, and the rule that is written into records."""

    rule: str
    words: tuple[str, ...]


def lexicon(policy: Policy, groups: Iterable[str]) -> tuple[LexiconPart, ...]:
    """Return the words that the policy lets into no answer for members of these groups.

    A word that stands within a harmless longer one (`allow`) is left to the guards, which see what follows.
    """
    found: list[LexiconPart] = []
    for name, part in sorted(policy.company.items()):
        rule = f"{Category.COMPANY}.{name}"
        seen = Finding(_GUARD, rule, Category.COMPANY, 0, 0, 1.0, part.severity)
        verdict = judge(seen, policy, tuple(groups), Direction.OUTPUT)
        if verdict.action in _STOPS and not verdict.shadow:
            harmless = [word.casefold() for word in part.allow]
            words = tuple(
                word for word in part.words if not any(word.strip().casefold() in longer for longer in harmless)
            )
            found += [LexiconPart(rule, words)] if words else []
    return tuple(found) if sum(len(part.words) for part in found) <= MOST_WORDS else ()
