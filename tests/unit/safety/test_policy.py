"""The policy as it is read: what is refused, and what its hash is of."""

import time

import pytest
import yaml

from safety.candidate import candidate
from safety.classifier.manifest import SHIPPED, load
from safety.parts import recommended
from safety.policy import PolicyError, complete, load_policy, parse_policy, policy_hash
from safety.verdict import Category
from tests.unit.safety.guards import BANDS, TEXT, changed, default_policy, usable

BANDS_THAT_SHIP = recommended(load(SHIPPED)[0])


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("colour", "red", "unknown field `colour`"),
        ("rules/secret.jwt", {"inptu": "block"}, "rules.secret.jwt: unknown field `inptu`"),
        ("rules/secret.jwt", {"output": "pseudonymise"}, "rules.secret.jwt.output: pseudonymise is for .* use redact"),
        (
            "categories/personal_data",
            {"input": "redact", "output": {"low": "allow", "medium": "pseudonymise", "high": "block"}},
            "categories.personal_data.output: pseudonymise",
        ),
        ("classifier/hate", {"uncertain": 0.5, "block": 0.9, "block_action": "pseudonymise"}, "classifier.hate: pseud"),
        ("failures", {"default": "pseudonymise"}, "failures: pseudonymise"),
        ("rules/secret.jwt", {"input": "explode"}, "Invalid enum value 'explode'"),
        ("classifier/hate", {"uncertain": 0.9, "block": 0.5}, "classifier.hate: `uncertain` is above `block`"),
        ("classifier/hate", {"uncertain": 0.1, "block": 1.5}, "<= 1"),
        ("classifier/company", {"uncertain": 0.1, "block": 0.5}, "the classifier has no such category"),
        ("categories", {"secret": {"input": "block", "output": "block"}}, "nothing is said about personal_data"),
        ("version", "one", "Expected `int`"),
    ],
)
def test_a_policy_that_cannot_be_used_is_refused_by_name(path, value, message):
    with pytest.raises(PolicyError, match=message):
        parse_policy(changed(path, value))


def test_every_error_is_named_at_once():
    text = """
version: many
colour: red
categories: {secret: {input: explode, output: {low: flag, medium: flag}}}
rules: {secret.jwt: {inptu: block, mode: later}, secret.aws: block}
classifier: {hate: {uncertain: 2, block: .nan}, weather: {uncertain: 0.1, block: 0.2}}
company: {projects: {words: [1]}}
groups: {sales: {rules: {secret.jwt: {input: maybe}}}}
"""
    with pytest.raises(PolicyError) as refused:
        parse_policy(text)
    problems = "\n".join(map(str, refused.value.problems))
    for named in (
        "the policy: unknown field `colour`", "version: Expected `int`", "the policy: `name` is missing",
        "categories.secret.input: Invalid enum value 'explode'", "categories.secret.output: `high` is missing",
        "rules.secret.jwt: unknown field `inptu`", "rules.secret.jwt.mode: Invalid", "rules.secret.aws: must be",
        "classifier.hate.uncertain:", "classifier.hate.block:", "classifier.weather: Invalid",
        "company.projects.words: Expected `str`", "groups.sales.rules.secret.jwt.input: Invalid",
    ):  # fmt: skip
        assert named in problems


def test_every_field_below_the_floor_is_named_at_once():
    override = {"rules": {"secret.jwt": {"output": "flag"}}, "failures": {"default": "allow"}}
    with pytest.raises(PolicyError) as refused:
        usable("groups/sales", override)
    assert len(refused.value.problems) == 2


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "line 2, column 8: aliases"),
        ("name: &n default\nversion: *n", "line 2, column 10: aliases"),
        ("<<: {version: 1}", "line 1, column 1: merge keys"),
        (TEXT + "\nname: other\n", "this key stands twice"),
        (TEXT.replace("default: block", "default: block\n  default: flag"), "this key stands twice"),
        ("[" * 50_000, "more than 20 levels"),
        ("{a: " * 50_000, "more than 20 levels"),
        ("- " * 50_000, "more than 20 levels"),
        ("version: !!python/object/apply:os.system [id]", "line 1, column 10: not YAML"),
        ("version: !secret x", "line 1, column 10: not YAML"),
        ("version: " + "9" * 5000, "out of range"),
        ("version: 99999999999999999999", "version: "),
        ("? [a]\n: b", "this cannot be a key"),
        ('name: "\\ud800"', "half of a surrogate pair"),
        ('name: "a\\0b"', "name: Expected `str` matching"),
        ("name: 2026-99-99", "Expected `str`|out of range"),
        ("a" * 2_000_000, "longer than 200000 characters"),
        ("--- 1\n--- 2", "not YAML"),
        ("%YAML 9.9\n---\n1", "not YAML|must be fields"),
    ],
)
def test_a_hostile_text_is_refused_at_once(text, message):
    began = time.process_time()
    with pytest.raises(PolicyError, match=message):
        parse_policy(text)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("text", ["", "a: [", "- 1", "\x00"])
def test_what_is_no_policy_at_all_is_refused(text):
    with pytest.raises(PolicyError):
        parse_policy(text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PolicyError, match=r"none\.yaml"):
        load_policy(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"rules": {"personal_data.email": {"input": "allow"}}}, "groups.sales.rules.personal_data.email.input: allow"),
        ({"rules": {"secret.jwt": {"output": "flag"}}}, "groups.sales.rules.secret.jwt.output: flag is weaker"),
        ({"rules": {"secret.jwt": {"mode": "shadow"}}}, "groups.sales.rules.secret.jwt.mode"),
        ({"categories": {"secret": {"input": "flag", "output": "block"}}}, "groups.sales.categories.secret.input"),
        ({"classifier": {"hate": {"uncertain": 0.5, "block": 0.95}}}, "groups.sales.classifier.hate.block: 0.95"),
        (
            {"classifier": {"hate": {"uncertain": 0.5, "block": 0.8, "block_action": "flag"}}},
            "groups.sales.classifier.hate.block_action",
        ),
        ({"failures": {"default": "allow"}}, "groups.sales.failures.default: allow"),
        ({"failures": {"guards": {"classifier": "flag"}}}, "groups.sales.failures.guards.classifier"),
    ],
)
def test_a_group_cannot_go_below_the_floor(override, message):
    with pytest.raises(PolicyError, match=message):
        usable("groups/sales", override)


def test_thresholds_that_are_left_out_are_the_models():
    policy = usable("classifier/hate", {"uncertain": 0.1, "block": 0.2})
    assert policy.classifier[Category.HATE].block == 0.2
    assert policy.classifier[Category.VIOLENCE] == BANDS[Category.VIOLENCE]
    assert policy_hash(policy) != policy_hash(default_policy())
    with pytest.raises(PolicyError, match="nothing is said about harassment"):
        complete(parse_policy(changed("classifier/hate", {"uncertain": 0.1, "block": 0.2})), {})


def test_the_hash_is_of_the_meaning():
    assert policy_hash(parse_policy(TEXT)) == policy_hash(parse_policy(yaml.safe_dump(yaml.safe_load(TEXT))))
    assert policy_hash(parse_policy("# note\n" + TEXT)) == policy_hash(parse_policy(TEXT))
    assert policy_hash(parse_policy(changed("name", "other"))) != policy_hash(parse_policy(TEXT))


def test_a_candidate_names_slips_that_a_start_lets_pass():
    text = changed("rules/secret.jtw", {"input": "block"})
    parse_policy(text)
    data = yaml.safe_load(text) | {
        "groups": {"sales": {"rules": {"secret.none": {"input": "block"}, "secret.jwt": {"output": "flag"}}}},
        "company": {"projects": {"words": ["x", "  "]}},
    }
    with pytest.raises(PolicyError) as refused:
        candidate(yaml.safe_dump(data))
    problems = "\n".join(map(str, refused.value.problems))
    assert len(refused.value.problems) == 4
    for named in (
        "rules.secret.jtw: there is no such rule", "groups.sales.rules.secret.none: there is no such rule",
        "groups.sales.rules.secret.jwt.output: flag is weaker", "company.projects: ",
    ):  # fmt: skip
        assert named in problems
    assert policy_hash(candidate(TEXT)) == policy_hash(complete(parse_policy(TEXT), BANDS_THAT_SHIP))
