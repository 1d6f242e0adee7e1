"""What changes between two policies, and which way; a policy in lines."""

import pytest
import yaml

from gateway.policies.changes import LONGEST_LIST, changes
from gateway.policies.readable import on_trial, readable
from safety.policy import DEFAULT_POLICY, complete, parse_policy
from tests.unit.safety.guards import BANDS


def policy(**fields):
    data = yaml.safe_load(DEFAULT_POLICY.read_text("utf-8"))
    for path, value in fields.items():
        *parents, last = path.split("__")
        place = data
        for name in parents:
            place = place.setdefault(name.replace("_DOT_", "."), {})
        place[last.replace("_DOT_", ".")] = value
    return complete(parse_policy(yaml.safe_dump(data)), BANDS)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ()),
        ({"version": 2}, (("version", "1", "2", ""),)),
        (
            {"rules__secret_DOT_private_key__output": "flag"},
            (("rules.secret.private_key.output", "block", "flag", "milder"),),
        ),
        ({"rules__secret_DOT_jwt": {"input": "block"}}, (("rules.secret.jwt.input", "", "block", "stricter"),)),
        ({"rules__secret_DOT_jwt": {"mode": "shadow"}}, (("rules.secret.jwt.mode", "", "shadow", "milder"),)),
        (
            {"groups__sales": {"rules": {"secret.private_key": {"input": "block"}}}},
            (("groups.sales.rules.secret.private_key.input", "", "block", "stricter"),),
        ),
        (
            {"groups__sales": {"categories": {"prompt_attack": {"input": "block", "output": "block"}}}},
            (
                ("groups.sales.categories.prompt_attack.input", "", "block", ""),
                ("groups.sales.categories.prompt_attack.output", "", "block", ""),
                ("groups.sales.categories.prompt_attack.placeholder", "", "[REDACTED]", ""),
            ),
        ),
        (
            {"groups__sales": {"classifier": {"hate": {"uncertain": 0.1, "block": 0.2, "mode": "enforce"}}}},
            (
                ("groups.sales.classifier.hate.uncertain", "", "0.1", "stricter"),
                ("groups.sales.classifier.hate.block", "", "0.2", "stricter"),
                ("groups.sales.classifier.hate.uncertain_action", "", "flag", ""),
                ("groups.sales.classifier.hate.block_action", "", "block", ""),
                ("groups.sales.classifier.hate.mode", "", "enforce", ""),
            ),
        ),
        (
            {"categories__prompt_attack__input": "flag"},
            (("categories.prompt_attack.input.high", "block", "flag", "milder"),),
        ),
        (
            {"categories__secret__output": {"low": "redact", "medium": "redact", "high": "block"}},
            (("categories.secret.output.high", "redact", "block", "stricter"),),
        ),
        ({"failures__default": "escalate"}, (("failures.default", "block", "escalate", "milder"),)),
        ({"failures__guards": {"classifier": "escalate"}}, (("failures.guards.classifier", "", "escalate", "milder"),)),
        ({"second_opinion__enabled": True}, (("second_opinion.enabled", "false", "true", ""),)),
    ],
)
def test_each_field_that_differs_is_named_with_its_way(fields, expected):
    found = changes(policy(), policy(**fields))
    assert tuple((one.field, one.before, one.after, one.way) for one in found) == expected
    assert [".".join(one.path) for one in found] == [one.field for one in found]


def test_thresholds_modes_and_lists():
    def hate(uncertain, mode):
        return policy(classifier__hate={"uncertain": uncertain, "block": 0.9, "mode": mode})

    found = changes(hate(0.5, "shadow"), hate(0.4, "enforce"))
    assert [(one.field, one.way) for one in found] == [
        ("classifier.hate.uncertain", "stricter"), ("classifier.hate.mode", "stricter"),
    ]  # fmt: skip
    many = [f"word{n}" for n in range(LONGEST_LIST + 5)]
    [change] = changes(policy(company__p={"words": ["a", "b"]}), policy(company__p={"words": ["b", *many]}))
    assert (change.field, change.before) == ("company.p.words", "a")
    assert change.after.endswith("word29 … +5")
    gone = {one.field: one.after for one in changes(policy(company__p={"words": ["a"]}), policy())}
    assert gone["company.p.words"] == ""


def test_a_policy_in_lines():
    made = policy(
        rules__secret_DOT_jwt={"input": "block", "mode": "shadow"},
        classifier__hate={"uncertain": 0.5, "block": 0.9, "mode": "shadow"},
        groups__sales={"classifier": {"hate": {"uncertain": 0.1, "block": 0.2, "mode": "shadow"}}},
        company__p={"words": ["a"], "severity": "high"},
    )
    lines = readable(made)
    by_name = {one.name: one for one in (*lines.everyone.categories, *lines.everyone.rules)}
    assert by_name["secret"].input == (("", "redact"),)
    assert by_name["prompt_attack"].input == (("low", "flag"), ("medium", "flag"), ("high", "block"))
    assert (by_name["secret.jwt"].shadow, by_name["secret.jwt"].output) == (True, ())
    assert len(lines.everyone.bands) == len(BANDS)
    assert lines.everyone.failures == (("", "block"),)
    [(name, part)] = lines.groups
    assert (name, part.bands[0].shadow, part.failures) == ("sales", True, ())
    assert on_trial(made) == (("rule", "secret.jwt"), ("category", "hate"))
