"""What changes from one policy to another, in the reader's words. A name that nobody knows is shown as it stands."""

from dataclasses import dataclass

import msgspec

from gateway.policies.changes import Change, Path
from gateway.web.markdown import visible
from gateway.web.pages import RuleTitle, View

_WITHOUT_NAME = ("second_opinion", "samples")
"""Parts of a policy whose fields belong to nothing that has a name of its own."""
_ACTIONS = ("input", "output", "uncertain_action", "block_action")
"""Fields that say what is done."""
_SAID = {"mode": "mode", "enabled": "switch", "allowed": "switch"}
"""Fields whose values are codes, and which words those have."""


class ChangeLine(msgspec.Struct, frozen=True):
    """One change as it is read. No text has a character that cannot be seen."""

    what: str
    before: str
    after: str
    change: Change


@dataclass(frozen=True)
class PolicyWords:
    """The words of one reader."""

    view: View
    rule_title: RuleTitle

    def line(self, change: Change) -> ChangeLine:
        """Return a change in words."""
        before, after = (self._value(change.path, text) if text else "" for text in (change.before, change.after))
        return ChangeLine(self._what(change.path), before, after, change)

    def _what(self, path: Path) -> str:
        part, *rest = path
        if part == "groups":
            return self._text("in_group", name=visible(rest[0]), what=self._what(tuple(rest[1:])))
        if not rest:
            return self._field(part)
        if part in _WITHOUT_NAME:
            return self._text("of", name=self._words(f"console.policy.{part}", part), what=self._field(rest[0]))
        if part == "failures":
            return self._text("of", name=self._text("failures"), what=self._guard(rest))
        name, field, *degree = rest
        what = self._field(field)
        if degree:
            what = self._text("degree", what=what, degree=self._words(f"console.policy.degree.{degree[0]}", degree[0]))
        return self._text("of", name=self._name(part, name), what=what)

    def _name(self, part: str, name: str) -> str:
        if part == "rules":
            return self.rule_title(name, self.view.language) or visible(name)
        return self._text("list", name=visible(name)) if part == "company" else self.view.category(name)

    def _guard(self, rest: list[str]) -> str:
        if len(rest) == 1:
            return self.view.catalogue.text("console.policy.any_guard")
        return self._words(f"record.guard.{rest[1]}", rest[1])

    def _field(self, field: str) -> str:
        return self._words(f"console.policy.change.field.{field}", field)

    def _value(self, path: Path, text: str) -> str:
        path = path[2:] if path[0] == "groups" else path
        field = (*path[2:3], path[-1])[0]
        if path[0] == "failures" or field in _ACTIONS:
            return self._words(f"console.verdict.{text}", text)
        if field == "severity":
            return self._words(f"console.policy.degree.{text}", text)
        return self._words(f"console.policy.change.{_SAID[field]}.{text}", text) if field in _SAID else visible(text)

    def _text(self, key: str, **values: str) -> str:
        return self.view.catalogue.text(f"console.policy.change.{key}", **values)

    def _words(self, key: str, code: str) -> str:
        return self.view.catalogue.text(key) if self.view.catalogue.has(key) else visible(code)
