"""Which models the inference tier offers, without asking it for every turn, and which version answers whom."""

import asyncio
import hashlib
import time
from typing import Protocol

import msgspec

from gateway.auth.principal import Principal
from gateway.model_activation import ModelActivations, Offer, Use, offers_of_models
from gateway.problems import InferenceUnavailableError, NotFoundError
from inference.ports import ChatModel, InferenceError, ModelInfo

FRESH_S = 2.0
PATIENCE_S = 5.0


class ModelCatalogue:
    """The models on offer and their exact revisions, asked for again when older than two seconds."""

    def __init__(self, model: ChatModel, preferred: str = "") -> None:
        self._model = model
        self._preferred = preferred
        self._models: tuple[ModelInfo, ...] = ()
        self._offers: dict[str, Offer] = {}
        self._at = float("-inf")
        self._asking: asyncio.Task[tuple[ModelInfo, ...]] | None = None

    async def refresh(self) -> tuple[ModelInfo, ...]:
        """Ask the inference tier now. Raises `InferenceUnavailableError`."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                self._models = await self._model.models()
        except (InferenceError, TimeoutError) as error:
            self._at = float("-inf")
            raise InferenceUnavailableError(retry_after=5) from error
        self._offers = offers_of_models(self._models)
        self._at = time.monotonic()
        return self._models

    async def offers(self) -> dict[str, Offer]:
        """Return the models on offer by name, at most two seconds old. Raises `InferenceUnavailableError`.

        Whoever comes while the tier is asked has the same answer, also that it gives none: nobody waits in line.
        """
        if time.monotonic() - self._at > FRESH_S:
            if self._asking is None:
                self._asking = asyncio.create_task(self.refresh())
                self._asking.add_done_callback(self._asked)
            await asyncio.shield(self._asking)
        return self._offers

    def _asked(self, asking: asyncio.Task[tuple[ModelInfo, ...]]) -> None:
        self._asking = None
        if not asking.cancelled():
            asking.exception()  # whoever waited has it; perhaps nobody does any more

    async def resolve(self, name: str) -> str:
        """Return the name of a model on offer: `name` itself, or the default when it is empty.

        Raises `NotFoundError` when there is no such model.
        """
        offers = await self.offers()
        wanted = name or self._preferred or next(iter(offers), "")
        if wanted not in offers:
            raise NotFoundError("There is no model of that name; /v1/models lists those on offer.")
        return wanted

    def stops_words(self, version: str) -> bool:
        """Say whether answers of a version are stopped at forbidden words, as last heard."""
        return any(model.stops_words for model in self._models if model.name == version)

    def context(self, name: str) -> int:
        """Return the most tokens, prompt and answer, that all versions of a model take, as last heard; 0: not said."""
        said = [model.context for model in self._models if name in (model.name, model.model) and model.context]
        return min(said, default=0)

    def forget(self) -> None:
        """Ask again at the next turn: the tier did not answer as the list said."""
        self._at = float("-inf")


class Route(msgspec.Struct, frozen=True):
    """Which version answers a turn."""

    use: Use
    canary: bool = False
    mirror: Use | None = None
    """The version that answers the turn a second time, for the record alone."""
    stops_words: bool = False
    """Whether the tier stops an answer at forbidden words while it decodes."""


class Routes(Protocol):
    """Chooses which version of a model answers a turn."""

    async def route(self, model: str, principal: Principal, turn_id: str) -> Route:
        """Return the version. Raises `AttestError` or `AuditUnavailableError`."""

    def misled(self) -> None:
        """Note that other weights answered than those that were chosen."""


class ModelRoutes:
    """Chooses the version for each turn, once its being in use is on record."""

    def __init__(self, catalogue: ModelCatalogue, activations: ModelActivations) -> None:
        self._catalogue = catalogue
        self._activations = activations

    async def route(self, model: str, principal: Principal, turn_id: str) -> Route:
        """Return the version for a turn. Raises `AttestError` (no such model, tier down) or `AuditUnavailableError`."""
        offer = (await self._catalogue.offers()).get(model)
        if offer is None:
            raise NotFoundError("There is no model of that name; /v1/models lists those on offer.")
        await self._activations.ensure(offer)
        route = choose(offer, principal, turn_id)
        return msgspec.structs.replace(route, stops_words=self._catalogue.stops_words(route.use.version))

    def misled(self) -> None:
        """Note that another revision answered than the list said."""
        self._catalogue.forget()


def choose(offer: Offer, principal: Principal, turn_id: str) -> Route:
    """Return who answers: the canary its groups and its share of the people, always the same people; pure."""
    canary, mirror = offer.canary, offer.mirror
    taken = canary is not None and (
        not set(canary.groups).isdisjoint(principal.groups)
        or _place(canary.revision, principal.subject) < canary.percent
    )
    return Route(
        use=canary if taken and canary is not None else offer.active,
        canary=taken,
        mirror=mirror if mirror is not None and _place(mirror.revision, turn_id) < mirror.percent else None,
    )


def _place(revision: str, of: str) -> int:
    """Return a number from 0 to 99 that is always the same for the same two."""
    digest = hashlib.sha256(f"{revision}\0{of}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8]) % 100
