"""Who somebody is, on the console's pages: looked up once a minute, shown with the subject, never hidden characters."""

import pytest

from audit.ports import AuditUnavailableError
from gateway.console.names import KEPT_S, MOST, ON_A_PAGE, Names, Who

CAROL = "abf7547f-20d3-4474-a8f3-b413bf656a60"


class Records:
    def __init__(self, **names: str) -> None:
        self.names, self.asked, self.broken = names, [], False

    async def of(self, subjects) -> dict[str, str]:
        self.asked.append(sorted(subjects))
        if self.broken:
            raise AuditUnavailableError
        return {one: self.names[one] for one in subjects if one in self.names}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def shown(names: Names, subject: str, *, whole: bool = False) -> str:
    """As a page does it: again once whoever is unknown was looked up."""
    who = Who(names)
    said = who(subject, whole=whole)
    if not who.unknown:
        return said
    assert said == subject or "\u202e" in subject
    await names.learn(who.unknown)
    return Who(names)(subject, whole=whole)


async def test_a_name_is_looked_up_once_a_minute():
    clock, records = Clock(), Records(**{CAROL: "Carol Wang", "ada": "Ada", "li": "li"})
    names = Names(records, clock)
    assert await shown(names, CAROL) == "Carol Wang (abf7547f…)"
    assert await shown(names, CAROL, whole=True) == f"Carol Wang ({CAROL})"
    assert [await shown(names, one) for one in ("ada", "li", "cli:root")] == ["Ada (ada)", "li", "cli:root"]
    assert await shown(names, "cli:root") == "cli:root"
    assert records.asked == [[CAROL], ["ada"], ["li"], ["cli:root"]]
    records.names[CAROL] = "Carol Li"
    clock.now += KEPT_S
    assert await shown(names, CAROL) == "Carol Li (abf7547f…)"


async def test_a_log_that_cannot_be_read_leaves_people_without_names():
    records = Records(ada="Ada")
    records.broken = True
    assert await shown(Names(records), "ada") == "ada"


async def test_memory_is_bounded():
    names = Names(Records())
    for start in range(0, 2 * MOST, ON_A_PAGE):
        await names.learn([str(number) for number in range(start, start + ON_A_PAGE)])
        assert len(names._known) <= MOST


async def test_a_page_of_thousands_looks_up_the_first_of_them():
    records = Records(ada="Ada")
    who = Who(Names(records))
    for subject in ("ada", *map(str, range(9_999))):
        who(subject)
    await who.names.learn(who.unknown)
    assert [len(asked) for asked in records.asked] == [ON_A_PAGE]
    assert who("ada") == "Ada (ada)"


@pytest.mark.parametrize("names", [{}, {"x\u202ey": "n\u2066ame"}])
async def test_no_character_is_hidden(names: dict[str, str]):
    said = await shown(Names(Records(**names)), "x\u202ey")
    assert not {"\u202e", "\u2066"} & set(said)
    assert "x[U+202E]y" in said
