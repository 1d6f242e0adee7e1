"""The policy: what is refused, what its hash is of, and what is made of findings."""

import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from safety.candidate import candidate
from safety.classifier.manifest import SHIPPED, load
from safety.parts import recommended
from safety.policy import DEFAULT_POLICY, PolicyError, complete, decide, load_policy, parse_policy, policy_hash
from safety.ports import Direction, TurnContext
from safety.verdict import Action, Band, Category, Examination, StageStatus, severity_of
from tests.unit.safety.guards import BANDS, INPUT, OUTPUT, default_policy, finding, ran

TEXT = DEFAULT_POLICY.read_text("utf-8")
BANDS_THAT_SHIP = recommended(load(SHIPPED)[0])


def changed(path, value):
    data = yaml.safe_load(TEXT)
    *parents, last = path.split("/")
    place = data
    for name in parents:
        place = place.setdefault(name, {})
    place[last] = value
    return yaml.safe_dump(data)


def usable(path, value):
    return complete(parse_policy(changed(path, value)), BANDS)


def decided(*examinations, policy=None, context=INPUT):
    return decide(examinations, policy or default_policy(), context, policy_hash="h", normaliser_version="1")


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


@pytest.mark.parametrize(
    ("found", "context", "action"),
    [
        (finding(rule="personal_data.email"), INPUT, Action.FLAG),
        (finding(rule="personal_data.cn_resident_id"), INPUT, Action.REDACT),
        (finding(rule="personal_data.cn_mobile"), INPUT, Action.FLAG),
        (finding(rule="personal_data.cn_mobile"), OUTPUT, Action.REDACT),
        (finding(Category.SECRET), INPUT, Action.REDACT),
        (finding(Category.SECRET, rule="secret.private_key"), OUTPUT, Action.BLOCK),
        (finding(Category.PROMPT_ATTACK, severity="high"), INPUT, Action.BLOCK),
        (finding(Category.PROMPT_ATTACK, severity="medium"), INPUT, Action.FLAG),
        (finding(Category.PROMPT_ATTACK, severity="high"), OUTPUT, Action.FLAG),
        (finding(Category.OUTPUT_REVIEW, severity="high"), OUTPUT, Action.BLOCK),
    ],
)
def test_the_default_policy_on_filter_findings(found, context, action):
    assert decided(ran(found), context=context).action is action


@pytest.mark.parametrize(
    ("score", "band", "action"),
    [(0.1, Band.ALLOW, Action.ALLOW), (0.99, Band.BLOCK, Action.BLOCK)],
)
def test_scores_fall_into_bands(score, band, action):
    verdict = decided(ran(finding(Category.HATE, guard="classifier", rule="model.message", score=score))).verdicts[0]
    assert (verdict.band, verdict.action) == (band, action)


def test_the_uncertain_band_lies_between_the_thresholds():
    bands = default_policy().classifier[Category.VIOLENCE]
    middle = (bands.uncertain + bands.block) / 2
    decision = decided(ran(finding(Category.VIOLENCE, guard="classifier", score=middle)))
    assert decision.verdicts[0].band is Band.UNCERTAIN
    assert decision.verdicts[0].threshold == bands.uncertain
    assert decision.action is Action.FLAG


def test_a_shadow_rule_is_recorded_and_not_carried_out():
    policy = usable("rules/secret.jwt", {"input": "block", "mode": "shadow"})
    decision = decided(ran(finding(Category.SECRET, rule="secret.jwt")), policy=policy)
    assert decision.action is Action.ALLOW
    assert decision.verdicts[0].shadow
    assert decision.verdicts[0].action is Action.BLOCK
    assert decision.redactions == ()


def test_a_group_gets_its_stricter_rule_and_nobody_else_does():
    policy = usable("groups/sales", {"rules": {"personal_data.email": {"input": "block"}}})
    mail = ran(finding(rule="personal_data.email"))
    sales = TurnContext(direction=Direction.INPUT, groups=("staff", "sales"))
    assert decided(mail, policy=policy).action is Action.FLAG
    assert decided(mail, policy=policy, context=sales).action is Action.BLOCK


def test_a_group_gets_lower_thresholds():
    policy = usable("groups/school", {"classifier": {"sexual": {"uncertain": 0.05, "block": 0.1}}})
    scored = ran(finding(Category.SEXUAL, guard="classifier", score=0.15))
    school = TurnContext(direction=Direction.INPUT, groups=("school",))
    assert decided(scored, policy=policy).action is Action.ALLOW
    assert decided(scored, policy=policy, context=school).action is Action.BLOCK


@pytest.mark.parametrize("status", [StageStatus.ERROR, StageStatus.TIMED_OUT])
def test_a_failed_guard_blocks_unless_the_policy_names_it(status):
    failed = Examination(guard="classifier", version="1", status=status, characters=0, error="ValueError")
    assert decided(ran(), failed).action is Action.BLOCK
    relaxed = usable("failures", {"guards": {"classifier": "flag"}})
    assert decided(ran(), failed, policy=relaxed).action is Action.FLAG


def test_redactions_merge_and_begin_after_the_overlap():
    found = [
        finding(start=2, end=8, rule="personal_data.iban"),
        finding(start=5, end=12, rule="personal_data.bank_card"),
        finding(start=20, end=25, rule="personal_data.us_ssn"),
        finding(start=0, end=3, rule="personal_data.us_ssn"),
    ]
    text = "abcdefghijklmnopqrstuvwxyz"
    assert decided(ran(*found)).apply(text) == "[ID NUMBER]mnopqrst[ID NUMBER]z"
    late = decided(ran(*found), context=TurnContext(direction=Direction.INPUT, overlap=6))
    assert [(r.start, r.end) for r in late.redactions] == [(6, 12), (20, 25)]
    assert len(late.verdicts) == 3  # what ends inside the overlap was judged before


FINDINGS = st.builds(
    finding,
    st.sampled_from(list(Category)),
    st.integers(0, 20),
    st.integers(21, 40),
    guard=st.sampled_from(["filters.x", "classifier"]),
    score=st.floats(0, 1),
    severity=st.sampled_from(["low", "medium", "high"]),
)


@settings(deadline=None)
@given(st.lists(FINDINGS, max_size=6), FINDINGS, st.sampled_from(list(Direction)))
def test_more_findings_never_weaken_a_decision(found, one_more, direction):
    context = TurnContext(direction=direction)
    less, more = decided(ran(*found), context=context), decided(ran(*found, one_more), context=context)
    assert severity_of(more.action) >= severity_of(less.action)


@settings(deadline=None)
@given(st.lists(FINDINGS, max_size=6), st.sampled_from(list(Direction)), st.sampled_from(list(Category)[:8]))
def test_a_group_never_weakens_a_decision(found, direction, category):
    override = {"classifier": {category.value: {"uncertain": 0.01, "block": 0.02}}}
    policy = usable("groups/g", override)
    one = decided(ran(*found), policy=policy, context=TurnContext(direction=direction))
    other = decided(ran(*found), policy=policy, context=TurnContext(direction=direction, groups=("g",)))
    assert severity_of(other.action) >= severity_of(one.action)


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
