"""The judge behind the second opinion: the inference tier, or another endpoint that the policy names."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing

from gateway.models import ModelCatalogue
from inference.openai_compat import Bounds, OpenAICompatModel
from inference.ports import ChatModel, ChatRequest, Message, Role
from safety.policy_shape import SecondOpinionRule
from safety.second_opinion import Question

_MOST_TOKENS = 2
"""One letter; some tokenizers put a space of its own before it."""


class ModelJudge:
    """Implements `safety.second_opinion.Judge` over a `ChatModel`."""

    def __init__(
        self,
        model: ChatModel,
        name: Callable[[], Awaitable[str]],
        closes: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`name` says which model to ask for, `closes` ends what was opened for this judge alone."""
        self._model = model
        self._name = name
        self._closes = closes

    async def close(self) -> None:
        """Close the judge's own endpoint, where it has one."""
        if self._closes is not None:
            await self._closes()

    async def answer(self, question: Question) -> str:
        """Ask without chance in the answer. Raises `InferenceError`, or what naming the model raises."""
        request = ChatRequest(
            model=await self._name(),
            messages=(Message(Role.SYSTEM, question.system), Message(Role.USER, question.user)),
            max_tokens=_MOST_TOKENS,
            temperature=0.0,
            top_p=1.0,
        )
        said = ""
        async with aclosing(self._model.stream(request)) as stream:  # type: ignore[type-var]
            async for delta in stream:
                said += delta.text
        return said


def make_judge(model: ChatModel, catalogue: ModelCatalogue) -> Callable[[SecondOpinionRule], ModelJudge]:
    """Return what makes the judge that a policy wants: over its own endpoint, or over the tier that answers."""

    def make(rule: SecondOpinionRule) -> ModelJudge:
        if not rule.url:
            return ModelJudge(model, lambda: catalogue.resolve(rule.model))
        own = OpenAICompatModel(rule.url, bounds=Bounds(silence_s=rule.timeout_s, total_s=rule.timeout_s))
        offered = ModelCatalogue(own, rule.model)
        return ModelJudge(own, lambda: offered.resolve(""), own.close)

    return make
