"""What the routes under `/api/audit` take.

Read by hand: whatever is refused must be on record, and a filter with a typing error must not become no filter.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from litestar import Request
from litestar.openapi.spec import Operation, Parameter, Schema
from litestar.openapi.spec.enums import OpenAPIType

from audit.record import Kind
from audit.search.ports import MOST_ON_A_PAGE
from audit.search.query import TEXT_FIELDS, Order, TurnQuery
from audit.search.records import ACCESS_KINDS, RecordQuery
from gateway.inquiry.officer import PURPOSE_LIMIT, Officer
from gateway.inquiry.refusals import officer_of
from gateway.problems import BadRequestError

AuditRequest = Request[Any, Any, Any]

PAGE = 50
PURPOSE_HEADER = "x-attest-purpose"
BARS = {"minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_PURPOSE = re.compile(r"[^\W_][^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]*")
_NUMBER = re.compile("[0-9]{1,9}")

FILTERS = {
    "subject": "the person's subject at the identity provider",
    "group": "group of the person, as the provider names it",
    "role": "role of the person",
    "conversation_id": "conversation",
    "verdict": "allow, flag, redact, pseudonymise, escalate, block or refused",
    "category": "category of a finding",
    "rule": "rule of a finding",
    "model": "model that was asked for",
    "since": "turns opened then or later; RFC 3339 with a zone",
    "until": "turns opened before then",
    "text": "words one after another, or any Chinese string, in a text of the turn; role compliance, with a purpose",
    "order": "newest (default) or oldest first",
}
PURPOSE = {"purpose": "case number, where texts are searched or shown; also as header X-Attest-Purpose"}
PAGING = {"limit": f"most on a page, 1 to {MOST_ON_A_PAGE}; default {PAGE}", "cursor": "`next` of the page before"}
CONTENT = {"content": "true: with texts; role compliance, with a purpose. Default: false"}
FORMAT = {"format": "ndjson (default), csv or bundle"}
INTERVAL = {"interval": "length of a bar: minute, hour, day (default) or week"}
RECORDS = {
    "kind": "kinds of records, with commas; default: every kind of access",
    "officer": "who did it",
    "subject": "about whom it was",
    "since": "then or later; RFC 3339 with a zone",
    "until": "before then",
    "order": "newest (default) or oldest first",
}


@dataclass
class Described(Operation):
    """An operation whose parameters are read by hand, and described here."""

    described: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self) -> None:
        """Add the parameters."""
        self.parameters = [
            *(self.parameters or ()),
            *(
                Parameter(name=name, param_in="query", description=text, schema=Schema(type=OpenAPIType.STRING))
                for name, text in self.described.items()
            ),
        ]


@dataclass
class FindOperation(Described):
    """`GET /api/audit/turns`."""

    described: ClassVar[Mapping[str, str]] = FILTERS | PAGING | PURPOSE


@dataclass
class ShowOperation(Described):
    """`GET /api/audit/turns/{turn_id}`."""

    described: ClassVar[Mapping[str, str]] = CONTENT | PURPOSE


@dataclass
class CountOperation(Described):
    """`GET /api/audit/facets`."""

    described: ClassVar[Mapping[str, str]] = {
        name: text for name, text in (FILTERS | INTERVAL | PURPOSE).items() if name not in {"text", "order"}
    }


@dataclass
class RecordsOperation(Described):
    """`GET /api/audit/records`."""

    described: ClassVar[Mapping[str, str]] = RECORDS | PAGING | PURPOSE


@dataclass
class ExportOperation(Described):
    """`GET /api/audit/export`."""

    described: ClassVar[Mapping[str, str]] = FORMAT | CONTENT | FILTERS | PURPOSE


class Asked:
    """The parameters of one request: each known, each given once."""

    def __init__(self, request: AuditRequest, operation: type[Described]) -> None:
        """Raise `BadRequestError` for others."""
        pairs = list(request.query_params.multi_items())
        names = [name for name, _ in pairs]
        if not set(names) <= set(operation.described):
            raise BadRequestError(f"An unknown parameter. Known are: {', '.join(sorted(operation.described))}.")
        if len(set(names)) < len(names):
            raise BadRequestError("A parameter is given twice.")
        self._values = dict(pairs)
        self._request = request

    def text(self, name: str) -> str:
        """Return a parameter as it is; empty where it is not given."""
        return str(self._values.get(name, ""))

    def choice(self, name: str, known: Mapping[str, Any], default: str) -> Any:
        """Return what a word stands for."""
        word = self.text(name) or default
        if word not in known:
            raise BadRequestError(f"{name}: must be one of {', '.join(known)}.")
        return known[word]

    def moment(self, name: str) -> datetime | None:
        """Return a time in UTC."""
        return moment_of(name, self.text(name))

    def limit(self) -> int:
        """Return how many there may be on a page."""
        word = self.text("limit") or str(PAGE)
        if not _NUMBER.fullmatch(word) or not 1 <= int(word) <= MOST_ON_A_PAGE:
            raise BadRequestError(f"limit: must be a number from 1 to {MOST_ON_A_PAGE}.")
        return int(word)

    def content(self) -> bool:
        """Return whether texts are wanted."""
        wanted: bool = self.choice("content", {"true": True, "false": False}, "false")
        return wanted

    def order(self, default: Order = Order.NEWEST) -> Order:
        """Return the order."""
        order: Order = self.choice("order", {one.value: one for one in Order}, default.value)
        return order

    def turns(self, default: Order = Order.NEWEST) -> TurnQuery:
        """Return the filters of turns."""
        values: dict[str, Any] = {name: self.text(name) for name in TEXT_FIELDS}
        return TurnQuery(**values, since=self.moment("since"), until=self.moment("until"), order=self.order(default))

    def records(self) -> RecordQuery:
        """Return the filters of records."""
        known = {kind.value: kind for kind in Kind}
        words = [word for word in self.text("kind").split(",") if word]
        if not set(words) <= set(known):
            raise BadRequestError("kind: must be kinds of records, with commas between them.")
        return RecordQuery(
            kinds=tuple(known[word] for word in words) or ACCESS_KINDS,
            officer=self.text("officer"),
            subject=self.text("subject"),
            since=self.moment("since"),
            until=self.moment("until"),
            order=self.order(),
        )

    def officer(self) -> Officer:
        """Return who asks, and for which case."""
        return officer_of(self._request, purpose_of(self._request, self.text("purpose")))


def moment_of(name: str, text: str) -> datetime | None:
    """Return a time in UTC; None for an empty text. Raises `BadRequestError`."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise BadRequestError(f"{name}: must be a time with its zone, such as 2026-11-20T08:00:00Z (a + is written %2B).")


def purpose_of(request: AuditRequest, given: str) -> str:
    """Return the case number of header or parameter; empty where there is none. Raises `BadRequestError`."""
    header = request.headers.get(PURPOSE_HEADER, "")
    try:
        header = header.encode("latin-1").decode("utf-8").strip()
    except UnicodeError:
        raise BadRequestError("X-Attest-Purpose: must be UTF-8.") from None
    if header and given and header != given:
        raise BadRequestError("purpose: header and parameter differ.")
    purpose = header or given.strip()
    if purpose and (len(purpose) > PURPOSE_LIMIT or not _PURPOSE.fullmatch(purpose)):
        raise BadRequestError(
            f"purpose: a case number of at most {PURPOSE_LIMIT} characters that begins with a letter or digit."
        )
    return purpose
