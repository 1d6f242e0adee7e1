"""Which engines a server answers with: one, or one for each version of a registry that is in use.

A registry is followed while the server runs. A version that comes into use is opened beside the others and takes over
when it is ready; one that goes out of use is still found under its own id for a while, and is closed when the last of
its streams has ended. So nobody's answer breaks off at a change.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from inference.engine.base import Engine, Load, ModelFolderError
from inference.errors import UnknownModelError
from inference.ports import ModelInfo
from inference.registry import Registry
from inference.versions import RegistryError, Stage, State, Version

LOG = logging.getLogger("attest.inference")

FOUND_S = 30.0
"""How long a version that went out of use is still found by its id: longer than the gateway's list of models is old."""
_LOOK_S = 0.5
"""How often the registry is looked at."""
_AGAIN_S = 60.0
"""How long after a version could not be opened it is tried again."""


class Engines(Protocol):
    """What the server needs to know of its engines."""

    async def start(self) -> None:
        """Get ready. Raises `ModelFolderError`."""

    async def close(self) -> None:
        """Stop; running streams end with `InferenceError`."""

    def find(self, model: str) -> Engine:
        """Return the engine for a model. Raises `UnknownModelError`."""

    def running(self) -> tuple[Engine, ...]:
        """Return every open engine, the one that answers by default first."""

    async def models(self) -> tuple[ModelInfo, ...]:
        """Return what is on offer. Raises `InferenceError`."""

    def failures(self) -> int:
        """Say how often a version could not be opened."""


class OneEngine:
    """A server with one model."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def start(self) -> None:
        """Start the engine."""
        await self._engine.start()

    async def close(self) -> None:
        """Close the engine."""
        await self._engine.close()

    def find(self, model: str) -> Engine:
        """Return the engine, whatever the name: it refuses names that are not its own."""
        del model
        return self._engine

    def running(self) -> tuple[Engine, ...]:
        """Return the one engine."""
        return (self._engine,)

    async def models(self) -> tuple[ModelInfo, ...]:
        """Return the one model."""
        return await self._engine.models()

    def failures(self) -> int:
        """Nothing is opened later."""
        return 0


@dataclass
class _Open:
    engine: Engine
    unused_since: float | None = None


Opener = Callable[[Version], Engine]
"""Opens a version's folder and returns its engine, not yet started; takes seconds. Raises `ModelFolderError`."""


class VersionedEngines:
    """A server that follows a registry."""

    def __init__(self, registry: Registry, opener: Opener, *, warm: int = 0) -> None:
        """`warm` says how many of the versions that were active before stay open, for a rollback at once."""
        self._registry = registry
        self._opener = opener
        self._warm = warm
        self._open: dict[str, _Open] = {}
        self._state: State | None = None
        """What is in force: its active version is open."""
        self._seen: object = None
        self._failed: dict[str, float] = {}
        self._failures = 0
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open what is in use, and follow the registry. Raises `ModelFolderError`."""
        try:
            state = self._registry.read()
        except RegistryError as error:
            raise ModelFolderError(str(error)) from None
        if not state.active:
            raise ModelFolderError("No version is active: activate one with `attest models activate`.")
        version = state.find(state.active)
        await self._bring_up(version)
        self._state = replace(state, canary=None, mirror=None)
        await self._follow()
        self._following = asyncio.create_task(self._keep_following())

    async def close(self) -> None:
        """Close every engine."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        for one in self._open.values():
            await one.engine.close()

    def find(self, model: str) -> Engine:
        """Return a version's engine by its id, or the active one by the name of all. Raises `UnknownModelError`."""
        state = self._state
        wanted = state.active if state is not None and model == state.model else model
        if wanted not in self._open:
            raise UnknownModelError
        return self._open[wanted].engine

    def running(self) -> tuple[Engine, ...]:
        """Return every open engine, the active one first."""
        active = self._state.active if self._state is not None else ""
        return tuple(one.engine for _, one in sorted(self._open.items(), key=lambda item: item[0] != active))

    async def models(self) -> tuple[ModelInfo, ...]:
        """Return each version that is in use, with what it is used for."""
        state = self._state
        if state is None:
            return ()
        await self._open[state.active].engine.models()  # raises when it is not ready
        return tuple(
            _offered(state, version, self._open[version.id].engine.info.context)
            for version in state.versions
            if version.id in self._open
        )

    def failures(self) -> int:
        """Say how often a version could not be opened."""
        return self._failures

    async def _keep_following(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                await self._follow()
            except Exception:  # the present versions go on answering, whatever it was
                LOG.exception("the registry cannot be followed")

    async def _follow(self) -> None:
        """Bring the engines into line with the registry, the active version first."""
        state = await self._changed()
        if state is not None:
            for version in _in_use(state, self._warm):
                await self._try(version)
            if state.active not in self._open:
                self._seen = None  # the present version goes on; look again
            else:
                self._take(state)
        await self._retire()

    def _take(self, state: State) -> None:
        """Put a state in force, without what could not be opened."""
        canary = state.canary if state.canary and state.canary.version in self._open else None
        mirror = state.mirror if state.mirror and state.mirror.version in self._open else None
        wanted = {version.id for version in _in_use(state, self._warm)}
        if self._state is None or self._state.active != state.active:
            LOG.info("version in use", extra={"model": state.active, "revision": state.find(state.active).revision})
        self._state = replace(state, canary=canary, mirror=mirror)
        if any(one not in self._open for one in wanted):
            self._seen = None
        for name, one in self._open.items():
            one.unused_since = None if name in wanted else one.unused_since or time.monotonic()

    async def _changed(self) -> State | None:
        """Return the registry's state where it is not the one seen last."""
        try:
            stat = await asyncio.to_thread(self._registry.file.stat)
            mark = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if mark == self._seen:
                return None
            state = await asyncio.to_thread(self._registry.read)
        except (RegistryError, OSError) as error:
            if self._seen != str(error):
                LOG.error("the registry cannot be read: %s", error)  # noqa: TRY400 - the message says it all
                self._seen = str(error)
            return None
        self._seen = mark
        return state if state.active else None

    async def _try(self, version: Version) -> None:
        """Open a version that is not open yet; one that fails is counted, and tried again after a while."""
        since = self._failed.get(version.id)
        if version.id in self._open or (since is not None and time.monotonic() - since < _AGAIN_S):
            return
        try:
            await self._bring_up(version)
        except Exception as error:  # whatever it was, the versions that are open go on answering
            self._failed[version.id] = time.monotonic()
            self._failures += 1
            known = isinstance(error, ModelFolderError)
            said = str(error) if known else type(error).__name__
            LOG.exception("a version cannot be opened: %s", said, exc_info=not known, extra={"model": version.id})

    async def _bring_up(self, version: Version) -> None:
        """Open a version. Raises `ModelFolderError`, also when its files are not those that were registered."""
        engine = await asyncio.to_thread(self._opener, version)
        if engine.info.revision != version.revision:
            raise ModelFolderError(f"{self._registry.folder_of(version)} is not what was registered as {version.id}")
        await engine.start()
        self._failed.pop(version.id, None)
        self._open[version.id] = _Open(engine)

    async def _retire(self) -> None:
        """Close what has been out of use for a while and answers nobody any more."""
        due = time.monotonic() - FOUND_S
        for name, one in tuple(self._open.items()):
            load = one.engine.load()
            if one.unused_since is not None and one.unused_since < due and not load.running and not load.waiting:
                del self._open[name]
                LOG.info("version closed", extra={"model": name})
                await one.engine.close()


def load_of(engines: Engines) -> Load:
    """Return how busy the engine is that answers by default; not ready where there is none."""
    running = engines.running()
    return running[0].load() if running else Load(ready=False)


def _in_use(state: State, warm: int) -> tuple[Version, ...]:
    parts: Iterable[str] = (
        state.active,
        *(part.version for part in (state.canary, state.mirror) if part is not None),
        *state.previous[:warm],
    )
    return tuple(state.find(one) for one in dict.fromkeys(parts))


def _offered(state: State, version: Version, context: int) -> ModelInfo:
    stage = state.stage(version)
    info = ModelInfo(
        name=version.id,
        revision=version.revision,
        model=state.model,
        stage=stage.value,
        stops_words=True,
        context=context,
    )
    if stage is Stage.CANARY and state.canary is not None:
        return replace(info, percent=state.canary.percent, groups=state.canary.groups)
    if stage is Stage.MIRROR and state.mirror is not None:
        return replace(info, percent=state.mirror.percent)
    return info
