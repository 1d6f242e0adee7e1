"""Parts of the safety layer that need no model at hand: the filters, and the thresholds that the model came with."""

from safety.classifier.manifest import Manifest
from safety.filters.company import CompanyWords
from safety.filters.engine import RuleGuard
from safety.filters.output_review import output_review
from safety.filters.personal_data import personal_data
from safety.filters.prompt_attack import prompt_attack
from safety.filters.secrets import secrets
from safety.policy_shape import Policy, Thresholds
from safety.verdict import Category


def recommended(manifest: Manifest) -> dict[Category, Thresholds]:
    """Return the thresholds that were chosen on the development set when the model was made."""
    return {
        Category(name): Thresholds(uncertain=bands.uncertain, block=bands.block)
        for name, bands in manifest.thresholds.items()
    }


def filters(policy: Policy | None = None) -> tuple[RuleGuard | CompanyWords, ...]:
    """Make the filters alone, in the order of their stages; without a policy there are no company lists."""
    return (
        personal_data(),
        secrets(),
        prompt_attack(),
        CompanyWords(policy.company if policy is not None else {}),
        output_review(),
    )
