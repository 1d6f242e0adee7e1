"""What a refused body's author is told: which field, never what stood there."""

from typing import Any

import pytest
from litestar import Litestar, Request, Response, post
from litestar.exceptions import ValidationException
from litestar.params import JSONBody
from litestar.testing import TestClient

from gateway.http.errors import _fields
from gateway.http.openai_types import ChatCompletionRequest

GOOD = {"messages": [{"role": "user", "content": "hi"}]}
ODD = "S3CRET-field"


@post("/", status_code=200)
async def take(data: JSONBody[ChatCompletionRequest]) -> str:
    return data.model or "ok"


def told(_: Request[Any, Any, Any], error: ValidationException) -> Response[str]:
    return Response(_fields(error), status_code=400)


@pytest.fixture(scope="module")
def client():
    with TestClient(Litestar([take], exception_handlers={ValidationException: told})) as client:
        yield client


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tools": []}, "tools (not offered)"),
        ({"logit_bias": {}}, "logit_bias (not offered)"),
        ({ODD: 1}, "an unknown field"),
        ({"n": 2}, "n"),
        ({"messages": [{"role": "user", "content": "hi", ODD: 1}]}, "an unknown field in messages[0]"),
        ({"messages": []}, "messages"),
    ],
)
def test_the_wrong_field_is_named(client, changes, said):
    answer = client.post("/", json=GOOD | changes)
    assert (answer.status_code, answer.text) == (400, f"Wrong or missing: {said}")


def test_what_clients_write_down_without_meaning_anything_is_taken(client):
    assert client.post("/", json=GOOD | {"frequency_penalty": 0.0, "model": None, "stream": None}).status_code == 200
