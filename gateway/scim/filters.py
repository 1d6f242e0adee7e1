"""SCIM filters (RFC 7644, section 3.4.2.2) as conditions of a query: what an index answers, and nothing else."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import sqlalchemy as sa
from scim2_models import InvalidFilterException, ScimFilter
from scim2_models.path import (
    AttrPath,
    CompareOperator,
    Comparison,
    FilterVisitor,
    LogicalExpr,
    LogicalOperator,
    Not,
    Present,
    ValuePath,
)

from gateway.folding import folded
from gateway.scim import tables
from gateway.scim.resources import in_our_words

LONGEST = 1000
"""Characters of a filter."""
MOST_COMPARISONS = 20


class Attribute(msgspec.Struct, frozen=True):
    """An attribute that a filter may name, and the column that answers."""

    column: sa.Column[Any]
    kind: type = str
    folds: bool = False
    """Case does not count."""


_MEMBERSHIP = sa.select(tables.member.c.group_id)
USERS: Mapping[str, Attribute] = {
    "id": Attribute(tables.user.c.id),
    "externalid": Attribute(tables.user.c.external_id),
    "username": Attribute(tables.user.c.user_name_key, folds=True),
    "displayname": Attribute(tables.user.c.display_name_key, folds=True),
    "active": Attribute(tables.user.c.active, bool),
}
GROUPS: Mapping[str, Attribute] = {
    "id": Attribute(tables.group.c.id),
    "externalid": Attribute(tables.group.c.external_id),
    "displayname": Attribute(tables.group.c.display_name_key, folds=True),
    "members": Attribute(tables.member.c.user_id),
    "members.value": Attribute(tables.member.c.user_id),
}


def condition(text: str, attributes: Mapping[str, Attribute]) -> sa.ColumnElement[bool]:
    """Return the condition of a filter. Raises `scim2_models.InvalidFilterException`."""
    if len(text) > LONGEST:
        raise InvalidFilterException(detail=f"A filter has at most {LONGEST} characters.")
    with in_our_words():
        parsed: ScimFilter[Any] = ScimFilter(text)
    return _Conditions(attributes).visit(parsed.ast)


class _Conditions(FilterVisitor[sa.ColumnElement[bool]]):
    """Walks a filter; the parser bounds its depth, and this the number of comparisons."""

    def __init__(self, attributes: Mapping[str, Attribute]) -> None:
        self._attributes = attributes
        self._comparisons = 0

    def visit_comparison(self, node: Comparison) -> sa.ColumnElement[bool]:
        self._comparisons += 1
        if self._comparisons > MOST_COMPARISONS:
            raise InvalidFilterException(detail=f"A filter has at most {MOST_COMPARISONS} comparisons.")
        attribute = self._attributes.get(_name(str(node.attr_path)))
        if attribute is None:
            raise InvalidFilterException(detail="Filter by " + ", ".join(sorted(self._attributes)) + ".")
        if node.op not in (CompareOperator.eq, CompareOperator.ne) or type(node.value) is not attribute.kind:
            raise InvalidFilterException(detail="Filter with eq or ne, and a value of the attribute's type.")
        value = folded(str(node.value)) if attribute.folds else node.value
        equal: sa.ColumnElement[bool] = attribute.column == value
        if attribute.column.table is tables.member:
            equal = tables.group.c.id.in_(_MEMBERSHIP.where(equal))
        else:  # what has no value is not equal: by itself the comparison would say neither yes nor no
            equal = sa.and_(equal, attribute.column.is_not(None))
        return equal if node.op == CompareOperator.eq else sa.not_(equal)

    def visit_logical_expr(self, node: LogicalExpr) -> sa.ColumnElement[bool]:
        terms = [self.visit(term) for term in node.terms]
        return sa.and_(*terms) if node.op == LogicalOperator.and_ else sa.or_(*terms)

    def visit_not(self, node: Not) -> sa.ColumnElement[bool]:
        return sa.not_(self.visit(node.expr))

    def visit_present(self, node: Present) -> sa.ColumnElement[bool]:
        del node
        raise InvalidFilterException(detail="Filter with eq or ne.")

    def visit_value_path(self, node: ValuePath) -> sa.ColumnElement[bool]:
        within = node.val_filter
        if not isinstance(within, Comparison):
            raise InvalidFilterException(detail="Compare one value in brackets.")
        return self.visit_comparison(replace(within, attr_path=AttrPath(node.attr_path.attr, within.attr_path.attr)))


def _name(path: str) -> str:
    """Return an attribute's name without its schema, in lower case: names know no case (RFC 7643, section 2.1)."""
    name = path.lower()
    for schema in ("urn:ietf:params:scim:schemas:core:2.0:user:", "urn:ietf:params:scim:schemas:core:2.0:group:"):
        name = name.removeprefix(schema)
    return name
