"""How an error is told: RFC 9457 problem details, under `/v1` OpenAI's shape, under `/scim/v2` SCIM's.

`type` is `urn:attest:problem:<code>`; docs/errors.md describes each code.
"""

from typing import Any

import msgspec

from gateway.problems import AttestError, BadRequestError


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str = ""
    instance: str = ""
    turn_id: str = ""


def problem(error: AttestError, instance: str = "") -> Problem:
    """Return the problem details of an error."""
    return Problem(
        type=f"urn:attest:problem:{error.code}",
        title=error.title,
        status=error.status,
        detail=error.detail,
        instance=instance,
        turn_id=error.turn_id,
    )


def openai_error(error: AttestError) -> dict[str, Any]:
    """Return the same in the shape that OpenAI's clients read."""
    body: dict[str, Any] = {"message": error.detail, "type": error.openai_type, "param": None, "code": error.code}
    if error.turn_id:
        body["turn_id"] = error.turn_id
    return {"error": body}


def scim_error(error: AttestError) -> dict[str, Any]:
    """Return the same as SCIM's clients read it (RFC 7644, section 3.12)."""
    body: dict[str, Any] = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "status": str(error.status),
        "detail": error.detail,
    }
    return body | ({"scimType": "invalidSyntax"} if isinstance(error, BadRequestError) else {})
