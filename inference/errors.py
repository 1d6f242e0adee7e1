"""What can go wrong in the inference tier, by name. No message quotes a request or an answer."""

from inference.ports import InferenceError


class RequestRefusedError(InferenceError):
    """The request is at fault, and sending it again will not help.

    `code` and `param` are those of OpenAI's error shape; `status` is the HTTP status that goes with them.
    """

    def __init__(
        self, message: str, *, code: str = "invalid_value", param: str | None = None, status: int = 400
    ) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
        self.status = status


class ContextOverflowError(RequestRefusedError):
    """The prompt leaves no room for an answer in the model's context."""

    def __init__(self, message: str, param: str = "messages") -> None:
        super().__init__(message, code="context_length_exceeded", param=param)


class RequestTooLargeError(RequestRefusedError):
    """Prompt and answer together need more key-value memory than there is for all requests."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"Prompt and max_tokens come to more than the {limit} tokens that this server has memory for.",
            param="max_tokens",
        )


class UnknownModelError(RequestRefusedError):
    """The endpoint does not serve the model that was asked for."""

    def __init__(self, message: str = "The model does not exist here; see /v1/models.") -> None:
        super().__init__(message, code="model_not_found", param="model", status=404)


class QueueFullError(InferenceError):
    """Too many requests wait already; `retry_after` says when to come back."""

    def __init__(self, retry_after: int = 1) -> None:
        super().__init__("Too many requests are waiting; try again shortly.", retry_after=retry_after)


class EngineFailedError(InferenceError):
    """The engine's loop failed while this request ran; it has been started again."""

    def __init__(self) -> None:
        super().__init__("The engine failed while answering and was restarted; send the request again.", retry_after=1)
