"""Usage: what people and groups used in a day or month; as a page and as CSV."""

import re
from datetime import UTC, datetime

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromQuery, SkipValidation
from litestar.response import Response

from gateway.auth.access import recorded_for
from gateway.auth.principal import Role
from gateway.console.section import Group, Part, Section
from gateway.console.shell import ConsoleRequest, address, console_page
from gateway.http.usage import csv_response
from gateway.problems import BadRequestError
from gateway.usage.allowance import Allowances
from gateway.usage.budget import GROUP, PERSON
from gateway.usage.report import UsageReport, as_csv
from gateway.web.pages import Pages

SECTION = Section(
    path="/console/usage", title="console.usage.title", icon="gauge", roles=(Role.ADMIN,), group=Group.ADMIN
)
SHOWN = 200
_PERIOD = re.compile(r"[0-9]{4}-[0-9]{2}(-[0-9]{2})?")

TheAllowances = NamedDependency[SkipValidation[Allowances]]
TheReport = NamedDependency[SkipValidation[UsageReport]]


@get(SECTION.path, **recorded_for(*SECTION.roles), include_in_schema=False)
async def usage_page(
    request: ConsoleRequest,
    pages: NamedDependency[Pages],
    allowances: TheAllowances,
    usage: TheReport,
    of: FromQuery[str] = PERSON,
    period: FromQuery[str] = "",
) -> Response[str]:
    """Show who used most."""
    period = _checked(of, period) or _month(allowances)
    rows = await usage.of_all(of, period)
    values = {"of": of, "period": period}
    return await console_page(
        request, pages, SECTION, "console/usage.html",
        rows=rows[:SHOWN], count=len(rows), of=of, period=period, zone=allowances.budgets.file.zone,
        csv=address(f"{SECTION.path}.csv", values),
    )  # fmt: skip


@get(SECTION.path + ".csv", **recorded_for(*SECTION.roles), include_in_schema=False, media_type="text/csv")
async def usage_csv(
    allowances: TheAllowances, usage: TheReport, of: FromQuery[str] = PERSON, period: FromQuery[str] = ""
) -> Response[str]:
    """Return all of it as a file."""
    period = _checked(of, period) or _month(allowances)
    return csv_response(as_csv(await usage.of_all(of, period)), f"attest-usage-{of}-{period}.csv")


def _checked(of: str, period: str) -> str:
    if of not in (PERSON, GROUP):
        raise BadRequestError("of: is person or group.")
    if period and not _PERIOD.fullmatch(period):
        raise BadRequestError("period: is a day (2026-11-28) or a month (2026-11).")
    return period


def _month(allowances: Allowances) -> str:
    return allowances.budgets.today(datetime.now(UTC))[: len("2026-11")]


PART = Part(SECTION, (usage_page, usage_csv))
