"""`/health/*` and `/metrics`: what an operator's probes ask."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from gateway.auth.access import PUBLIC
from gateway.problems import NotFoundError
from gateway.telemetry import Telemetry

CHECK_S = 5.0


class Check(msgspec.Struct, frozen=True):
    """One thing that a turn needs."""

    name: str
    ok: bool


class Health(msgspec.Struct, frozen=True):
    """Answer of the health addresses."""

    status: str
    checks: tuple[Check, ...] = ()


class Readiness:
    """Everything that a turn needs, each asked for real: ready means that a turn would succeed now."""

    def __init__(self, checks: dict[str, Callable[[], Awaitable[object]]]) -> None:
        self._checks = checks

    async def look(self) -> Health:
        """Ask every part at the same time; one that raises, says False or is silent for 5 s is not ready."""
        names = list(self._checks)
        oks = await asyncio.gather(*(self._ask(self._checks[name]) for name in names))
        status = "ready" if all(oks) else "not ready"
        return Health(status, tuple(Check(name, ok) for name, ok in zip(names, oks, strict=True)))

    async def _ask(self, check: Callable[[], Awaitable[object]]) -> bool:
        try:
            async with asyncio.timeout(CHECK_S):
                return await check() is not False
        except Exception:  # noqa: BLE001 - whatever it is, this part is not ready
            return False


@get("/health/live", **PUBLIC, tags=["operations"], sync_to_thread=False)
def live() -> Health:
    """Say that the process answers."""
    return Health("live")


@get("/health/ready", **PUBLIC, tags=["operations"])
async def ready(readiness: NamedDependency[SkipValidation[Readiness]]) -> Response[Health]:
    """Answer 200 only when a turn would succeed; otherwise 503, naming what is missing."""
    health = await readiness.look()
    return Response(health, status_code=200 if health.status == "ready" else 503)


@get("/metrics", **PUBLIC, tags=["operations"], sync_to_thread=False)
def metrics(request: Request[Any, Any, Any], telemetry: NamedDependency[SkipValidation[Telemetry]]) -> Response[bytes]:
    """Prometheus metrics; no content, no names. Keep it from outsiders at the proxy (docs/operations.md).

    At this one spelling alone: a proxy that keeps `/metrics` back would let `/metrics/` and `/metrics%2f` through.
    """
    if request.scope["raw_path"].partition(b"?")[0] != b"/metrics":
        raise NotFoundError("There is nothing at this address.")
    return Response(telemetry.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


health_routes = [live, ready, metrics]
