"""What a user and a group are here: the parts of RFC 7643 that Attest keeps, as models of `scim2-models`.

The directory knows more of a person (addresses, passwords, departments); what is not listed here is neither kept nor
refused: the data that is not needed is not there.
"""

import contextlib
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

from pydantic import Field, StringConstraints
from scim2_models import (
    URN,
    AuthenticationScheme,
    Bulk,
    CaseExact,
    ChangePassword,
    ComplexAttribute,
    ETag,
    Filter,
    InvalidValueException,
    Mutability,
    Patch,
    Reference,
    Required,
    Resource,
    ResourceType,
    SCIMException,
    ScimPolicy,
    ScimProvider,
    ServiceProviderConfig,
    Sort,
    Uniqueness,
)

SHORT = 255
MOST_RESULTS = 200
"""Resources on one page."""
MOST_MEMBERS = 20_000
"""Members of one group."""
MOST_EMAILS = 20

Text = Annotated[str, StringConstraints(max_length=SHORT)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=SHORT)]

R = TypeVar("R", bound=Resource[Any])

POLICY = ScimPolicy(
    unknown=ScimPolicy.Unknown.ignore,
    remove_value_as_filter=ScimPolicy.RemoveValue.apply,
    unmatched_path_filter=ScimPolicy.UnmatchedPathFilter.create,
)
"""What Entra ID sends beside the specification is understood; attributes that are not kept are ignored."""


class PersonName(ComplexAttribute):
    """The parts of a name."""

    formatted: Text | None = None
    family_name: Text | None = None
    given_name: Text | None = None


class Email(ComplexAttribute):
    """An e-mail address; its form is the directory's business."""

    value: Text | None = None
    type: Text | None = None
    primary: bool | None = None


class User(Resource[Any]):
    """A person in the directory."""

    __schema__ = URN("urn:ietf:params:scim:schemas:core:2.0:User")

    user_name: Annotated[Name | None, Uniqueness.server, Required.true] = None
    name: PersonName | None = None
    display_name: Text | None = None
    active: bool | None = None
    emails: Annotated[list[Email] | None, Field(max_length=MOST_EMAILS)] = None


class GroupMember(ComplexAttribute):
    """A member: always a user."""

    value: Annotated[str | None, Mutability.immutable, CaseExact.true] = None
    ref: Annotated[Reference["User"] | None, Mutability.immutable] = Field(
        None, serialization_alias="$ref", validation_alias="$ref"
    )
    type: Annotated[str | None, Mutability.immutable] = Field(None, examples=["User"])


class Group(Resource[Any]):
    """A group in the directory. Its members are read and written apart from it: there may be thousands."""

    __schema__ = URN("urn:ietf:params:scim:schemas:core:2.0:Group")

    display_name: Annotated[Name | None, Uniqueness.server, Required.true] = None
    members: list[GroupMember] | None = None


def bounded(resource: R) -> R:
    """Return a resource whose `externalId` can be kept. Raises `scim2_models.InvalidValueException`."""
    if resource.external_id is not None and not 0 < len(resource.external_id) <= SHORT:
        raise InvalidValueException(detail=f"externalId: 1 to {SHORT} characters.")
    return resource


def keeping_id(resource: R, before: R) -> R:
    """Return what replaces a resource, with its `externalId` where the client said nothing of one.

    Okta leaves it out; RFC 7644, section 3.5.1, lets what is omitted stay. Without it nobody would know any more who a
    person or which group this is. Null takes it away.
    """
    if "external_id" not in resource.model_fields_set:
        resource.external_id = before.external_id
    return resource


@contextlib.contextmanager
def in_our_words() -> Iterator[None]:
    """Raise errors of the library without its texts: they quote what the client sent."""
    try:
        yield
    except SCIMException as error:
        raise type(error) from None


def service() -> ScimProvider:
    """Return what the discovery endpoints say."""
    config = ServiceProviderConfig(
        patch=Patch(supported=True),
        bulk=Bulk(supported=False, max_operations=0, max_payload_size=0),
        filter=Filter(supported=True, max_results=MOST_RESULTS),
        change_password=ChangePassword(supported=False),
        sort=Sort(supported=False),
        etag=ETag(supported=True),
        authentication_schemes=[
            AuthenticationScheme(
                type=AuthenticationScheme.Type.oauthbearertoken,
                name="Bearer token",
                description="A key with the role provisioning, made with attest api-keys create.",
                primary=True,
            )
        ],
    )
    types = [ResourceType.from_resource(model) for model in (User, Group)]
    return ScimProvider([User, Group], types, config, POLICY)
