"""A policy that somebody proposes: read and checked as strictly as can be, before anyone is asked to agree to it."""

from collections.abc import Iterable

from msgspec.structs import replace

from safety.classifier.manifest import SHIPPED, load
from safety.filters.company import CompanyWords
from safety.filters.engine import RuleGuard
from safety.parts import filters, recommended
from safety.policy import PolicyError, problems_of, read_policy
from safety.policy_problem import Problem, Wrong
from safety.policy_shape import Policy
from safety.trial import unknown_rules


def candidate(text: str) -> Policy:
    """Return the policy that a text says, with the thresholds it leaves to the classifier that ships.

    Stricter than a start with the same text: an entry about a rule that there is none of is a slip of the pen here,
    but must not keep a gateway from starting after a release that dropped a rule. Takes a second; opens no model.

    Raises `PolicyError` that names everything to mend.
    """
    policy = read_policy(text)
    full = replace(policy, classifier={**recommended(load(SHIPPED)[0]), **policy.classifier})
    if wrong := {str(one): one for one in (*problems_of(full), *_slips(full))}:
        raise PolicyError(*wrong.values())
    return full


def _slips(policy: Policy) -> Iterable[Problem]:
    packs = [guard for guard in filters() if isinstance(guard, RuleGuard)]
    for group, name in unknown_rules(policy, (rule.id for guard in packs for rule in guard.rules)):
        at = f"{f'groups.{group}.' if group else ''}rules.{name}"
        yield Problem(Wrong.NO_SUCH_RULE, "there is no such rule", at)
    for name, part in policy.company.items():
        try:
            CompanyWords({name: part})
        except ValueError as error:
            yield Problem(Wrong.COMPANY_WORDS, str(error), f"company.{name}")
