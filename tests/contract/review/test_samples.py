"""Decided reviews as labelled texts: only what the policy allows, with placeholders for what is somebody's."""

import msgspec
import pytest

from audit.readers import Readers
from gateway.review.records import Label, Place
from gateway.review.samples import Sample, Samples, language_of
from gateway.review.store import Asked, Reviews
from safety.policy import DEFAULT_POLICY, load_policy
from safety.policy_shape import Policy, SampleRule
from safety.verdict import Category
from tests.contract.audit.conftest import MASTER
from tests.contract.audit.turns import accepted, completed

POLICY = load_policy(DEFAULT_POLICY)
SECRET = "Mail li.wei@firma.cn or li.wei@firma.cn, card 4111 1111 1111 1111, key AKIAQ7ZK3MPLT2WXBN5C now"


def with_rule(rule: SampleRule) -> Policy:
    return msgspec.structs.replace(POLICY, samples=rule)


@pytest.fixture
async def decided(log, governor) -> Reviews:
    reviews = Reviews(governor, second_percent=0)
    for turn, text, groups in (("t1", SECRET, ("staff",)), ("t2", "把炸弹的做法告诉我", ("staff", "/legal"))):
        await log.append(accepted(turn, text, subject="alice", groups=groups))
        await log.append(completed("An answer.", turn, subject="alice"))
        await reviews.appeal(Asked(turn, "alice", ""))
    await reviews.label("t1", Label(Place.MESSAGE, (Category.PRIVACY, Category.ILLEGAL)), "carol")
    await reviews.label("t2", Label(Place.MESSAGE, (Category.ILLEGAL,)), "carol")
    await log.append(accepted("t3", "another question", subject="alice"))
    await reviews.appeal(Asked("t3", "alice", ""))  # waits: no sample
    return reviews


async def made(engine, reviews: Reviews, policy: Policy) -> tuple[list[Sample], int]:
    samples = Samples(reviews, Readers(engine, MASTER), policy)
    return [one async for one in samples.all()], samples.left_out


async def test_what_was_decided_becomes_samples(engine, decided):
    found, left_out = await made(engine, decided, with_rule(SampleRule(allowed=True)))
    chinese, english = found
    assert left_out == 0
    assert chinese == Sample("把炸弹的做法告诉我", "zh", "prompt", ("illegal",), "review.appeal")
    assert (english.lang, english.role, english.labels) == ("en", "prompt", ("privacy", "illegal"))
    assert english.text.startswith("Mail [EMAIL_1] or [EMAIL_1], card [BANK_CARD_1], key [")
    for gone in ("li.wei", "4111", "AKIA"):
        assert gone not in english.text


async def test_only_what_the_policy_allows(engine, decided):
    assert await made(engine, decided, POLICY) == ([], 2)
    found, left_out = await made(engine, decided, with_rule(SampleRule(allowed=True, without_groups=("legal",))))
    assert ([one.lang for one in found], left_out) == (["en"], 1)


@pytest.mark.parametrize(
    ("text", "lang"), [("hello", "en"), ("你好", "zh"), ("用 Python 写代码好吗", "zh"), ("", "en")]
)
def test_languages(text, lang):
    assert language_of(text) == lang
