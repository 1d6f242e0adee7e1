"""Delivery rests while it can afford to, and never makes more ready at once than it may."""

from audit.elastic.rows import Size
from audit.pace import Pace
from audit.packing import parts


def test_it_rests_less_until_a_backlog_shrinks_and_longer_again_when_it_does_so_fast_or_is_gone():
    pace = Pace(4.0, 0.25, 500)
    rests = []
    for pending in (100, 60_000, 59_000, 58_400, 58_000, 59_000, 60_000, 61_000, 59_000, 700, 200, 10, 0, 0, 0):
        pace.looked(pending)
        rests.append(pace.rest)
    assert rests == [4, 2, 2, 2, 1, 0.5, 0.25, 0.25, 0.5, 1, 2, 4, 4, 4, 4]


def test_a_backlog_that_grows_by_little_at_a_time_is_seen():
    pace = Pace(4.0, 0.25, 500)
    for pending in range(400, 4_000, 400):
        pace.looked(pending)
    assert pace.rest == 0.25


def test_what_waits_from_look_to_look_without_growing_is_no_backlog():
    pace = Pace(4.0, 0.25, 500)
    for pending in (300, 480, 120, 500, 90):
        pace.looked(pending)
    assert pace.rest == 4


def test_without_rests_there_are_none():
    pace = Pace(0.0, 0.0, 500)
    pace.looked(60_000)
    pace.looked(0)
    assert pace.rest == 0


def test_parts_are_bounded_in_number_and_size_and_keep_their_order():
    sizes = [Size(name, size) for name, size in zip("abcdefgh", (1, 1, 1, 1, 9, 90, 1, 1), strict=True)]
    found = list(parts(sizes, records=3, size_bytes=10))
    assert found == [["a", "b", "c"], ["d", "e"], ["f"], ["g", "h"]]
    assert list(parts([], records=3, size_bytes=10)) == []
