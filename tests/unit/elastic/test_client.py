"""How an identity is written, and that no secret shows."""

from pathlib import Path

import pytest

from audit.elastic.client import ElasticSettingsError, Identity, Server, connect
from audit.elastic.families import FAMILIES
from audit.elastic.roles import ROLES, SECURITY, WRITER, roles_file

NAME = "ATTEST_ELASTICSEARCH_WRITER"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("writer:pass:word", Identity(user="writer", password="pass:word")),
        ("apikey:bGluZQ==", Identity(api_key="bGluZQ==")),
        ("", Identity()),
    ],
)
def test_an_identity_is_read(written: str, expected: Identity):
    assert Identity.read(written, NAME) == expected
    assert "pass" not in repr(Identity.read(written, NAME))
    assert "bGluZQ" not in repr(Identity.read(written, NAME))


def test_an_identity_may_lie_in_a_file(tmp_path: Path):
    (tmp_path / "login").write_text("writer:password\n")
    assert Identity.read(f"file:{tmp_path}/login", NAME) == Identity(user="writer", password="password")


@pytest.mark.parametrize("written", ["writer", ":password", "writer:", "file:/nowhere/at/all"])
def test_what_is_no_identity_names_the_setting_and_not_the_secret(written: str):
    with pytest.raises(ElasticSettingsError, match=NAME) as error:
        Identity.read(written, NAME)
    assert "password" not in str(error.value).replace("user:password", "")


def test_addresses_and_certificates_that_cannot_be_used_are_named(tmp_path: Path):
    with pytest.raises(ElasticSettingsError, match="ATTEST_ELASTICSEARCH_URL"):
        connect(Server(("nonsense",)), Identity())
    (tmp_path / "ca").write_text("no certificate")
    with pytest.raises(ElasticSettingsError, match="CA file"):
        connect(Server(("https://e:9200",), tmp_path / "ca"), Identity())


@pytest.mark.parametrize(
    ("given", "port"),
    [("https://e", 443), ("http://e", 80), ("https://e:9243/base/", 9243), ("http://[::1]:9200", 9200)],
)
async def test_a_port_is_filled_in(given: str, port: int):
    client = connect(Server((given,)), Identity())
    (node,) = client.transport.node_pool.all()
    assert node.config.port == port
    await client.close()


def test_roles_touch_our_indices_alone_and_nobody_may_do_everything():
    ours = {family.pattern for family in FAMILIES}
    for name, role in ROLES.items():
        assert {pattern for grant in role["indices"] for pattern in grant["names"]} <= ours, name
        granted = {privilege for grant in role["indices"] for privilege in grant["privileges"]} | set(role["cluster"])
        assert not granted & {"all", "manage", "write", "index", "create", "auto_configure"}, name
    assert ROLES[WRITER]["cluster"] == []
    assert all("attest-content-*" not in grant["names"] for grant in ROLES[SECURITY]["indices"])
    assert len(roles_file().splitlines()) == len(ROLES)
