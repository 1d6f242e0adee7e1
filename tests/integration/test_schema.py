"""The OpenAPI document, held against the running product by schemathesis: nothing it can think of makes a 500."""

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error

from tests.rig.product import Product


@pytest.mark.timeout(600)
def test_no_request_makes_a_server_error(product: Product):
    headers = {"Authorization": f"Bearer {product.token('alice')}"}
    schema = schemathesis.openapi.from_url(f"{product.url}/docs/openapi.json")
    # The sign-in routes talk to a provider, page by page; they have tests of their own.
    operations = [found.ok() for found in schema.exclude(path_regex="^/(auth|dev-provider)/").get_all_operations()]
    assert {(operation.method.upper(), operation.path) for operation in operations} >= {
        ("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("GET", "/health/ready"),
        ("POST", "/chat/{conversation_id}/turns"),
    }  # fmt: skip
    for operation in operations:

        @hypothesis.settings(
            max_examples=25, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )  # fmt: skip
        @hypothesis.given(case=operation.as_strategy())
        def holds(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=[not_a_server_error], headers=headers, timeout=60)

        holds()
