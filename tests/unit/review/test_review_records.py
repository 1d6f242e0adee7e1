"""What labels come to, and how agreement is counted."""

import pytest

from gateway.review.records import Label, Outcome, Place, agreement, settle
from safety.verdict import Category

GOOD = Label(Place.MESSAGE)
HATE = Label(Place.MESSAGE, (Category.HATE,))
ILLEGAL = Label(Place.ANSWER, (Category.ILLEGAL,))


@pytest.mark.parametrize(
    ("labels", "blocked", "twice", "outcome"),
    [
        ((), True, False, None),
        ((HATE,), True, False, Outcome.HARMFUL),
        ((HATE,), True, True, None),
        ((HATE,), False, False, None),
        ((GOOD,), False, False, Outcome.HARMLESS),
        ((GOOD,), True, False, None),
        ((GOOD, GOOD), True, False, Outcome.HARMLESS),
        ((GOOD, HATE), True, False, None),
        ((GOOD, HATE, HATE), True, False, Outcome.HARMFUL),
        ((GOOD, HATE, GOOD), False, False, Outcome.HARMLESS),
    ],
)
def test_settling(labels, blocked, twice, outcome):
    settled = settle(labels, blocked=blocked, twice=twice)
    assert (settled.outcome if settled else None) == outcome


def test_categories_are_those_of_the_reviewers_who_agree():
    settled = settle((HATE, GOOD, ILLEGAL), blocked=True, twice=False)
    assert settled is not None
    assert (settled.categories, settled.place) == ((Category.HATE, Category.ILLEGAL), Place.MESSAGE)


def test_agreement():
    # Cohen's own kind of example: 20 both yes, 15 both no, 10 and 5 apart: raw 0.7, chance 0.5, kappa 0.4.
    pairs = ((True, True),) * 20 + ((False, False),) * 15 + ((True, False),) * 5 + ((False, True),) * 10
    found = agreement(pairs)
    assert found.pairs == 50
    assert found.raw == pytest.approx(0.7)
    assert found.kappa == pytest.approx(0.4)
    assert agreement(()).raw is None
    assert agreement(((True, True),) * 3).kappa is None
    assert agreement(((True, False), (False, True))).kappa == pytest.approx(-1)
