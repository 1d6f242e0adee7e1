"""Keys of service accounts: made, rotated and revoked by administrators. A key is on one page, once."""

import time
from collections.abc import Collection
from typing import Any, Literal

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import SkipValidation, URLEncodedBody
from litestar.response import Response

from audit.governing import GoverningError, UnknownError
from audit.ports import AuditUnavailableError
from gateway.auth.access import recorded_for
from gateway.auth.principal import Principal, Role
from gateway.console.section import Group, Part, Section
from gateway.console.shell import ConsoleRequest, console_page
from gateway.keys.registry import ApiKeys, Made, NewKey
from gateway.models import ModelCatalogue
from gateway.problems import AttestError, AuditUnavailableProblemError, BadRequestError, ForbiddenError, NotFoundError
from gateway.web.pages import Pages

SECTION = Section(
    path="/console/api-keys", title="console.keys.title", icon="key", roles=(Role.ADMIN,), group=Group.ADMIN
)
DAYS = 90
OVERLAP_S = 86_400

TheKeys = NamedDependency[SkipValidation[ApiKeys]]
TheModels = NamedDependency[SkipValidation[ModelCatalogue]]


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key to make, to rotate or to revoke."""

    action: Literal["create", "rotate", "revoke"]
    key_id: str = ""
    name: str = ""
    role: list[str] | str = msgspec.field(default_factory=list)
    model: list[str] | str = msgspec.field(default_factory=list)
    days: str = str(DAYS)

    def wanted(self) -> NewKey:
        """Return the key to make. Raises `BadRequestError`."""
        try:
            roles = tuple(Role(role) for role in _several(self.role))
        except ValueError:
            raise BadRequestError("role: there is no such role.") from None
        return NewKey(self.name, roles, _several(self.model), self.lifetime())

    def lifetime(self) -> int:
        """Return the days that a key lives. Raises `BadRequestError`."""
        if not (self.days.isascii() and self.days.isdigit() and len(self.days) <= 4):  # noqa: PLR2004 - digits
            raise BadRequestError("days: is no number.")
        return int(self.days)


@get(SECTION.path, **recorded_for(*SECTION.roles), include_in_schema=False)
async def keys_page(
    request: ConsoleRequest, pages: NamedDependency[Pages], keys: TheKeys, catalogue: TheModels
) -> Response[str]:
    """Show every key."""
    return await _page(request, pages, keys, catalogue, None)


@post(SECTION.path, **recorded_for(*SECTION.roles), include_in_schema=False, status_code=200)
async def key_changed(
    request: ConsoleRequest,
    data: URLEncodedBody[Change],
    pages: NamedDependency[Pages],
    keys: TheKeys,
    catalogue: TheModels,
) -> Response[str]:
    """Make, rotate or revoke a key; a new one is in this answer and nowhere else."""
    by, made = request.user.subject, None
    try:
        if data.action == "create":
            wanted = data.wanted()
            _check_given(request, wanted.roles)
            made = await keys.create(wanted, by)
        elif data.action == "rotate":
            _check_given(request, (await keys.key(data.key_id)).roles)
            made = await keys.rotate(data.key_id, by, days=data.lifetime(), overlap_s=OVERLAP_S)
        else:
            await keys.revoke(data.key_id, by)
    except UnknownError as error:
        raise NotFoundError(str(error)) from None
    except GoverningError as error:
        raise BadRequestError(str(error)) from None
    except AuditUnavailableError:
        raise AuditUnavailableProblemError(
            "This cannot be recorded now, so nothing was changed.", retry_after=5
        ) from None
    return await _page(request, pages, keys, catalogue, made)


def _given(request: ConsoleRequest) -> frozenset[Role]:
    """Return the roles that an administrator gives a key: their own, and those that read nobody's texts.

    Otherwise an administrator would read with a key what is not theirs to read. Other keys are made by command.
    """
    principal: Principal = request.user
    return principal.roles | {Role.STAFF, Role.PROVISIONING}


def _check_given(request: ConsoleRequest, roles: Collection[str]) -> None:
    if not _given(request).issuperset(roles):
        raise ForbiddenError("A key has roles of whoever makes it; others are given with attest api-keys.")


async def _page(
    request: ConsoleRequest, pages: Pages, keys: ApiKeys, catalogue: ModelCatalogue, made: Made | None
) -> Response[str]:
    try:
        models = list(await catalogue.offers())
    except AttestError:  # without the inference tier a key can still be revoked
        models = []
    listed, now = await keys.listed(), int(time.time())
    response = await console_page(
        request, pages, SECTION, "console/api_keys.html",
        keys=listed, made=made, models=models, days=DAYS,
        roles=[role.value for role in Role if role in _given(request)],
        mine={key.key_id for key in listed if _given(request).issuperset(key.roles)},
        states={key.key_id: key.state(now) for key in listed},
    )  # fmt: skip
    response.headers["cache-control"] = "no-store"
    return response


def _several(value: Any) -> tuple[str, ...]:
    return tuple([value] if isinstance(value, str) else value)


PART = Part(SECTION, (keys_page, key_changed))
