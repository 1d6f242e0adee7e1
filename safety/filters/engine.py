"""The engine that every filter guard shares: one pass for all rules of a pack, then the rules that hit, then checks."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice

import msgspec

from safety.filters.lookup import Lookup
from safety.filters.places import Covered, Places
from safety.filters.rules import LoadedPack, Rule, RuleError
from safety.filters.words import WordFinder
from safety.linear import Pattern, PatternSet
from safety.normalise import Before, NormalisedText, normalise
from safety.ports import Direction, TurnContext
from safety.verdict import Finding

MOST_CANDIDATES = 2_000
"""Candidates of one rule that are looked for in one text; from there on the rest of the text is one hit."""


class Candidate(msgspec.Struct, frozen=True):
    """A stretch that a pattern hit, for a validator to judge."""

    value: str
    text: str
    start: int
    end: int
    before: Before = Before()
    """What stood before `text`; offsets do not count it."""


Validator = Callable[[Candidate], int]
"""Says how many code points of a candidate, from its start, are a finding; 0 for none."""


class _Compiled(msgspec.Struct, frozen=True):
    rule: Rule
    pattern: Pattern
    allow: Pattern | None
    validator: Validator | None


class RuleGuard(Lookup):
    """A guard whose judgement is a rule pack; implements `SwiftGuard`."""

    def __init__(
        self,
        name: str,
        pack: LoadedPack,
        validators: Mapping[str, Validator] | None = None,
        direction: Direction | None = None,
        *,
        leet: bool = False,
        numbers: bool = False,
    ) -> None:
        """Compile the pack; raise `RuleError`. With `direction` the guard skips texts that go the other way.

        With `leet` patterns are also matched against the second reading (`1gn0re`), as word lists always are.
        With `numbers` they are also matched where signs at the ends of numbers are digits of them (`1380013800①`).
        """
        self.name = name
        self.version = pack.version
        self._rules = pack.rules
        self._named = {rule.id: rule for rule in pack.rules}
        self._direction = direction
        self._leet = leet
        self._numbers = numbers
        known = validators or {}
        patterned = [rule for rule in pack.rules if rule.pattern]
        self._compiled = tuple(_compile(rule, known) for rule in patterned)
        self._set = PatternSet([rule.pattern for rule in patterned])
        self._worded = tuple((rule, WordFinder(rule.words)) for rule in pack.rules if rule.words)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules of the pack."""
        return self._rules

    def validate(self) -> None:
        """Run every rule's own examples; raise `RuleError` that names the first rule that fails."""
        for rule in self._rules:
            for text in rule.match:
                if all(finding.rule != rule.id for finding in self.look(normalise(text))):
                    raise RuleError(f"{rule.id}: does not hit its example number {rule.match.index(text) + 1}")
            for text in rule.no_match:
                if any(finding.rule == rule.id for finding in self.look(normalise(text))):
                    raise RuleError(f"{rule.id}: hits its counter-example number {rule.no_match.index(text) + 1}")

    def skips(self, context: TurnContext) -> bool:
        """Whether the text goes the other way."""
        return self._direction not in (None, context.direction)

    def look(self, text: NormalisedText, before: str = "") -> tuple[Finding, ...]:
        """Return the findings in one text, in the order of their places; pure. Only validators read `before`."""
        places: dict[str, Places] = {}
        earlier = Before(before)
        for rule, start, end in self._hits(text, earlier):
            places.setdefault(rule.id, Places()).add(start, end)
        for rule, start, end in self._joined_hits(text, earlier, places) if self._numbers else ():
            places.setdefault(rule.id, Places()).add(start, end)
        hidden = [(rule, segment) for segment in text.segments for rule in self._hit_in(segment.text)]
        spans = {(rule, *text.original_span(*span)) for rule, of in places.items() for span in of.spans()}
        spans |= {(rule.id, segment.start, segment.end) for rule, segment in hidden}
        findings = [self._finding(self._named[rule], start, end) for rule, start, end in spans]
        return tuple(sorted(findings, key=lambda finding: (finding.start, finding.end, finding.rule)))

    def _hit_in(self, segment: str) -> set[Rule]:
        hits = self._hits(NormalisedText(segment, segment), Before())
        return {rule for rule, _, _ in hits if rule.decoded}

    def _finding(self, rule: Rule, start: int, end: int) -> Finding:
        return Finding(self.name, rule.id, rule.category, start, end, 1.0, rule.severity)

    def _hits(self, text: NormalisedText, before: Before) -> Iterator[tuple[Rule, int, int]]:
        yield from self._pattern_hits(text, before)
        if self._leet and text.leet != text.lowered:
            yield from self._pattern_hits(NormalisedText(text.leet, text.leet), before)
        for rule, finder in self._worded:
            yield from ((rule, start, end) for start, end in finder.spans(text))

    def _joined_hits(
        self, text: NormalisedText, before: Before, whole: Mapping[str, Places]
    ) -> Iterator[tuple[Rule, int, int]]:
        """Yield what a rule finds only where a sign is joined to it; what is whole without the sign, it has found."""
        covered = {rule: Covered(places.spans()) for rule, places in whole.items()} if text.joined else {}
        for reading in text.joined:
            for rule, *span in self._pattern_hits(NormalisedText(reading.text, reading.text), before):
                place = reading.span(*span)
                if place is not None and not (rule.id in covered and covered[rule.id].meets(*place)):
                    yield rule, *place

    def _pattern_hits(self, text: NormalisedText, before: Before) -> Iterator[tuple[Rule, int, int]]:
        for index in self._set.found_in(text.utf8):
            yield from _hits_of(self._compiled[index], text, before)


def _hits_of(compiled: _Compiled, text: NormalisedText, before: Before) -> Iterable[tuple[Rule, int, int]]:
    spans = islice(compiled.pattern.spans(text.utf8, compiled.rule.group), MOST_CANDIDATES)
    places = [place for span in spans for place in span]
    if not places:
        return
    characters = text.characters_before(places)
    for number, (start, end) in enumerate(zip(characters[::2], characters[1::2], strict=True)):
        length = end - start
        if number < compiled.rule.checked:
            value = text.text[start:end]
            if compiled.allow is not None and compiled.allow.found_in(value.encode()):
                continue
            if compiled.validator is not None:
                length = compiled.validator(Candidate(value, text.text, start, end, before))
        if length:
            yield compiled.rule, start, start + length
    if len(places) == 2 * MOST_CANDIDATES and characters[-1] < len(text.text):
        yield compiled.rule, characters[-1], len(text.text)


def _compile(rule: Rule, validators: Mapping[str, Validator]) -> _Compiled:
    if rule.validator and rule.validator not in validators:
        raise RuleError(f"{rule.id}: there is no validator {rule.validator!r}")
    try:
        pattern = Pattern(rule.pattern)
        allow = Pattern("|".join(f"^(?:{part})$" for part in rule.allow)) if rule.allow else None
    except ValueError as error:
        raise RuleError(f"{rule.id}: {error}") from None
    if pattern.groups < rule.group:
        raise RuleError(f"{rule.id}: the pattern has no group {rule.group}")
    return _Compiled(rule, pattern, allow, validators.get(rule.validator))
