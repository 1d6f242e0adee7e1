"""PATCH (RFC 7644, section 3.5.2), with the forms that Entra ID and Okta send beside the specification.

Attributes are changed by `scim2-models`; the members of a group, of which there may be thousands, as sets. What a PATCH
says is read whole before anything is changed: only the change itself takes place in the transaction.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import msgspec
from scim2_models import (
    Context,
    InvalidPathException,
    InvalidSyntaxException,
    InvalidValueException,
    MutabilityException,
    PatchOp,
    Resource,
    TooManyException,
)

from gateway.scim.groups import Membership
from gateway.scim.resources import MOST_MEMBERS, POLICY, SHORT, Group, User, bounded, in_our_words

MOST_OPERATIONS = 100
MOST_ATTRIBUTES = 1000
"""Attributes that the values of a PATCH name together, without the members of a group."""
LONGEST_PATH = 1000
"""Characters of a path, and of an attribute's name, which may be one."""
LONGEST_PATHS = 10_000
"""Characters of the paths and names of a PATCH together: each comparison in them is made with each value."""
_MESSAGE = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
_ANY_GROUP = r"(?:urn:ietf:params:scim:schemas:core:2\.0:Group:)?"
_ALL_MEMBERS = re.compile(rf"{_ANY_GROUP}members", re.IGNORECASE)
_ONE_MEMBER = re.compile(rf'{_ANY_GROUP}members\[\s*value\s+eq\s+"([^"\\]{{1,{SHORT}}})"\s*\]', re.IGNORECASE)
_SINGLE = frozenset({"active", "username", "displayname", "externalid"})
_NO_TARGETS = frozenset({"schemas", "meta"})

R = TypeVar("R", bound=Resource[Any])
Operation = dict[str, Any]


class Patch(msgspec.Struct, Generic[R], frozen=True):
    """What a PATCH asks for."""

    model: type[R]
    message: Any
    """The changes as the library read them; None: there are none but of members."""
    own_ids: tuple[object, ...] = ()
    """What the PATCH takes for the resource's id."""
    membership: Membership | None = None
    """What becomes of a group's members; None: nothing."""

    def applied(self, resource: R) -> R:
        """Return the resource as it is afterwards. Raises `SCIMException`, `pydantic.ValidationError`."""
        after = resource.model_copy(deep=True)
        if any(each != after.id for each in self.own_ids):
            raise MutabilityException(detail="id: cannot be changed.")
        if self.message is not None:
            with in_our_words():
                self.message.patch(after, scim_policy=POLICY)
        return bounded(self.model.model_validate(after.model_dump(), scim_policy=POLICY))


def patch_of_user(body: dict[str, Any]) -> Patch[User]:
    """Read a PATCH of a user. Raises `SCIMException`, `pydantic.ValidationError`."""
    return _read(User, [_plain(each) for each in _operations(body)])


def patch_of_group(body: dict[str, Any]) -> Patch[Group]:
    """Read a PATCH of a group. Raises `SCIMException`, `pydantic.ValidationError`."""
    rest: list[Operation] = []
    membership: Membership | None = None
    for operation in map(_plain, _operations(body)):
        others, changed = _of_members(operation, membership or Membership())
        membership = changed or membership
        rest += [others] if others else []
    return _read(Group, rest, membership)


def member_ids(value: object) -> frozenset[str]:
    """Return the ids that a value of `members` names. Raises `InvalidValueException`."""
    entries = value if isinstance(value, list) else [value]
    if len(entries) > MOST_MEMBERS:
        raise InvalidValueException(detail=f"A group has at most {MOST_MEMBERS} members.")
    ids = [_folded_names(each).get("value") if isinstance(each, dict) else each for each in entries]
    if not all(isinstance(each, str) and 0 < len(each) <= SHORT for each in ids):
        raise InvalidValueException(detail="members: each needs a value, the id of a user.")
    return frozenset(str(each) for each in ids)


def split_members(body: dict[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """Return a group's body without its members, and their ids. Raises `InvalidValueException`."""
    rest = {name: value for name, value in body.items() if name.lower() != "members"}
    given = [value for name, value in body.items() if name.lower() == "members" and value is not None]
    return rest, member_ids(given[0]) if given else frozenset()


def _read(model: type[R], operations: Sequence[Operation], membership: Membership | None = None) -> Patch[R]:
    """Let the library read what is within bounds. Raises `SCIMException`, `pydantic.ValidationError`."""
    if not operations:
        return Patch(model, None, (), membership)
    _check_size(operations)
    own_ids: list[object] = []
    rest: list[Operation] = []
    for each in operations:
        others, ids = _without_own_id(each)
        rest.append(others)
        own_ids += ids
    patch: Any = PatchOp.__class_getitem__(model)
    with in_our_words():
        message = patch.model_validate(
            {"schemas": [_MESSAGE], "Operations": rest}, scim_ctx=Context.RESOURCE_PATCH_REQUEST, scim_policy=POLICY
        )
    return Patch(model, message, tuple(own_ids), membership)


def _check_size(operations: Sequence[Operation]) -> None:
    """Refuse what would take long to read and to apply. Raises `InvalidPathException`, `TooManyException`."""
    names = [name for each in operations for name in _names(each.get("value"))]
    paths = [path for each in operations if isinstance(path := each.get("path"), str)]
    if any(len(each) > LONGEST_PATH for each in (*names, *paths)):
        raise InvalidPathException(detail=f"A path has at most {LONGEST_PATH} characters.")
    if len(names) > MOST_ATTRIBUTES:
        raise TooManyException(detail=f"A PATCH names at most {MOST_ATTRIBUTES} attributes.")
    if sum(map(len, (*names, *paths))) > LONGEST_PATHS:
        raise TooManyException(detail=f"The paths and names of a PATCH have at most {LONGEST_PATHS} characters.")


def _names(value: object) -> Iterator[str]:
    """Yield the names of all attributes in a value; a body is nested only so deep (`asking.json_body`)."""
    if isinstance(value, dict):
        yield from value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from _names(each)


def _operations(body: dict[str, Any]) -> list[Operation]:
    named = _folded_names(body)
    schemas, operations = named.get("schemas"), named.get("operations")
    if not isinstance(schemas, list) or _MESSAGE.lower() not in [str(each).lower() for each in schemas]:
        raise InvalidSyntaxException(detail="schemas: must name the PatchOp message.")
    if not isinstance(operations, list) or not all(isinstance(each, dict) for each in operations) or not operations:
        raise InvalidSyntaxException(detail="Operations: must be an array of one or more operations.")
    if len(operations) > MOST_OPERATIONS:
        raise TooManyException(detail=f"A PATCH has at most {MOST_OPERATIONS} operations.")
    return [_folded_names(each) for each in operations]


def _plain(operation: Operation) -> Operation:
    """Return an operation without Entra ID's habit of a list of one value for an attribute that has one."""
    path, value = operation.get("path"), operation.get("value")
    if isinstance(value, dict) and not path:
        value = {name: each for name, each in value.items() if name.lower() not in _NO_TARGETS}
        return {name: each for name, each in operation.items() if name != "path"} | {"value": value}
    if isinstance(path, str) and path.lower() in _SINGLE and isinstance(value, list) and len(value) == 1:
        only = value[0]
        return operation | {"value": only.get("value") if isinstance(only, dict) else only}
    return operation


def _of_members(operation: Operation, before: Membership) -> tuple[Operation | None, Membership | None]:
    """Take what an operation says of members out of it; return the rest of it, if any, and what members become."""
    path, value = operation.get("path"), operation.get("value")
    verb = str(operation.get("op", "")).lower()
    if not path and isinstance(value, dict) and verb in ("add", "replace"):
        rest = {name: each for name, each in value.items() if name.lower() != "members"}
        if len(rest) == len(value):
            return operation, None
        _, ids = split_members(value)
        return (operation | {"value": rest} if rest else None), _changed(before, verb, ids)
    if not isinstance(path, str) or not re.match(rf"{_ANY_GROUP}members\b", path.strip(), re.IGNORECASE):
        return operation, None
    if _ALL_MEMBERS.fullmatch(path.strip()):
        if verb == "add" and value is None:
            raise InvalidValueException(detail="members: an add needs a value.")
        everyone = verb == "remove" and value in (None, [])
        return None, _changed(before, verb, None if everyone else member_ids([] if value is None else value))
    one = _ONE_MEMBER.fullmatch(path.strip())
    if one is None or verb != "remove":
        raise InvalidPathException(detail='Write members, or members[value eq "ID"] to remove one.')
    return None, _changed(before, verb, frozenset({one[1]}))


def _changed(before: Membership, verb: str, ids: frozenset[str] | None) -> Membership:
    match verb:
        case "add" if ids is not None:
            return msgspec.structs.replace(before, added=before.added | ids, removed=before.removed - ids)
        case "replace" if ids is not None:
            return Membership(cleared=True, added=ids)
        case "remove":
            if ids is None:
                return Membership(cleared=True)
            return msgspec.structs.replace(before, added=before.added - ids, removed=before.removed | ids)
        case _:
            raise InvalidValueException(detail="op: must be add, remove or replace.")


def _without_own_id(operation: Operation) -> tuple[Operation, list[object]]:
    """Take out the resource's own id, which Okta sends along; return the rest, and the ids to be compared."""
    value = operation.get("value")
    if operation.get("path") or not isinstance(value, dict):
        return operation, []
    ids = [each for name, each in value.items() if name.lower() == "id"]
    return operation | {"value": {name: each for name, each in value.items() if name.lower() != "id"}}, ids


def _folded_names(value: dict[str, Any]) -> dict[str, Any]:
    """Return an object with names in lower case: names know no case (RFC 7643, section 2.1)."""
    return {name.lower(): each for name, each in value.items()}
