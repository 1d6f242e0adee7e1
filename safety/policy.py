"""The policy: read from YAML, checked, hashed. What is made of findings is `decide`.

`load_policy(path)` refuses unknown fields, and any group override that is weaker than the floor, by name.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from safety.decide import decide
from safety.policy_errors import not_a_value, shape_errors
from safety.policy_floor import weaker_overrides
from safety.policy_problem import Problem, Wrong
from safety.policy_shape import CLASSIFIED, FILTERED, Override, Policy, Thresholds
from safety.policy_yaml import PolicyTextError, read_yaml
from safety.verdict import Action, Category

__all__ = [
    "DEFAULT_POLICY",
    "Policy",
    "PolicyError",
    "complete",
    "decide",
    "load_policy",
    "parse_policy",
    "policy_hash",
    "problems_of",
    "read_policy",
]

DEFAULT_POLICY = Path(__file__).parent / "policies" / "default.yaml"
"""The policy that ships."""


class PolicyError(ValueError):
    """A policy that cannot be used; the message names every field that is wrong, and what is wrong with it."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


def load_policy(path: Path) -> Policy:
    """Read and check a policy file; raise `PolicyError` that names what to mend."""
    try:
        return parse_policy(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(Problem(Wrong.UNREADABLE, f"cannot be read: {error}", f"the policy file {path}")) from None
    except PolicyError as error:
        raise PolicyError(*(replace(one, said=f"{one}", at=str(path)) for one in error.problems)) from None


def parse_policy(text: str) -> Policy:
    """Make a policy of YAML text; raise `PolicyError` that names everything to mend."""
    return _checked(read_policy(text))


def read_policy(text: str) -> Policy:
    """Read a text as far as its fields have their shapes; what it means is not checked. Raises `PolicyError`."""
    try:
        fields = read_yaml(text)
    except PolicyTextError as error:
        raise PolicyError(error.problem) from None
    if wrong := shape_errors(fields, Policy):
        raise PolicyError(*wrong)
    try:
        return msgspec.convert(fields, Policy)
    except msgspec.ValidationError as error:
        raise PolicyError(not_a_value(error)) from None


def complete(policy: Policy, recommended: Mapping[Category, Thresholds]) -> Policy:
    """Fill in the thresholds that the policy leaves to the model, so that its hash stands for the numbers in force.

    Raises `PolicyError` when a group's override is weaker than what was filled in, or a category has no thresholds.
    """
    full = replace(policy, classifier={**recommended, **policy.classifier})
    if missing := [c.value for c in CLASSIFIED if c not in full.classifier]:
        raise PolicyError(_nothing_said("classifier", missing))
    return _checked(full)


def _checked(policy: Policy) -> Policy:
    if wrong := problems_of(policy):
        raise PolicyError(*wrong)
    return policy


def problems_of(policy: Policy) -> tuple[Problem, ...]:
    """Return one line for each thing that does not go together, and for each override below the floor."""
    return (*_problems(policy), *weaker_overrides(policy))


def policy_hash(policy: Policy) -> str:
    """SHA-256 of the canonical form: equal for files that differ in comments, order or defaults spelled out."""
    plain = json.dumps(msgspec.to_builtins(policy), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(plain.encode()).hexdigest()


def _problems(policy: Policy) -> Iterable[Problem]:
    missing = [c.value for c in FILTERED if c not in policy.categories]
    if missing:
        yield _nothing_said("categories", missing)
    parts: dict[str, Policy | Override] = {"": policy}
    parts |= {f"groups.{name}.": group for name, group in policy.groups.items()}
    for where, part in parts.items():
        yield from _out_of_place(where, part)
        for category, bands in part.classifier.items():
            at = f"{where}classifier.{category}"
            if category not in CLASSIFIED:
                yield Problem(Wrong.NO_SUCH_CATEGORY, "the classifier has no such category", at)
            if bands.uncertain > bands.block:
                yield Problem(Wrong.BANDS_CROSS, "`uncertain` is above `block`", at)


def _nothing_said(at: str, missing: Sequence[str]) -> Problem:
    names = ", ".join(missing)
    return Problem(Wrong.NOTHING_SAID, f"nothing is said about {names}", at, values={"names": names})


def _out_of_place(where: str, part: Policy | Override) -> Iterable[Problem]:
    """Yield where `pseudonymise` stands although nothing could be restored there."""
    places: dict[str, object] = {f"categories.{name}.output": rule.output for name, rule in part.categories.items()}
    places |= {f"rules.{name}.output": entry.output for name, entry in part.rules.items()}
    for name, bands in part.classifier.items():
        places |= {f"classifier.{name}": (bands.uncertain_action, bands.block_action)}
    places["failures"] = part.failures
    for place, actions in places.items():
        if Action.PSEUDONYMISE.value in json.dumps(msgspec.to_builtins(actions)):
            said = f"{Action.PSEUDONYMISE} is for what filters find on the way to the model: use redact"
            yield Problem(Wrong.PSEUDONYMISE, said, f"{where}{place}")
