"""What a provisioning client is sent."""

from collections.abc import Sequence
from typing import Any

from litestar import Response
from pydantic import ValidationError
from scim2_models import Context, Error, Meta, Resource, ResponseParameters, SCIMException

from audit.governing import moment
from gateway.http.errors import SCIM_JSON
from gateway.problems import BadRequestError
from gateway.scim.asking import ScimRequest
from gateway.scim.resources import Group, User, service
from gateway.scim.stored import Stored

PREFIX = "/scim/v2"
_LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"

Document = dict[str, Any]


class Documents:
    """Writes resources with the addresses at which they stand."""

    def __init__(self, base_url: str) -> None:
        self.base = base_url + PREFIX
        provider = service()
        if provider.config is None:
            raise ValueError("the service has no configuration")
        self.config = self._discovered(provider.config, "ServiceProviderConfig", "")
        self.resource_types = {
            str(each.id): self._discovered(each, "ResourceType", f"/ResourceTypes/{each.id}")
            for each in provider.resource_types
        }
        self.schemas = {
            str(each.id): self._discovered(each, "Schema", f"/Schemas/{each.id}") for each in provider.schemas
        }

    def user(self, stored: Stored[User], wanted: ResponseParameters[User] | None = None) -> Document:
        """Return a user as it is sent."""
        return self._resource(stored, "User", wanted)

    def group(self, stored: Stored[Group], wanted: ResponseParameters[Group] | None = None) -> Document:
        """Return a group as it is sent."""
        document = self._resource(stored, "Group", wanted)
        if stored.members and wants_members(wanted):
            document["members"] = [
                {"value": user_id, "$ref": f"{self.base}/Users/{user_id}", "type": "User"} for user_id in stored.members
            ]
        return document

    def _resource(self, stored: Stored[Any], kind: str, wanted: ResponseParameters[Any] | None) -> Document:
        meta = Meta(
            resource_type=kind,
            created=moment(stored.created_us),
            last_modified=moment(stored.changed_us),
            location=f"{self.base}/{kind}s/{stored.id}",
            version=stored.etag,
        )
        resource = stored.resource.model_copy(update={"meta": meta})
        document: Document = resource.model_dump(scim_ctx=Context.RESOURCE_QUERY_RESPONSE, response_parameters=wanted)
        return document

    def _discovered(self, resource: Resource[Any], kind: str, path: str) -> Document:
        location = self.base + (path or f"/{kind}")
        resource.meta = Meta(resource_type=kind, location=location)
        document: Document = resource.model_dump(scim_ctx=Context.RESOURCE_QUERY_RESPONSE)
        return document


def wants_members(wanted: ResponseParameters[Any] | None) -> bool:
    """Whether the members of a group are to be sent: they are, unless something else is asked for."""
    if wanted is None:
        return True
    if wanted.attributes:
        return any(_is_members(str(each)) for each in wanted.attributes)
    return not any(_is_members(str(each)) for each in wanted.excluded_attributes or ())


def listed(documents: Sequence[Document], total: int, start: int) -> Document:
    """Return a page of resources (RFC 7644, section 3.4.2)."""
    return {
        "schemas": [_LIST],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": len(documents),
        "Resources": list(documents),
    }


def answer(document: Document | None, status: int = 200, *, etag: str = "", location: str = "") -> Response[Any]:
    """Return a document as a response; None: without a body."""
    headers = {"cache-control": "no-store"}
    headers |= {"etag": etag} if etag else {}
    headers |= {"location": location} if location else {}
    return Response(document, status_code=status, headers=headers, media_type=SCIM_JSON)


def on_scim_exception(_: ScimRequest, error: SCIMException) -> Response[Any]:
    """Answer an error of the protocol (RFC 7644, section 3.12)."""
    document = Error(status=error.status, scim_type=error.scim_type or None, detail=error.detail)
    return answer(document.model_dump(), error.status)


def on_invalid_value(_: ScimRequest, error: ValidationError) -> Response[Any]:
    """Answer what the models refuse: which attribute, and nothing of its value."""
    first = error.errors(include_input=False, include_url=False)[0]
    named = ".".join(part for part in first["loc"] if isinstance(part, str) and part.isalnum())
    found = Error.from_validation_error(first)
    detail = f"Wrong or missing: {named}" if named else "A value is wrong or missing."
    status = found.status or BadRequestError.status
    return answer(Error(status=status, scim_type=found.scim_type, detail=detail).model_dump(), status)


def _is_members(name: str) -> bool:
    bare = name.lower().removeprefix("urn:ietf:params:scim:schemas:core:2.0:group:")
    return bare == "members" or bare.startswith("members.")
