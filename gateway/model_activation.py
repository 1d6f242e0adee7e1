"""`model.activated`: which version answers whom from when on, once for each change, before the first turn."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from audit.ports import AuditLog
from audit.record import Entry, Kind
from inference.ports import ModelInfo
from inference.versions import Stage, State

SUBJECT = "attest"
_MOST = 1_000_000

Detail = dict[str, str | int | float | bool]


class Use(msgspec.Struct, frozen=True):
    """A version in use, and for whom."""

    version: str
    revision: str
    percent: int = 100
    groups: tuple[str, ...] = ()


class Offer(msgspec.Struct, frozen=True):
    """A model as people may ask for it, and the versions that answer."""

    model: str
    active: Use
    canary: Use | None = None
    mirror: Use | None = None

    @property
    def detail(self) -> Detail:
        """What of it stands in a record's `detail`; equal for equal offers."""
        found: Detail = {"version": self.active.version}
        if self.canary is not None:
            found |= {"canary": self.canary.version, "canary_revision": self.canary.revision}
            found |= {"canary_percent": self.canary.percent, "canary_groups": ", ".join(self.canary.groups)}
        if self.mirror is not None:
            found |= {"mirror": self.mirror.version, "mirror_revision": self.mirror.revision}
            found |= {"mirror_percent": self.mirror.percent}
        return found


def offer_of_state(state: State) -> Offer:
    """Return what a registry offers; it must have an active version."""
    canary, mirror = state.canary, state.mirror
    return Offer(
        model=state.model,
        active=Use(state.active, state.find(state.active).revision),
        canary=Use(canary.version, state.find(canary.version).revision, canary.percent, canary.groups)
        if canary
        else None,
        mirror=Use(mirror.version, state.find(mirror.version).revision, mirror.percent) if mirror else None,
    )


def offers_of_models(models: Iterable[ModelInfo]) -> dict[str, Offer]:
    """Return what an endpoint offers, by the name to ask for, in its order. A model without versions is one itself."""
    found: dict[str, Offer] = {}
    staged: dict[str, dict[str, ModelInfo]] = {}
    for model in models:
        if model.model:
            staged.setdefault(model.model, {})[model.stage] = model
        else:
            found[model.name] = Offer(model.name, Use(model.name, model.revision))
    for name, stages in staged.items():
        if (active := stages.get(Stage.ACTIVE)) is not None:
            canary, mirror = stages.get(Stage.CANARY), stages.get(Stage.MIRROR)
            found[name] = Offer(
                model=name,
                active=Use(active.name, active.revision),
                canary=Use(canary.name, canary.revision, canary.percent, canary.groups) if canary else None,
                mirror=Use(mirror.name, mirror.revision, mirror.percent) if mirror else None,
            )
    return found


def activation(offer: Offer, action: str, subject: str, previous: str = "", surface: str = "") -> Entry:
    """Return the record of a change; `previous` is the revision that answered before."""
    return Entry(
        kind=Kind.MODEL_ACTIVATED,
        at=datetime.now(UTC),
        subject=subject,
        surface=surface,
        model=offer.model,
        model_revision=offer.active.revision,
        detail=offer.detail | {"action": action, "previous": previous},
    )


class ModelActivations:
    """Sees to it that what the tier offers is on record before it is used, whoever changed it."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._recorded: dict[str, Offer] = {}
        self._writing = asyncio.Lock()

    async def ensure(self, offer: Offer) -> None:
        """Record the offer unless the last record of this model says the same. Raises `AuditUnavailableError`.

        Gateways side by side may both record a change.
        """
        if self._recorded.get(offer.model) == offer:
            return
        async with self._writing:
            if self._recorded.get(offer.model) == offer:
                return
            last: Entry | None = None
            async for entry in self._audit.entries((Kind.MODEL_ACTIVATED.value,), _MOST):
                last = entry if entry.model == offer.model else last
            if last is None or not _says(last, offer):
                await self._audit.append(activation(offer, "found", SUBJECT, last.model_revision if last else ""))
            self._recorded[offer.model] = offer


def _says(entry: Entry, offer: Offer) -> bool:
    said = {name: value for name, value in entry.detail.items() if name not in ("action", "previous", "removed")}
    return entry.model_revision == offer.active.revision and said == offer.detail
