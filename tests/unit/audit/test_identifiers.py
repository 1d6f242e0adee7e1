from uuid import UUID

from audit.identifiers import RisingIds


def test_ids_are_uuid_version_7_with_the_time():
    made = UUID(RisingIds(lambda: 1_700_000_000_123_456_789).next())
    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert made.int >> 80 == 1_700_000_000_123


def test_ids_rise_within_a_millisecond_and_when_the_clock_steps_back():
    times = [10**18] * 10_000 + [10**18 - 60 * 10**9] * 10_000 + [10**18 + 10**9] * 10
    clock = iter(times)
    ids = RisingIds(lambda: next(clock))
    made = [ids.next() for _ in times]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
