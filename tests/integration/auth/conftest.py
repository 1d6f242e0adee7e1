from collections.abc import Iterator

import pytest

from tests.rig.keycloak import Keycloak, keycloak


@pytest.fixture(scope="session")
def real_keycloak() -> Iterator[Keycloak]:
    with keycloak() as server:
        yield server
