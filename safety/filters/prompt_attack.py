"""Attacks on the instructions: role tags, 'ignore previous', jailbreak personas, prompt extraction; zh and en."""

from safety.filters.engine import RuleGuard
from safety.filters.rules import RULES, load_pack
from safety.filters.values import not_quoted


def prompt_attack() -> RuleGuard:
    """Make the guard; raise `RuleError` when the pack is damaged."""
    pack = load_pack(RULES / "prompt_attack.yaml")
    return RuleGuard("filters.prompt_attack", pack, {"not_quoted": not_quoted}, leet=True)
