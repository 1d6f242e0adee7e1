"""`/usage`: what a person used and what is left of the budgets; as a page and as CSV."""

from datetime import UTC, datetime
from typing import Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from litestar.response import Response

from gateway.auth.access import open_to
from gateway.auth.principal import Principal, Role
from gateway.usage.allowance import Allowances, described
from gateway.usage.report import UsageReport, as_csv
from gateway.web.pages import Pages

UsageRequest = Request[Any, Any, Any]


@get("/usage", **open_to(Role.STAFF), include_in_schema=False)
async def usage_page(
    request: UsageRequest,
    pages: NamedDependency[Pages],
    allowances: NamedDependency[SkipValidation[Allowances]],
    usage: NamedDependency[SkipValidation[UsageReport]],
) -> Response[str]:
    """Show a person's own usage of the last 31 days, and the budgets that it counts against."""
    principal: Principal = request.user
    today = allowances.budgets.today(datetime.now(UTC))
    return pages.view(request).page(
        "usage/own.html",
        budgets=await budgets_of(allowances, principal),
        rows=await usage.of_person(principal.subject, today),
        zone=allowances.budgets.file.zone,
        warn_at=allowances.budgets.file.warn_at * 100,
    )


@get("/usage.csv", **open_to(Role.STAFF), tags=["usage"], media_type="text/csv")
async def usage_csv(
    request: UsageRequest,
    allowances: NamedDependency[SkipValidation[Allowances]],
    usage: NamedDependency[SkipValidation[UsageReport]],
) -> Response[str]:
    """Return the same days as a file."""
    principal: Principal = request.user
    rows = await usage.of_person(principal.subject, allowances.budgets.today(datetime.now(UTC)))
    return csv_response(as_csv(rows), "attest-usage.csv")


async def budgets_of(allowances: Allowances, principal: Principal) -> list[dict[str, object]]:
    """Return each limit with what counts against it, for a template."""
    found: list[dict[str, object]] = []
    for charge, tokens, turns in await allowances.used(principal):
        for unit, limit, used in (("tokens", charge.tokens, tokens), ("turns", charge.turns, turns)):
            if limit is not None:
                percent = 100 if limit == 0 else min(100, used * 100 // limit)
                resets = allowances.budgets.resets_at(charge.counter.period).strftime("%Y-%m-%d %H:%M")
                line = {"unit": unit, "limit": limit, "used": used, "percent": percent, "resets": resets}
                found.append({**described(charge), **line})
    return found


def csv_response(text: str, name: str) -> Response[str]:
    """Return a file."""
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)


usage_routes = [usage_page, usage_csv]
