"""A server that follows a registry: versions come and go while answers run."""

import asyncio
from contextlib import aclosing

import pytest

from inference import engines as engines_module
from inference import versions
from inference.engine.base import ModelFolderError
from inference.engine.scripted import Reply, Script, ScriptedEngine
from inference.engines import VersionedEngines, load_of
from inference.errors import UnknownModelError
from inference.ports import ChatRequest, Message, Role
from inference.registry import Registry
from inference.versions import State, Version

SLOW = Reply(text="word " * 40, chunk=5, delay_ms=10)


def engine_of(text: str) -> ScriptedEngine:
    return ScriptedEngine(Script(model="unnamed", default=Reply(text=text) if text != "slow" else SLOW))


class Versions:
    """A registry whose versions are scripts: each says its own text."""

    def __init__(self, folder, *texts):
        self.registry = Registry(folder)
        self.broken: dict[str, Exception] = {}
        self.texts = {}
        with self.registry.locked() as write:
            state = State(model="glm")
            for text in texts:
                revision = self._script("", text).info.revision
                version = Version(
                    id=versions.version_id(text, revision), name=text, revision=revision, precision="float32",
                    manifest="0" * 64, bytes=1, added=versions.now(),
                )  # fmt: skip
                self.texts[version.id] = text
                state = versions.added(state, version)
            write(versions.activated(state, texts[0]))

    def _script(self, name, text):
        engine = engine_of(text)
        info = engine.info
        engine._info = type(info)(name=name, revision=info.revision)
        engine._script = Script(model=name, default=engine._script.default)
        return engine

    def open(self, version):
        if version.id in self.broken:
            raise self.broken[version.id]
        return self._script(version.id, self.texts[version.id])

    def change(self, change):
        with self.registry.locked() as write:
            write(change(self.registry.read()))


async def said(engines, model="glm"):
    engine = engines.find(model)
    request = ChatRequest(model=engine.info.name, messages=(Message(Role.USER, "hi"),))
    async with aclosing(engine.stream(request)) as deltas:
        return "".join([delta.text async for delta in deltas])


async def until(check):
    async with asyncio.timeout(20):
        while not check():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.02)


@pytest.fixture
async def following(tmp_path, monkeypatch):
    monkeypatch.setattr(engines_module, "_LOOK_S", 0.02)
    monkeypatch.setattr(engines_module, "FOUND_S", 0.2)
    kept = Versions(tmp_path, "slow", "two", "three")
    engines = VersionedEngines(kept.registry, kept.open)
    await engines.start()
    yield kept, engines
    await engines.close()


async def test_a_running_answer_ends_with_the_version_that_began_it(following):
    kept, engines = following
    old = engines.find("glm").info.name
    running = asyncio.create_task(said(engines))
    await asyncio.sleep(0.05)
    kept.change(lambda state: versions.activated(state, "two"))
    await until(lambda: engines.find("glm").info.name != old)
    assert await said(engines) == "two"
    assert await running == SLOW.text
    await until(lambda: len(engines.running()) == 1)
    with pytest.raises(UnknownModelError):
        engines.find(old)


async def test_canary_and_mirror_are_offered_with_whom_they_answer(following):
    kept, engines = following
    kept.change(lambda state: versions.with_canary(state, "two", 10, ("pilots",)))
    kept.change(lambda state: versions.with_mirror(state, "three", 50))
    await until(lambda: len(engines.running()) == 3)
    models = {model.name.partition("@")[0]: model for model in await engines.models()}
    assert {model.model for model in models.values()} == {"glm"}
    assert (models["slow"].stage, models["slow"].percent) == ("active", 0)
    assert (models["two"].stage, models["two"].percent, models["two"].groups) == ("canary", 10, ("pilots",))
    assert (models["three"].stage, models["three"].percent) == ("mirror", 50)
    assert await said(engines, models["three"].name) == "three"


ERRORS = [ModelFolderError("damaged"), OSError(5, "Input/output error"), AssertionError("padding_idx"), MemoryError()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_a_version_that_cannot_be_opened_changes_nothing_and_is_counted(following, error):
    kept, engines = following
    broken = next(one for one, text in kept.texts.items() if text == "two")
    kept.broken[broken] = error
    kept.change(lambda state: versions.activated(state, "two"))
    await until(lambda: engines.failures() == 1)
    assert engines.find("glm").info.name.startswith("slow@")
    assert load_of(engines).ready
    assert [model.stage for model in await engines.models()] == ["active"]
    kept.change(versions.rolled_back)
    kept.change(lambda state: versions.activated(state, "three"))
    await until(lambda: engines.find("glm").info.name.startswith("three@"))


async def test_a_version_that_could_not_be_opened_is_tried_again(following, monkeypatch):
    monkeypatch.setattr(engines_module, "_AGAIN_S", 0.1)
    kept, engines = following
    kept.broken |= dict.fromkeys((one for one, text in kept.texts.items() if text == "two"), OSError(5, "x"))
    kept.change(lambda state: versions.activated(state, "two"))
    await until(lambda: engines.failures() > 1)
    kept.broken.clear()
    await until(lambda: engines.find("glm").info.name.startswith("two@"))


async def test_a_canary_that_cannot_be_opened_keeps_no_server_from_starting(tmp_path, monkeypatch):
    monkeypatch.setattr(engines_module, "_LOOK_S", 0.02)
    kept = Versions(tmp_path, "one", "two")
    kept.broken |= dict.fromkeys((one for one, text in kept.texts.items() if text == "two"), RuntimeError("x"))
    kept.change(lambda state: versions.with_canary(state, "two", 10, ()))
    engines = VersionedEngines(kept.registry, kept.open)
    await engines.start()
    try:
        assert [model.stage for model in await engines.models()] == ["active"]
        assert engines.failures() == 1
    finally:
        await engines.close()


async def test_files_that_are_not_the_registered_ones_are_refused(following):
    kept, engines = following
    altered = next(one for one, text in kept.texts.items() if text == "two")
    kept.texts[altered] = "something else"
    kept.change(lambda state: versions.activated(state, "two"))
    await until(lambda: engines.failures() == 1)
    assert engines.find("glm").info.name.startswith("slow@")


async def test_a_registry_that_is_damaged_while_it_is_followed_changes_nothing(following):
    kept, engines = following
    good = kept.registry.file.read_bytes()
    kept.registry.file.write_bytes(b"{")
    await asyncio.sleep(0.1)
    assert load_of(engines).ready
    kept.registry.file.write_bytes(good)
    kept.change(lambda state: versions.activated(state, "two"))
    await until(lambda: engines.find("glm").info.name.startswith("two@"))


async def test_warm_versions_stay_open(tmp_path, monkeypatch):
    monkeypatch.setattr(engines_module, "_LOOK_S", 0.02)
    monkeypatch.setattr(engines_module, "FOUND_S", 0.0)
    kept = Versions(tmp_path, "one", "two", "three")
    engines = VersionedEngines(kept.registry, kept.open, warm=1)
    await engines.start()
    try:
        kept.change(lambda state: versions.activated(state, "two"))
        await until(lambda: engines.find("glm").info.name.startswith("two@"))
        kept.change(lambda state: versions.activated(state, "three"))
        await until(lambda: engines.find("glm").info.name.startswith("three@"))
        await until(lambda: len(engines.running()) == 2)
        assert [engine.info.name.partition("@")[0] for engine in engines.running()] == ["three", "two"]
        assert {model.stage for model in await engines.models()} == {"active", "retired"}
    finally:
        await engines.close()


async def test_without_an_active_version_it_does_not_start(tmp_path):
    registry = Registry(tmp_path)
    with registry.locked() as write:
        write(State(model="glm"))
    with pytest.raises(ModelFolderError, match="No version is active"):
        await VersionedEngines(registry, lambda _: ScriptedEngine()).start()
