"""The gateway's judge: one short answer without chance, over whatever model the policy names."""

import msgspec
import pytest

from gateway.judge import ModelJudge, make_judge
from gateway.models import ModelCatalogue
from gateway.problems import InferenceUnavailableError
from inference.engine.scripted import Script, ScriptedEngine
from inference.ports import Role
from safety.pipeline import Pipeline
from safety.policy_shape import SecondOpinionRule
from safety.second_opinion import SecondOpinion, question_about
from tests.unit.gateway.turns import ScriptedModel, Trace
from tests.unit.safety.guards import INPUT, default_policy
from tests.unit.safety.test_second_opinion import Scorer


async def test_the_question_goes_to_the_model_as_system_and_user_message():
    model = ScriptedModel(Trace(), "A")

    async def name():
        return "judge"

    assert await ModelJudge(model, name).answer(question_about("text")) == "A"
    [request] = model.asked
    assert [message.role for message in request.messages] == [Role.SYSTEM, Role.USER]
    assert (request.model, request.temperature, request.max_tokens) == ("judge", 0.0, 2)
    assert model.closed


@pytest.mark.parametrize(
    ("said", "action"), [({"text": "A"}, "block"), ({"text": "B"}, "flag"), ({"error": "failed"}, "block")]
)
async def test_the_scripted_engine_as_judge_of_what_is_unsure(said, action):
    engine = ScriptedEngine(msgspec.convert({"model": "judge", "default": said}, Script))
    await engine.start()
    rule = SecondOpinionRule(enabled=True)
    policy = msgspec.structs.replace(default_policy(), second_opinion=rule)
    opinion = SecondOpinion(make_judge(engine, ModelCatalogue(engine))(rule), rule)
    pipeline = Pipeline([Scorer()], policy, second_opinion=opinion)
    assert (await pipeline.examine("unsure", INPUT)).action.value == action
    assert (await pipeline.examine("fine", INPUT)).action.value == "allow"
    await pipeline.close()
    await engine.close()


async def test_an_endpoint_of_its_own_that_is_not_there_fails_closed():
    model = ScriptedModel(Trace())
    rule = SecondOpinionRule(enabled=True, url="http://127.0.0.1:9/v1", model="m", timeout_s=2)
    judge = make_judge(model, ModelCatalogue(model))(rule)
    with pytest.raises(InferenceUnavailableError):
        await judge.answer(question_about("text"))
    assert model.asked == []
    await judge.close()
