"""What an answer must not carry: role tags, images that report to a stranger, script links, a broken-out persona."""

from safety.filters.engine import RuleGuard
from safety.filters.rules import RULES, load_pack
from safety.ports import Direction


def output_review() -> RuleGuard:
    """Make the guard, which skips what goes to the model; raise `RuleError` when the pack is damaged."""
    return RuleGuard("filters.output_review", load_pack(RULES / "output_review.yaml"), direction=Direction.OUTPUT)
