"""Every error that a client may see: one base class.

docs/errors.md describes each code, and a test compares. No message ever quotes a request.
"""

from typing import ClassVar


class AttestError(Exception):
    """Base of all errors that a client may see. The message says what to do next."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something failed on our side"
    openai_type: ClassVar[str] = "server_error"

    def __init__(self, detail: str = "", *, retry_after: int | None = None, turn_id: str = "") -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.retry_after = retry_after
        self.turn_id = turn_id
        self.about: dict[str, str] = {}
        """What a record of the refusal says beside its code; never text of a request."""


class BadRequestError(AttestError):
    """The request cannot be understood."""

    code = "bad-request"
    status = 400
    title = "The request cannot be understood"
    openai_type = "invalid_request_error"


class ContextTooLongError(AttestError):
    """The dialogue leaves no room for an answer in the model's context."""

    code = "context-too-long"
    status = 400
    title = "The dialogue is too long for the model; start a new one or shorten it"
    openai_type = "invalid_request_error"


class PurposeRequiredError(AttestError):
    """Texts of turns are only shown for a purpose."""

    code = "purpose-required"
    status = 400
    title = "Say for which case: texts are only shown for a purpose"
    openai_type = "invalid_request_error"


class UnauthenticatedError(AttestError):
    """Nobody is signed in, or the token is not valid."""

    code = "unauthenticated"
    status = 401
    title = "Sign in first"
    openai_type = "authentication_error"


class AccessEndedError(AttestError):
    """The person's access has ended, or that of the session or token."""

    code = "access-ended"
    status = 401
    title = "Your access has ended"
    openai_type = "authentication_error"


class ForbiddenError(AttestError):
    """The principal's roles do not allow it, or the request came from another site."""

    code = "forbidden"
    status = 403
    title = "Not allowed"
    openai_type = "permission_error"


class SecondOfficerRequiredError(AttestError):
    """Texts are only shown once a second officer has granted it for the case."""

    code = "second-officer-required"
    status = 403
    title = "A second officer must grant it first"
    openai_type = "permission_error"


class CaseClosedError(AttestError):
    """The purpose is the number of a case that was closed."""

    code = "case-closed"
    status = 403
    title = "The case is closed"
    openai_type = "permission_error"


class NotFoundError(AttestError):
    """There is no such thing, or it is somebody else's."""

    code = "not-found"
    status = 404
    title = "Not found"
    openai_type = "invalid_request_error"


class MethodNotAllowedError(AttestError):
    """The address exists, but not for this method."""

    code = "method-not-allowed"
    status = 405
    title = "Method not allowed"
    openai_type = "invalid_request_error"


class ConflictError(AttestError):
    """The thing is in a state that does not allow it."""

    code = "conflict"
    status = 409
    title = "Not possible now"
    openai_type = "invalid_request_error"


class OtherPersonError(AttestError):
    """The page is one person's, and the session is another's by now."""

    code = "other-person"
    status = 409
    title = "Somebody else is signed in by now"
    openai_type = "invalid_request_error"


class TooLargeError(AttestError):
    """The body is larger than the limit."""

    code = "too-large"
    status = 413
    title = "The request is too large"
    openai_type = "invalid_request_error"


class UnsupportedMediaError(AttestError):
    """The body has a type that the address does not take."""

    code = "unsupported-media-type"
    status = 415
    title = "Send JSON"
    openai_type = "invalid_request_error"


class RateLimitedError(AttestError):
    """The subject started too many turns."""

    code = "rate-limited"
    status = 429
    title = "Too many turns; wait a moment"
    openai_type = "rate_limit_error"


class BudgetExhaustedError(AttestError):
    """A budget of the person or of a group is used up."""

    code = "budget-exhausted"
    status = 429
    title = "The budget is used up"
    openai_type = "insufficient_quota"

    def __init__(
        self, detail: str = "", *, retry_after: int | None = None, about: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.about = about or {}


class OverloadedError(AttestError):
    """No place is free, and the queue is full or the wait was too long."""

    code = "overloaded"
    status = 503
    title = "Too many turns are running; try again shortly"


class GuardsLateError(AttestError):
    """A guard was late over an earlier message, so that nobody knows whether it may go to the model."""

    code = "guards-late"
    status = 503
    title = "The earlier messages could not be examined in time; try again shortly or shorten the dialogue"


class LimiterUnavailableError(AttestError):
    """Admission cannot be decided and the setting says closed."""

    code = "limiter-unavailable"
    status = 503
    title = "Admission cannot be decided now; try again shortly"


class AuditUnavailableProblemError(AttestError):
    """The record cannot be made durable, so nothing is done."""

    code = "audit-unavailable"
    status = 503
    title = "The audit log cannot take the record, so the turn was not started"


class AuditAlteredError(AttestError):
    """What is stored is not what was written."""

    code = "audit-altered"
    status = 500
    title = "A record is not what was written; an operator must run attest audit fsck"


class InferenceUnavailableError(AttestError):
    """The model does not answer."""

    code = "inference-unavailable"
    status = 503
    title = "The model does not answer now; try again shortly"


class PolicyUnavailableError(AttestError):
    """The policy in force cannot be used here, or is not known; nothing is judged by another one."""

    code = "policy-unavailable"
    status = 503
    title = "The policy in force cannot be used here now; try again shortly"


class DatabaseUnavailableError(AttestError):
    """The database cannot be reached, or gives no answer in time."""

    code = "database-unavailable"
    status = 503
    title = "The database does not answer now; try again shortly"


class ProviderUnavailableError(AttestError):
    """The identity provider does not answer."""

    code = "provider-unavailable"
    status = 503
    title = "The sign-in service does not answer now; try again shortly"


def all_codes() -> dict[str, type[AttestError]]:
    """Return every error code and its class."""
    found: dict[str, type[AttestError]] = {}
    pending = [AttestError]
    while pending:
        kind = pending.pop()
        found[kind.code] = kind
        pending += kind.__subclasses__()
    return found
