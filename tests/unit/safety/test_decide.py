"""What the policy makes of findings: bands, shadow rules, groups, failed guards, redactions."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety.policy import decide
from safety.policy_shape import Override
from safety.ports import Direction, TurnContext
from safety.verdict import Action, Band, Category, Examination, StageStatus, severity_of
from tests.unit.safety.guards import INPUT, OUTPUT, default_policy, finding, ran
from tests.unit.safety.test_policy import usable

MAIL = "personal_data.email"


def decided(*examinations, policy=None, context=INPUT):
    return decide(examinations, policy or default_policy(), context, policy_hash="h", normaliser_version="1")


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


PHONE = "personal_data.cn_mobile"


@pytest.mark.parametrize(
    ("override", "groups", "placeholder"),
    [
        ({"rules": {PHONE: {"output": "redact", "placeholder": "[手机号]"}}}, ("hk",), "[手机号]"),
        ({"rules": {PHONE: {"placeholder": "[手机号]"}}}, ("other", "hk"), "[手机号]"),
        ({"rules": {PHONE: {"placeholder": "[手机号]"}}}, ("other",), "[PHONE]"),
        ({"rules": {PHONE: {"output": "redact"}}}, ("hk",), "[PHONE]"),
        ({"categories": {"personal_data": {"input": "redact", "output": "redact"}}}, ("hk",), "[PHONE]"),
        (
            {"categories": {"personal_data": {"input": "redact", "output": "redact", "placeholder": "[个人信息]"}}},
            ("hk",),
            "[个人信息]",
        ),
    ],
)
def test_a_placeholder_of_a_persons_group_stands_before_the_policys_own(override, groups, placeholder):
    context = TurnContext(direction=Direction.OUTPUT, groups=groups)
    decision = decided(ran(finding(rule=PHONE)), policy=usable("groups/hk", override), context=context)
    assert [one.placeholder for one in decision.redactions] == [placeholder]


def test_of_several_groups_the_first_ones_placeholder_counts():
    named = {name: {"rules": {PHONE: {"placeholder": f"[{name}]"}}} for name in ("a", "b")}
    for groups in (("a", "b"), ("b", "a")):
        context = TurnContext(direction=Direction.OUTPUT, groups=groups)
        [redaction] = decided(ran(finding(rule=PHONE)), policy=usable("groups", named), context=context).redactions
        assert redaction.placeholder == f"[{groups[0]}]"


def test_a_shadow_rule_is_recorded_and_not_carried_out():
    policy = usable("rules/secret.jwt", {"input": "block", "mode": "shadow"})
    decision = decided(ran(finding(Category.SECRET, rule="secret.jwt")), policy=policy)
    assert decision.action is Action.ALLOW
    assert decision.verdicts[0].shadow
    assert decision.verdicts[0].action is Action.BLOCK
    assert decision.redactions == ()


@pytest.mark.parametrize(
    ("entry", "action", "shadow"),
    [
        ({"input": "block"}, Action.BLOCK, False),
        ({"input": "block", "mode": "shadow"}, Action.ALLOW, True),
        ({"output": "block"}, Action.ALLOW, True),
        ({"mode": "enforce"}, Action.REDACT, False),
    ],
)
def test_a_rule_on_trial_for_all_is_carried_out_for_a_group_that_says_what_to_do(entry, action, shadow):
    policy = usable("rules/personal_data.email", {"mode": "shadow"})
    policy = msgspec.structs.replace(policy, groups={"sales": msgspec.convert({"rules": {MAIL: entry}}, Override)})
    sales = TurnContext(direction=Direction.INPUT, groups=("sales",))
    decision = decided(ran(finding(rule=MAIL)), policy=policy, context=sales)
    assert (decision.action, decision.verdicts[0].shadow) == (action, shadow)
    assert decided(ran(finding(rule=MAIL)), policy=policy).action is Action.ALLOW


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
