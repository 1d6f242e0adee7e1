"""YAML as a policy may be written: plain data, each key once. Whoever writes it cannot make reading it dear or unclear.

Refused by line and column: aliases (a few lines could stand for gigabytes), keys that stand twice (the last would win
silently), tags that make objects, nesting without end, and texts that cannot be encoded.
"""

from collections.abc import Hashable
from typing import Protocol

import yaml

from safety.policy_problem import Problem, Wrong

LONGEST = 200_000
"""Characters of a policy."""
DEEPEST = 20
"""Levels of nesting; a policy has six."""
_MERGE = "tag:yaml.org,2002:merge"


class _Mark(Protocol):
    """A place in the text, counted from 0."""

    line: int
    column: int


class PolicyTextError(ValueError):
    """A text that is not read; `problem` says where and why, and never quotes a value."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without what a policy never needs."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose one node. Raises `PolicyTextError` for an alias, or too many levels."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refused(Wrong.ALIAS, event.start_mark, "aliases (*name) are not allowed; write it out")
        self._depth += 1
        if self._depth > DEEPEST:
            raise _refused(Wrong.TOO_DEEP, event.start_mark, f"more than {DEEPEST} levels", most=str(DEEPEST))
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        """Return a mapping. Raises `PolicyTextError` for a key that stands twice."""
        found: set[Hashable] = set()
        for name, _ in node.value:
            if name.tag == _MERGE:
                raise _refused(Wrong.MERGE_KEY, name.start_mark, "merge keys (<<) are not allowed; write it out")
            key = self.construct_object(name, deep=True)
            if not isinstance(key, Hashable):
                raise _refused(Wrong.NO_KEY, name.start_mark, "this cannot be a key")
            if key in found:
                raise _refused(Wrong.KEY_TWICE, name.start_mark, "this key stands twice")
            found.add(key)
        mapping: dict[Hashable, object] = super().construct_mapping(node, deep=deep)
        return mapping

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> str:
        """Return a text. Raises `PolicyTextError` for one that no file could hold."""
        text = str(super().construct_scalar(node))
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _refused(Wrong.SURROGATE, node.start_mark, "half of a surrogate pair") from None
        return text


def read_yaml(text: str) -> object:
    """Return what a YAML text says. Raises `PolicyTextError`."""
    if len(text) > LONGEST:
        raise _refused(Wrong.TOO_LONG, None, f"longer than {LONGEST} characters", most=str(LONGEST))
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except PolicyTextError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _refused(Wrong.NOT_YAML, mark, f"not YAML: {error.problem}", detail=str(error.problem)) from None
    except yaml.YAMLError as error:
        raise _refused(Wrong.NOT_YAML, None, f"not YAML: {error}", detail=str(error)) from None
    except (ValueError, OverflowError):  # numbers and dates that Python has no value for
        raise _refused(Wrong.OUT_OF_RANGE, None, "not YAML: a number or date is out of range") from None


def _refused(code: Wrong, mark: _Mark | None, said: str, **values: str) -> PolicyTextError:
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    return PolicyTextError(Problem(code, said, line=line, column=column, values=values))
