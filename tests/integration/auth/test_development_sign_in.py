"""The development provider and the gateway over real HTTP."""

import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.rig.sign_in import Browser, SmallGateway, small_gateway


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[SmallGateway]:
    async with small_gateway(tmp_path) as running:
        yield running


@pytest.mark.parametrize(
    ("person", "roles"),
    [
        ("alice", ["staff"]),
        ("carol", ["compliance", "staff"]),
        ("sam", ["security", "staff"]),
        ("ada", ["admin", "staff"]),
    ],
)
async def test_each_person_signs_in_with_their_roles(gateway: SmallGateway, person: str, roles: list[str]) -> None:
    async with Browser() as browser:
        page = await browser.sign_in(gateway.url, person)
        me = await browser.me(gateway.url)
    assert page.status == 200
    assert page.url == f"{gateway.url}/secret"
    assert me["subject"] == person
    assert me["roles"] == roles
    assert me["session"] is True
    assert gateway.log.kinds() == ["login"]
    assert gateway.log.entries[0].subject == person
    assert gateway.log.entries[0].source_ip == "127.0.0.1"


async def test_keys_are_private(gateway: SmallGateway) -> None:
    folder = gateway.settings.data_dir / "development-provider"
    files = list(folder.iterdir())
    assert len(files) == 2
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
