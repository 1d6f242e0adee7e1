"""Every rule against its own examples: what `attest safety rules test` prints."""

from collections.abc import Iterable

import msgspec

from safety.filters.engine import RuleGuard
from safety.filters.rules import Rule
from safety.normalise import normalise
from safety.parts import filters
from safety.policy_shape import Policy
from safety.titles import OTHERS
from safety.verdict import Category


class Failure(msgspec.Struct, frozen=True):
    """One thing that does not hold."""

    rule: str
    problem: str


class Trial(msgspec.Struct, frozen=True):
    """The outcome for all rules."""

    rules: int
    examples: int
    failures: tuple[Failure, ...]

    def in_words(self) -> str:
        """Return lines for a terminal."""
        lines = [f"{failure.rule}: {failure.problem}" for failure in self.failures]
        return "\n".join([*lines, f"{self.rules} rules, {self.examples} examples, {len(self.failures)} failures"])


def try_rules(policy: Policy) -> Trial:
    """Run the examples of all packs and compare the policy's entries with the rules; raise `RuleError`."""
    guards = [guard for guard in filters(policy) if isinstance(guard, RuleGuard)]
    rules = [(guard, rule) for guard in guards for rule in guard.rules]
    failures = [failure for guard, rule in rules for failure in _failures(guard, rule)]
    failures += [
        Failure(name, f"the policy's entry{f' of group {group}' if group else ''} is about no rule")
        for group, name in unknown_rules(policy, (rule.id for _, rule in rules))
    ]
    return Trial(len(rules), sum(len(rule.match) + len(rule.no_match) for _, rule in rules), tuple(failures))


def unknown_rules(policy: Policy, rules: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return the entries that are about no rule: the group (empty: everyone) and the rule's id."""
    known = {*rules, *(f"{Category.COMPANY}.{name}" for name in policy.company), *OTHERS}
    parts = {"": policy.rules} | {name: group.rules for name, group in policy.groups.items()}
    return tuple((group, name) for group, entries in parts.items() for name in entries if name not in known)


def _failures(guard: RuleGuard, rule: Rule) -> list[Failure]:
    found = []
    for wanted, texts in ((True, rule.match), (False, rule.no_match)):
        for number, text in enumerate(texts, start=1):
            if (rule.id in {finding.rule for finding in guard.look(normalise(text))}) is not wanted:
                problem = "does not hit its example" if wanted else "hits its counter-example"
                found.append(Failure(rule.id, f"{problem} number {number}"))
    return found
