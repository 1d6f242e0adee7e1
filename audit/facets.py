"""What a turn can be found by beside its columns: groups, roles, model, categories, rules. Pure functions."""

from audit.canonical import column
from audit.record import Entry, Kind

OPENING_KINDS = frozenset({Kind.TURN_ACCEPTED, Kind.TURN_REFUSED})
"""The kinds whose record says who asked for which model; later records of a turn say the same again."""


def facets_of(entry: Entry) -> tuple[tuple[str, str], ...]:
    """Return (facet, value) pairs of an opening or closing record, each once, values as the columns hold them."""
    pairs = [("category", category) for category in entry.categories]
    for finding in entry.findings:
        pairs += [("category", finding.category), ("rule", finding.rule)]
    if entry.kind in OPENING_KINDS:
        pairs += [("group", group) for group in entry.groups]
        pairs += [("role", role) for role in entry.roles]
        pairs.append(("model", entry.model))
    return tuple(dict.fromkeys((facet, column(value)) for facet, value in pairs if value))
