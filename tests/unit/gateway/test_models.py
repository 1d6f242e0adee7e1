"""Which version answers whom, and that it is on record before it does."""

import asyncio
import time
from datetime import UTC, datetime

import pytest

from audit.ports import AuditUnavailableError
from audit.record import Entry, Kind
from gateway.auth.principal import Principal, Role
from gateway.model_activation import ModelActivations, Offer, Use, activation, offer_of_state, offers_of_models
from gateway.models import ModelCatalogue, ModelRoutes, choose
from gateway.problems import InferenceUnavailableError, NotFoundError
from inference import versions
from inference.ports import InferenceError, ModelInfo
from inference.versions import State, Version, version_id

ACTIVE, CANARY, MIRROR = (Use(f"glm@{name}", f"sha256:{name}") for name in ("aaa", "bbb", "ccc"))


def person(subject="s", *groups):
    return Principal(subject=subject, name="", groups=groups, roles=frozenset({Role.STAFF}))


def offer(percent=0, groups=(), mirror_percent=0):
    return Offer(
        "glm", ACTIVE, canary=Use(CANARY.version, CANARY.revision, percent, groups),
        mirror=Use(MIRROR.version, MIRROR.revision, mirror_percent),
    )  # fmt: skip


def test_a_canary_answers_its_share_of_the_people_and_always_the_same_ones():
    people = [person(f"subject-{at}") for at in range(2000)]
    at_20 = {one.subject for one in people if choose(offer(20), one, "t").canary}
    at_50 = {one.subject for one in people if choose(offer(50), one, "other").canary}
    assert 0.16 < len(at_20) / len(people) < 0.24
    assert at_20 < at_50, "who is in stays in when the share grows"
    assert not any(choose(offer(0), one, "t").canary for one in people)
    assert all(choose(offer(100), one, "t").use.revision == CANARY.revision for one in people)


def test_a_canary_answers_its_groups():
    with_groups = offer(0, ("pilots", "it"))
    assert choose(with_groups, person("s", "staff", "it"), "t").use.version == CANARY.version
    assert choose(with_groups, person("s", "staff"), "t").use.version == ACTIVE.version


def test_a_mirror_answers_its_share_of_the_turns():
    mirrored = [choose(offer(mirror_percent=30), person(), f"turn-{at}").mirror for at in range(2000)]
    assert 0.25 < sum(one is not None for one in mirrored) / 2000 < 0.35
    assert all(choose(offer(mirror_percent=100), person(), f"turn-{at}").mirror for at in range(100))


def test_a_subject_with_half_a_character_has_a_place_too():
    assert choose(offer(100), person("\ud800"), "\udfff").canary


def info(name, stage, **more):
    return ModelInfo(name=f"glm@{name}", revision=f"sha256:{name}", model="glm", stage=stage, **more)


def test_registry_and_tier_say_the_same():
    revisions = [f"sha256:{digit * 64}" for digit in "abc"]
    state = State(
        model="glm",
        versions=tuple(
            Version(version_id("glm", one), "glm", one, "int8", "0" * 64, 1, datetime.now(UTC)) for one in revisions
        ),
    )
    ids = [one.id for one in state.versions]
    state = versions.activated(state, ids[0])
    state = versions.with_mirror(versions.with_canary(state, ids[1], 7, ("x", "y")), ids[2], 30)
    heard = offers_of_models(
        [
            ModelInfo(ids[2], revisions[2], "glm", "mirror", 30),
            ModelInfo(ids[0], revisions[0], "glm", "active"),
            ModelInfo(ids[1], revisions[1], "glm", "canary", 7, ("x", "y")),
            ModelInfo("other", "r"),
            ModelInfo("glm@old", "sha256:old", "glm", "retired"),
            ModelInfo("lost@1", "r", "lost", "canary", 5),
        ]
    )
    assert heard["glm"] == offer_of_state(state)
    assert heard["other"] == Offer("other", Use("other", "r"))
    assert "lost" not in heard, "nothing is active there"


class ListLog:
    def __init__(self, *entries: Entry, fails=False):
        self.kept, self.fails = list(entries), fails

    async def append(self, *entries):
        if self.fails:
            raise AuditUnavailableError("gone")
        self.kept += entries

    async def entries(self, kinds, _limit):
        for entry in self.kept:
            if entry.kind in kinds:
                yield entry


async def test_a_change_is_recorded_once_before_it_is_used():
    log = ListLog()
    activations = ModelActivations(log)
    first, second = Offer("glm", ACTIVE), offer(10, ("pilots",), 5)
    for one in (first, first, second, second, Offer("other", Use("other", ""))):
        await activations.ensure(one)
    assert [(entry.kind, entry.model, entry.model_revision) for entry in log.kept] == [
        (Kind.MODEL_ACTIVATED, "glm", "sha256:aaa"),
        (Kind.MODEL_ACTIVATED, "glm", "sha256:aaa"),
        (Kind.MODEL_ACTIVATED, "other", ""),
    ]
    assert log.kept[1].detail == {
        "version": "glm@aaa", "canary": "glm@bbb", "canary_revision": "sha256:bbb", "canary_percent": 10,
        "canary_groups": "pilots", "mirror": "glm@ccc", "mirror_revision": "sha256:ccc", "mirror_percent": 5,
        "action": "found", "previous": "sha256:aaa",
    }  # fmt: skip
    await ModelActivations(log).ensure(Offer("other", Use("other", "")))
    assert len(log.kept) == 3, "a gateway that starts again has nothing to add"


async def test_what_the_command_recorded_is_not_recorded_again():
    log = ListLog(activation(offer(10), "canary", "cli:root", "sha256:aaa", "cli"))
    await ModelActivations(log).ensure(offer(10))
    assert len(log.kept) == 1
    await ModelActivations(log).ensure(offer(11))
    assert len(log.kept) == 2


class Tier:
    def __init__(self, *models):
        self.offered, self.asked = models, 0

    async def models(self):
        self.asked += 1
        if not self.offered:
            raise InferenceError("gone")
        return self.offered


async def test_no_turn_is_routed_while_the_log_cannot_record_the_version():
    routes = ModelRoutes(ModelCatalogue(Tier(info("aaa", "active"))), ModelActivations(ListLog(fails=True)))
    with pytest.raises(AuditUnavailableError):
        await routes.route("glm", person(), "t")


async def test_people_ask_by_the_name_of_all_versions():
    tier = Tier(info("bbb", "canary", groups=("it",)), info("aaa", "active"), ModelInfo("plain", "r"))
    catalogue = ModelCatalogue(tier)
    routes = ModelRoutes(catalogue, ModelActivations(ListLog()))
    assert list(await catalogue.offers()) == ["plain", "glm"]
    assert await catalogue.resolve("") == "plain"
    assert (await routes.route("glm", person(), "t")).use.version == "glm@aaa"
    assert (await routes.route("glm", person("s", "it"), "t")).use.version == "glm@bbb"
    for name in ("glm@aaa", "glm@bbb", "nobody"):
        with pytest.raises(NotFoundError):
            await routes.route(name, person(), "t")
    assert tier.asked == 1
    routes.misled()
    await routes.route("glm", person(), "t")
    assert tier.asked == 2


async def test_all_versions_of_a_model_take_the_least_that_one_says():
    tier = Tier(
        info("bbb", "canary", context=2048), info("aaa", "active", context=8192), info("ccc", "mirror"),
        ModelInfo("plain", "r"),
    )  # fmt: skip
    catalogue = ModelCatalogue(tier)
    await catalogue.offers()
    assert (catalogue.context("glm"), catalogue.context("plain")) == (2048, 0)


async def test_a_tier_that_is_gone_is_said_to_be():
    routes = ModelRoutes(ModelCatalogue(Tier()), ModelActivations(ListLog()))
    with pytest.raises(InferenceUnavailableError):
        await routes.route("glm", person(), "t")


async def test_who_comes_while_a_tier_hangs_waits_for_the_one_answer_and_not_in_line(monkeypatch):
    class Hanging(Tier):
        async def models(self):
            self.asked += 1
            await asyncio.sleep(60)

    monkeypatch.setattr("gateway.models.PATIENCE_S", 0.2)
    tier = Hanging()
    catalogue = ModelCatalogue(tier)
    began = time.monotonic()
    answers = await asyncio.gather(*(catalogue.resolve("") for _ in range(20)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {InferenceUnavailableError}
    assert time.monotonic() - began < 2
    assert tier.asked == 1
    with pytest.raises(InferenceUnavailableError):
        await catalogue.resolve("")
    assert tier.asked == 2, "the next one asks again"
