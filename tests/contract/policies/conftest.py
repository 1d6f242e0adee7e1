"""A log on either database, and the classifier that ships, opened once."""

from collections.abc import AsyncIterator, Callable

import pytest

from audit.approval import Approvals
from gateway.governance import Governance, make_governance
from gateway.policies.gateways import Gateways
from gateway.policies.in_force import PolicyInForce
from gateway.policies.versions import PolicyVersions
from gateway.settings import load
from gateway.telemetry import Telemetry
from safety.classifier.guard import HarmClassifier
from safety.compose import Layers
from tests.contract.governing.conftest import engine, governor, log, raw

__all__ = ["engine", "governor", "log", "raw"]


@pytest.fixture(scope="session")
def layers() -> Layers:
    return Layers(HarmClassifier(), guard_timeout_s=30)


@pytest.fixture
def versions(governor) -> PolicyVersions:
    return PolicyVersions(governor)


@pytest.fixture
def approvals(governor) -> Approvals:
    return Approvals(governor)


@pytest.fixture
async def governance(engine, tmp_path) -> AsyncIterator[Governance]:
    made = make_governance(load(data_dir=tmp_path), engine)
    yield made
    await made.close()


@pytest.fixture
def gateway(log, versions, governor, layers, tmp_path) -> Callable[..., PolicyInForce]:
    """Make what one gateway judges by; several are several gateways."""

    def make(**settings) -> PolicyInForce:
        chosen = load(data_dir=tmp_path, **settings)
        gateways = Gateways(governor, chosen.port)
        return PolicyInForce(chosen, layers, versions, gateways, log.log, Telemetry({}))

    return make
