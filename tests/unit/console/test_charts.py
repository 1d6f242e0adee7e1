import datetime as dt

from gateway.console.charts import HEIGHT, MOST_COLUMNS, WIDTH, Look, chart

DAY = 86_400
START = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
LOOK = Look({"block": "block"}, str.upper, lambda start, end: f"{start:%d}-{end:%d}")


def test_columns_stand_where_their_time_is_and_are_as_high_as_their_share():
    made = chart([(START, {"allow": 3, "block": 1}), (START + dt.timedelta(days=2), {"allow": 2})], DAY, LOOK)
    first, empty, last = made.columns
    assert (first.total, empty.total, last.total, made.most) == (4, 0, 2, 4)
    assert first.parts == (("ALLOW", 3), ("BLOCK", 1))
    assert (first.href, last.href) == ("01-02", "03-04")
    assert [piece.tone for piece in first.pieces] == ["block", "plain"]
    assert sum(piece.height for piece in first.pieces) == HEIGHT
    assert not empty.pieces


def test_charts_that_stand_side_by_side_have_the_same_period():
    week = START, START + dt.timedelta(days=6)
    early, late = (chart([(START + dt.timedelta(days=day), {"allow": 1})], DAY, LOOK, week).columns for day in (1, 5))
    assert [column.start for column in early] == [column.start for column in late]
    assert [[column.total for column in columns] for columns in (early, late)] == [[0, 1, *[0] * 5], [*[0] * 5, 1, 0]]
    assert len(chart([(week[1] + dt.timedelta(days=1), {"allow": 1})], DAY, LOOK, week).columns) == 8


def test_many_stretches_are_put_together():
    bars = [(START + dt.timedelta(days=day), {"allow": 1}) for day in range(1000)]
    made = chart(bars, DAY, LOOK)
    assert len(made.columns) <= MOST_COLUMNS
    assert sum(column.total for column in made.columns) == 1000
    assert made.seconds > DAY
    assert made.columns[-1].x + made.columns[-1].width <= WIDTH + 1


def test_nothing_makes_no_columns():
    assert chart([], DAY, LOOK).columns == ()
