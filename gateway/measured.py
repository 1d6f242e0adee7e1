"""The inference tier and the safety layer with telemetry around them; neither needs to know of it."""

from collections.abc import AsyncIterator

from gateway.telemetry import Telemetry
from inference.ports import ChatModel, ChatRequest, Delta, ModelInfo
from safety.ports import SafetyLayer, TurnContext
from safety.verdict import Decision


class MeasuredModel:
    """A `ChatModel` whose every request has a span `chat MODEL` and passes its trace context on."""

    def __init__(self, model: ChatModel, telemetry: Telemetry) -> None:
        self._model = model
        self._telemetry = telemetry

    async def stream(self, request: ChatRequest, headers: dict[str, str] | None = None) -> AsyncIterator[Delta]:
        """Yield the answer in stretches; closing the iterator ends the span and cancels the generation."""
        span = self._telemetry.inference(request)
        stream = self._model.stream(request, {**(headers or {}), **span.headers})
        finish, failure = "", None
        try:
            async for delta in stream:
                if delta.text:
                    span.text()
                if delta.usage is not None:
                    span.usage(delta.usage)
                if delta.finish_reason is not None:
                    finish = delta.finish_reason.value
                yield delta
        except BaseException as error:
            failure = error
            raise
        finally:
            # Closed early is no failure of the model.
            span.end(finish, None if isinstance(failure, GeneratorExit) else failure)
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    async def models(self) -> tuple[ModelInfo, ...]:
        """Return the models on offer."""
        return await self._model.models()


class MeasuredSafety:
    """A `SafetyLayer` whose every examination has a span, and each of its guards a time by status."""

    def __init__(self, safety: SafetyLayer, telemetry: Telemetry) -> None:
        self._safety = safety
        self._telemetry = telemetry

    @property
    def policy_hash(self) -> str:
        """Identity of the policy in force."""
        return self._safety.policy_hash

    @property
    def classifier_hash(self) -> str:
        """Identity of the classifier in force."""
        return self._safety.classifier_hash

    async def examine(self, text: str, context: TurnContext) -> Decision:
        """Examine one text."""
        with self._telemetry.guard(context.direction.value) as decided:
            decision = await self._safety.examine(text, context)
            decided(decision)
            return decision
