"""YAML as a policy may be written: plain data, each key once. Whoever writes it cannot make reading it dear or unclear.

Refused by line and column: aliases (a few lines could stand for gigabytes), keys that stand twice (the last would win
silently), tags that make objects, nesting without end, and texts that cannot be encoded.
"""

from collections.abc import Hashable
from typing import Protocol

import yaml

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
    """A text that is not read; the message says where and why, and never quotes a value."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without what a policy never needs."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose one node. Raises `PolicyTextError` for an alias, or too many levels."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise PolicyTextError(f"{_place(event.start_mark)}: aliases (*name) are not allowed; write it out")
        self._depth += 1
        if self._depth > DEEPEST:
            raise PolicyTextError(f"{_place(event.start_mark)}: more than {DEEPEST} levels")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        """Return a mapping. Raises `PolicyTextError` for a key that stands twice."""
        found: set[Hashable] = set()
        for name, _ in node.value:
            if name.tag == _MERGE:
                raise PolicyTextError(f"{_place(name.start_mark)}: merge keys (<<) are not allowed; write it out")
            key = self.construct_object(name, deep=True)
            if not isinstance(key, Hashable):
                raise PolicyTextError(f"{_place(name.start_mark)}: this cannot be a key")
            if key in found:
                raise PolicyTextError(f"{_place(name.start_mark)}: this key stands twice")
            found.add(key)
        mapping: dict[Hashable, object] = super().construct_mapping(node, deep=deep)
        return mapping

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> str:
        """Return a text. Raises `PolicyTextError` for one that no file could hold."""
        text = str(super().construct_scalar(node))
        try:
            text.encode()
        except UnicodeEncodeError:
            raise PolicyTextError(f"{_place(node.start_mark)}: half of a surrogate pair") from None
        return text


def read_yaml(text: str) -> object:
    """Return what a YAML text says. Raises `PolicyTextError`."""
    if len(text) > LONGEST:
        raise PolicyTextError(f"longer than {LONGEST} characters")
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except PolicyTextError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise PolicyTextError(f"not YAML: {_place(mark)}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise PolicyTextError(f"not YAML: {error}") from None
    except (ValueError, OverflowError):  # numbers and dates that Python has no value for
        raise PolicyTextError("not YAML: a number or date is out of range") from None


def _place(mark: _Mark | None) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
