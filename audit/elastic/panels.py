"""The panels of the dashboards: what each asks, as data. `audit.elastic.kibana` writes them as Kibana wants them."""

import msgspec

from audit.elastic.families import AUDIT, CONTENT, DELIVERY, Family

COUNT = "count"


class Metric(msgspec.Struct, frozen=True):
    """What is counted: `count`, or `max | sum | percentile` of a field."""

    of: str = COUNT
    field: str = ""
    percent: int = 0
    label: str = ""


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One question to the records."""

    id: str
    title: str
    look: str
    """`number`, `bars` or `line` over time, `table`."""
    query: str
    """In Kibana's own language: `field : "value"` with `and`, `or`; `field : *` where there must be some value."""
    by: tuple[str, ...] = ()
    """Fields whose values are told apart."""
    metrics: tuple[Metric, ...] = (Metric(label="Records"),)
    family: Family = AUDIT
    width: int = 24
    height: int = 12


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A saved search: documents in a table, newest first."""

    id: str
    title: str
    query: str
    columns: tuple[str, ...]
    family: Family = AUDIT


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """A dashboard: panels from left to right, then listings over the whole width."""

    id: str
    title: str
    description: str
    panels: tuple[Panel, ...]
    listings: tuple[Listing, ...] = ()


_BLOCKED = 'event.action : "turn.blocked"'
_DENIED = 'event.action : "access.denied"'
_CLOSED = 'attest.turn.state : "closed"'
_SAMPLE = 'event.action : "delivery.sample"'
_DEAD = 'event.action : "delivery.dead_letter"'
_BLOCKED_TURNS = (Metric(label="Blocked turns"),)

BLOCKED_TURNS = Listing(
    id="attest-blocked-turns",
    title="Attest: blocked turns",
    query=_BLOCKED,
    columns=("user.id", "attest.turn.group", "event.reason", "attest.turn.stopped_rule", "attest.turn.id"),
)
DENIED_ACCESSES = Listing(
    id="attest-denied-accesses",
    title="Attest: denied accesses",
    query=_DENIED,
    columns=("user.id", "user.roles", "event.reason", "source.address"),
)
READ_TEXTS = Listing(
    id="attest-read-texts",
    title="Attest: who read, searched and exported what",
    query='event.action : "access.read" or event.action : "access.search" or event.action : "access.export"',
    columns=("user.id", "event.action", "attest.turn.id", "attest.detail"),
)
TEXTS = Listing(
    id="attest-texts",
    title="Attest: texts (compliance only)",
    query="attest.search : *",
    columns=("user.id", "event.action", "attest.search"),
    family=CONTENT,
)
DEAD_LETTERS = Listing(
    id="attest-dead-letters",
    title="Attest: dead letters",
    query=_DEAD,
    columns=("attest.dead_letter.id", "attest.dead_letter.sequence", "attest.dead_letter.reason"),
    family=DELIVERY,
)

SECURITY_REVIEW = Board(
    id="attest-security-review",
    title="Attest: security review",
    description="What was stopped, why, and for whom; guards that failed; accesses that were denied. No texts.",
    panels=(
        Panel(
            id="attest-blocked", title="Blocked turns", look="number", query=_BLOCKED, metrics=_BLOCKED_TURNS, width=12,
            height=8,
        ),
        Panel(
            id="attest-closed", title="All turns", look="number", query=_CLOSED, width=12, height=8,
            metrics=(Metric(label="Turns"),),
        ),
        Panel(id="attest-denied", title="Denied accesses", look="number", query=_DENIED, width=12, height=8),
        Panel(
            id="attest-failed-sign-ins", title="Failed sign-ins", look="number", query='event.action : "login.failed"',
            width=12, height=8,
        ),
        Panel(
            id="attest-blocks-by-category", title="Blocks by category", look="bars", query=_BLOCKED,
            by=("attest.turn.stopped_category",), metrics=_BLOCKED_TURNS,
        ),
        Panel(
            id="attest-blocks-by-rule", title="Blocks by rule", look="bars", query=_BLOCKED,
            by=("attest.turn.stopped_rule",), metrics=_BLOCKED_TURNS,
        ),
        Panel(
            id="attest-blocks-by-group", title="Blocks by group", look="bars", query=_BLOCKED,
            by=("attest.turn.group",), metrics=_BLOCKED_TURNS,
        ),
        Panel(
            id="attest-top-blocked-subjects", title="People with most blocked turns", look="table", query=_BLOCKED,
            by=("user.id",), metrics=_BLOCKED_TURNS,
        ),
        Panel(
            id="attest-prompt-attacks", title="Prompt attacks", look="bars",
            query='attest.turn.state : "closed" and attest.turn.stopped_category : "prompt_attack"',
            by=("attest.turn.stopped_rule",), metrics=(Metric(label="Turns"),),
        ),
        Panel(
            id="attest-guard-errors", title="Guard errors", look="bars", query="attest.guard.error : *",
            by=("attest.guard.error",),
        ),
        Panel(
            id="attest-guard-timeouts", title="Guard time-outs", look="bars", query="attest.guard.timed_out : *",
            by=("attest.guard.timed_out",),
        ),
        Panel(
            id="attest-denied-by-person", title="Denied accesses by person and cause", look="table", query=_DENIED,
            by=("user.id", "event.reason"),
        ),
    ),
    listings=(BLOCKED_TURNS, DENIED_ACCESSES),
)  # fmt: skip

OPERATIONS = Board(
    id="attest-operations",
    title="Attest: operations",
    description="Turns, how long they take, and how far delivery is behind.",
    panels=(
        Panel(
            id="attest-turns-over-time", title="Turns by how they ended", look="bars", query=_CLOSED,
            by=("attest.turn.closing_kind",), metrics=(Metric(label="Turns"),),
        ),
        Panel(
            id="attest-turns-by-model", title="Turns by model", look="bars", query=_CLOSED, by=("attest.turn.model",),
            metrics=(Metric(label="Turns"),),
        ),
        Panel(
            id="attest-turn-latency", title="Length of turns (ms)", look="line", query=_CLOSED,
            metrics=(
                Metric("percentile", "attest.answer.duration_ms", 50, "Median"),
                Metric("percentile", "attest.answer.duration_ms", 95, "95 %"),
            ),
        ),
        Panel(
            id="attest-first-release", title="Until the first words (ms)", look="line", query=_CLOSED,
            metrics=(
                Metric("percentile", "attest.answer.first_release_ms", 50, "Median"),
                Metric("percentile", "attest.answer.first_release_ms", 95, "95 %"),
            ),
        ),
        Panel(
            id="attest-tokens", title="Tokens", look="bars", query=_CLOSED,
            metrics=(
                Metric("sum", "gen_ai.usage.input_tokens", 0, "Prompt"),
                Metric("sum", "gen_ai.usage.output_tokens", 0, "Answer"),
            ),
        ),
        Panel(
            id="attest-delivery-lag", title="Delivery lag (s)", look="line", query=_SAMPLE, family=DELIVERY,
            metrics=(Metric("max", "attest.delivery.lag_seconds", 0, "Oldest record"),),
        ),
        Panel(
            id="attest-delivery-pending", title="Records that wait for delivery", look="line", query=_SAMPLE,
            family=DELIVERY, metrics=(Metric("max", "attest.delivery.pending", 0, "Records"),),
        ),
        Panel(
            id="attest-dead-letters-over-time", title="Dead letters", look="line", query=_SAMPLE, family=DELIVERY,
            metrics=(Metric("max", "attest.delivery.dead_letters", 0, "Dead letters"),),
        ),
        Panel(
            id="attest-dead-letters-by-reason", title="Dead letters by reason", look="table", query=_DEAD,
            family=DELIVERY, by=("attest.dead_letter.reason",),
        ),
    ),
    listings=(DEAD_LETTERS,),
)  # fmt: skip

BOARDS = (SECURITY_REVIEW, OPERATIONS)
LISTINGS = (BLOCKED_TURNS, DENIED_ACCESSES, READ_TEXTS, TEXTS, DEAD_LETTERS)
