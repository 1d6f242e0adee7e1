"""Records of every kind with every field that a log may hold, however odd."""

from datetime import UTC, datetime

from hypothesis import strategies as st

from audit.record import Entry, FindingRecord, Kind, StageRecord

TEXTS = st.text(max_size=40) | st.just("x" * 5000) | st.just("a\x00b") | st.just("\ud800")
SMALL = st.tuples(TEXTS, TEXTS)
VALUES = TEXTS | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
STAGES = st.builds(
    StageRecord, TEXTS, TEXTS, st.integers(0, 2**53 - 1), st.floats(0, 1e9), TEXTS, TEXTS
)  # fmt: skip
FINDINGS = st.builds(
    FindingRecord, guard=TEXTS, rule=TEXTS, category=TEXTS, start=st.integers(0, 2**40), end=st.integers(0, 2**40),
    score=st.floats(0, 1), threshold=st.floats(0, 1), band=TEXTS, action=TEXTS | st.just("block"), where=TEXTS,
    shadow=st.booleans(),
)  # fmt: skip
WORDS = st.dictionaries(TEXTS, VALUES, max_size=3)
TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2261, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - naive bounds
ENTRIES = st.builds(
    Entry, kind=st.sampled_from(Kind), at=TIMES,
    subject=TEXTS, turn_id=TEXTS, conversation_id=TEXTS, name=TEXTS, groups=SMALL, roles=SMALL, surface=TEXTS,
    source_ip=TEXTS | st.ip_addresses().map(str), user_agent=TEXTS, trace_id=TEXTS, model=TEXTS, model_revision=TEXTS,
    verdict=TEXTS | st.just("block"), reason=TEXTS, categories=SMALL, policy_hash=TEXTS, classifier_hash=TEXTS,
    normaliser_version=TEXTS, stages=st.tuples(STAGES), findings=st.tuples(FINDINGS),
    offset=st.integers(0, 2**53 - 1), length=st.integers(0, 2**53 - 1), finish_reason=TEXTS,
    prompt_tokens=st.integers(0, 2**53 - 1), completion_tokens=st.integers(0, 9), duration_ms=st.integers(0, 2**53 - 1),
    first_release_ms=st.integers(0, 9), parameters=WORDS | st.just({"temperature": 0.0}), detail=WORDS, context=SMALL,
    entry_id=st.uuids().map(str),
)  # fmt: skip
