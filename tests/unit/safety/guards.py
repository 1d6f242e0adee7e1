"""What the tests of the safety layer share."""

import asyncio

import yaml

from safety.normalise import NormalisedText
from safety.policy import DEFAULT_POLICY, complete, load_policy, parse_policy
from safety.policy_shape import CLASSIFIED, Thresholds
from safety.ports import Direction, TurnContext
from safety.verdict import Category, Examination, Finding, Severity, StageStatus

INPUT = TurnContext(direction=Direction.INPUT)
BANDS = {category: Thresholds(uncertain=0.5, block=0.8) for category in CLASSIFIED}
OUTPUT = TurnContext(direction=Direction.OUTPUT)
TEXT = DEFAULT_POLICY.read_text("utf-8")


def default_policy():
    return complete(load_policy(DEFAULT_POLICY), BANDS)


def finding(category=Category.PERSONAL_DATA, start=0, end=1, *, rule="", guard="filters.x", score=1.0, severity="high"):
    return Finding(guard, rule or f"{category}.thing", category, start, end, score, Severity(severity))


def ran(*findings, guard="filters.x", characters=100):
    return Examination(guard=guard, version="1", status=StageStatus.RAN, characters=characters, findings=findings)


class WordGuard:
    """A guard over one word, which may also misbehave."""

    version = "1"

    def __init__(
        self, word="", *, name="filters.word", category=Category.SECRET, delay=0.0, fault=None, stubborn=False
    ):
        self.name, self.word, self.category = name, word, category
        self.delay, self.fault, self.stubborn = delay, fault, stubborn
        self.closed = False

    def validate(self):
        if self.fault == "invalid":
            raise ValueError(f"{self.name} is damaged")

    async def examine(self, text: NormalisedText, context: TurnContext) -> Examination:  # noqa: ARG002 - the port
        try:
            await asyncio.sleep(self.delay)
        except asyncio.CancelledError:
            if not self.stubborn:
                raise
            await asyncio.sleep(30)
        if isinstance(self.fault, Exception):
            raise self.fault
        if self.fault == "nothing":
            return None
        seen = len(text.original) - (1 if self.fault == "half" else 0)
        found, at = [], text.text.find(self.word) if self.word else -1
        while at >= 0:
            span = text.original_span(at, at + len(self.word))
            found.append(Finding(self.name, f"{self.category}.word", self.category, *span, 1.0))
            at = text.text.find(self.word, at + 1)
        return Examination(self.name, self.version, StageStatus.RAN, seen, tuple(found))

    async def close(self):
        self.closed = True


def changed(path, value):
    """Return the policy that ships with one field changed, as text."""
    data = yaml.safe_load(TEXT)
    *parents, last = path.split("/")
    place = data
    for name in parents:
        place = place.setdefault(name, {})
    place[last] = value
    return yaml.safe_dump(data)


def usable(path, value):
    """Return it, read and completed."""
    return complete(parse_policy(changed(path, value)), BANDS)
