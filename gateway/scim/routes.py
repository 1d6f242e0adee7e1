"""`/scim/v2`: the provisioning client of the identity provider, and nobody else.

Whoever calls has a key with the role `provisioning`; without one made, the addresses answer nobody.
"""

import asyncio
from typing import Any

import pydantic
from litestar import Response, Router, delete, get, patch, post, put
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, SkipValidation
from scim2_models import (
    Context,
    ForbiddenException,
    NotFoundException,
    NotImplementedException,
    SCIMException,
)

from audit.ports import AuditUnavailableError
from gateway.auth.access import open_to
from gateway.auth.principal import Role
from gateway.http.errors import respond
from gateway.limits.rate import RateLimiter
from gateway.problems import AuditUnavailableProblemError, RateLimitedError
from gateway.scim import documents, filters
from gateway.scim.asking import ScimRequest, has_it_already, if_match, json_body, page, wanted_attributes
from gateway.scim.directory import Directory
from gateway.scim.documents import PREFIX, Document, Documents, answer, listed, wants_members
from gateway.scim.patching import patch_of_group, patch_of_user, split_members
from gateway.scim.resources import POLICY, Group, User, bounded, in_our_words

TheDirectory = NamedDependency[SkipValidation[Directory]]
TheDocuments = NamedDependency[SkipValidation[Documents]]
By = NamedDependency[str]
"""Subject of the provisioning client, once its rate allows the request."""

Id = FromPath[str]

OPEN = open_to(Role.PROVISIONING)


async def provisioner(request: ScimRequest, scim_rates: NamedDependency[SkipValidation[RateLimiter]]) -> str:
    """Return who asks. Raises `RateLimitedError`."""
    subject: str = request.user.subject
    admission = await scim_rates.take(f"scim:{subject}")
    if not admission.allowed:
        raise RateLimitedError("Too many requests; wait a moment.", retry_after=admission.retry_after_s)
    return subject


@get("/ServiceProviderConfig", **OPEN)
async def service_provider_config(request: ScimRequest, by: By, scim: TheDocuments) -> Response[Any]:
    """Say what is supported."""
    del by
    return answer(_unfiltered(request, scim.config))


@get("/ResourceTypes", **OPEN)
async def resource_types(request: ScimRequest, by: By, scim: TheDocuments) -> Response[Any]:
    """Say what resources there are."""
    del by
    return answer(_unfiltered(request, listed(list(scim.resource_types.values()), len(scim.resource_types), 1)))


@get("/ResourceTypes/{name:str}", **OPEN)
async def resource_type(name: Id, by: By, scim: TheDocuments) -> Response[Any]:
    """Say what one of them is."""
    del by
    return answer(_known(scim.resource_types, name))


@get("/Schemas", **OPEN)
async def schemas(request: ScimRequest, by: By, scim: TheDocuments) -> Response[Any]:
    """Say what attributes there are."""
    del by
    return answer(_unfiltered(request, listed(list(scim.schemas.values()), len(scim.schemas), 1)))


@get("/Schemas/{name:str}", **OPEN)
async def schema(name: Id, by: By, scim: TheDocuments) -> Response[Any]:
    """Say what attributes one resource has."""
    del by
    return answer(_known(scim.schemas, name))


@get("/Users", **OPEN)
async def list_users(request: ScimRequest, by: By, directory: TheDirectory, scim: TheDocuments) -> Response[Any]:
    """List users."""
    del by
    asked, wanted = page(request), wanted_attributes(request, User)
    where = filters.condition(asked.filter, filters.USERS) if asked.filter else None
    found = await directory.users(where, asked.start, asked.count)
    written = await asyncio.to_thread(lambda: [scim.user(each, wanted) for each in found.resources])
    return answer(listed(written, found.total, found.start))


@post("/Users", **OPEN)
async def create_user(request: ScimRequest, by: By, directory: TheDirectory, scim: TheDocuments) -> Response[Any]:
    """Add a user."""
    wanted = wanted_attributes(request, User)
    stored = await directory.create_user(_read(User, await json_body(request)), by)
    document = scim.user(stored, wanted)
    return answer(document, 201, etag=stored.etag, location=_location(scim, "Users", stored.id))


@get("/Users/{resource_id:str}", **OPEN)
async def show_user(
    request: ScimRequest, resource_id: Id, by: By, directory: TheDirectory, scim: TheDocuments
) -> Response[Any]:
    """Show a user."""
    del by
    wanted = wanted_attributes(request, User)
    stored = await directory.user(resource_id)
    if has_it_already(request, stored.etag):
        return answer(None, 304, etag=stored.etag)
    return answer(scim.user(stored, wanted), etag=stored.etag)


@put("/Users/{resource_id:str}", **OPEN)
async def replace_user(
    request: ScimRequest, resource_id: Id, by: By, directory: TheDirectory, scim: TheDocuments
) -> Response[Any]:
    """Replace a user."""
    wanted = wanted_attributes(request, User)
    user = _read(User, await json_body(request), Context.RESOURCE_REPLACEMENT_REQUEST)
    stored = await directory.replace_user(resource_id, user, if_match(request), by)
    return answer(scim.user(stored, wanted), etag=stored.etag)


@patch("/Users/{resource_id:str}", **OPEN)
async def patch_user(
    request: ScimRequest, resource_id: Id, by: By, directory: TheDirectory, scim: TheDocuments
) -> Response[Any]:
    """Change a user."""
    wanted = wanted_attributes(request, User)
    change = await asyncio.to_thread(patch_of_user, await json_body(request))
    stored = await directory.patch_user(resource_id, change, if_match(request), by)
    return answer(scim.user(stored, wanted), etag=stored.etag)


@delete("/Users/{resource_id:str}", **OPEN, status_code=204)
async def delete_user(request: ScimRequest, resource_id: Id, by: By, directory: TheDirectory) -> None:
    """Remove a user."""
    await directory.delete_user(resource_id, if_match(request), by)


@get("/Groups", **OPEN)
async def list_groups(request: ScimRequest, by: By, directory: TheDirectory, scim: TheDocuments) -> Response[Any]:
    """List groups."""
    del by
    asked, wanted = page(request), wanted_attributes(request, Group)
    where = filters.condition(asked.filter, filters.GROUPS) if asked.filter else None
    found = await directory.groups(where, asked.start, asked.count, members=wants_members(wanted))
    written = await asyncio.to_thread(lambda: [scim.group(each, wanted) for each in found.resources])
    return answer(listed(written, found.total, found.start))


@post("/Groups", **OPEN)
async def create_group(request: ScimRequest, by: By, directory: TheDirectory, scim: TheDocuments) -> Response[Any]:
    """Add a group."""
    wanted = wanted_attributes(request, Group)
    body, members = split_members(await json_body(request))
    stored = await directory.create_group(_read(Group, body), members, by)
    document = scim.group(stored, wanted)
    return answer(document, 201, etag=stored.etag, location=_location(scim, "Groups", stored.id))


@get("/Groups/{resource_id:str}", **OPEN)
async def show_group(
    request: ScimRequest, resource_id: Id, by: By, directory: TheDirectory, scim: TheDocuments
) -> Response[Any]:
    """Show a group."""
    del by
    wanted = wanted_attributes(request, Group)
    stored = await directory.group(resource_id, members=wants_members(wanted))
    if has_it_already(request, stored.etag):
        return answer(None, 304, etag=stored.etag)
    return answer(scim.group(stored, wanted), etag=stored.etag)


@put("/Groups/{resource_id:str}", **OPEN)
async def replace_group(
    request: ScimRequest, resource_id: Id, by: By, directory: TheDirectory, scim: TheDocuments
) -> Response[Any]:
    """Replace a group, its members included."""
    wanted = wanted_attributes(request, Group)
    body, members = split_members(await json_body(request))
    group = _read(Group, body, Context.RESOURCE_REPLACEMENT_REQUEST)
    stored = await directory.replace_group(resource_id, group, members, if_match(request), by)
    return answer(scim.group(stored, wanted), etag=stored.etag)


@patch("/Groups/{resource_id:str}", **OPEN)
async def patch_group(
    request: ScimRequest, resource_id: Id, by: By, directory: TheDirectory, scim: TheDocuments
) -> Response[Any]:
    """Change a group or who is in it."""
    wanted = wanted_attributes(request, Group)
    change = await asyncio.to_thread(patch_of_group, await json_body(request))
    stored = await directory.patch_group(resource_id, change, if_match(request), by)
    return answer(scim.group(stored, wanted), etag=stored.etag)


@delete("/Groups/{resource_id:str}", **OPEN, status_code=204)
async def delete_group(request: ScimRequest, resource_id: Id, by: By, directory: TheDirectory) -> None:
    """Remove a group."""
    await directory.delete_group(resource_id, if_match(request), by)


@post(["/.search", "/Users/.search", "/Groups/.search", "/Bulk"], **OPEN)
async def not_offered(by: By) -> None:
    """Say that searches by POST and bulk operations are not offered (RFC 7644, sections 3.4.3 and 3.7)."""
    del by
    raise NotImplementedException(detail="This is not offered: see ServiceProviderConfig.")


def _read(model: Any, body: Document, context: Context = Context.RESOURCE_CREATION_REQUEST) -> Any:
    with in_our_words():
        resource = model.model_validate(body, scim_ctx=context, scim_policy=POLICY)
    return bounded(resource)


def _unfiltered(request: ScimRequest, document: Document) -> Document:
    """Return a document of discovery, which knows no filter (RFC 7644, section 4)."""
    if "filter" in request.query_params:
        raise ForbiddenException(detail="This cannot be filtered.")
    return document


def _known(found: dict[str, Document], name: str) -> Document:
    if name not in found:
        raise NotFoundException(detail="There is no such thing.")
    return found[name]


def _location(scim: Documents, endpoint: str, resource_id: str) -> str:
    return f"{scim.base}/{endpoint}/{resource_id}"


def _on_unavailable(request: ScimRequest, error: AuditUnavailableError) -> Response[Any]:
    del error
    problem = AuditUnavailableProblemError("This cannot be recorded now, so nothing was changed.", retry_after=5)
    return respond(request, problem)


scim_router = Router(
    PREFIX,
    route_handlers=[
        service_provider_config,
        resource_types,
        resource_type,
        schemas,
        schema,
        list_users,
        create_user,
        show_user,
        replace_user,
        patch_user,
        delete_user,
        list_groups,
        create_group,
        show_group,
        replace_group,
        patch_group,
        delete_group,
        not_offered,
    ],
    dependencies={"by": Provide(provisioner)},
    exception_handlers={
        SCIMException: documents.on_scim_exception,
        pydantic.ValidationError: documents.on_invalid_value,
        AuditUnavailableError: _on_unavailable,
    },
    include_in_schema=False,
)
