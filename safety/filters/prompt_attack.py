"""Attacks on the instructions: role tags, 'ignore previous', jailbreak personas, prompt extraction; zh and en."""

from safety.filters.commanded import commanded_en, commanded_zh, own_words
from safety.filters.engine import RuleGuard
from safety.filters.rules import RULES, load_pack
from safety.filters.values import not_quoted


def prompt_attack() -> RuleGuard:
    """Make the guard; raise `RuleError` when the pack is damaged."""
    pack = load_pack(RULES / "prompt_attack.yaml")
    checks = {check.__name__: check for check in (not_quoted, commanded_zh, commanded_en, own_words)}
    return RuleGuard("filters.prompt_attack", pack, checks, leet=True)
