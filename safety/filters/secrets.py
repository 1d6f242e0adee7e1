"""Secrets: keys, tokens, passwords, by their published forms or by what stands before them."""

from safety.filters import values as check
from safety.filters.engine import RuleGuard, Validator
from safety.filters.rules import RULES, load_pack

VALIDATORS: dict[str, Validator] = {
    "private_key": check.private_key,
    "high_entropy": check.high_entropy,
    "real_value": check.real_value,
    "secret_value": check.secret_value,
    "quoted_value": check.quoted_value,
    "credentials": check.credentials,
}


def secrets() -> RuleGuard:
    """Make the guard; raise `RuleError` when the pack is damaged."""
    return RuleGuard("filters.secrets", load_pack(RULES / "secrets.yaml"), VALIDATORS, numbers=True)
