"""Wrong settings are named all at once, in words of ours: a parser's would quote a password."""

import io
import json
import logging
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner

from audit.keys import KeyFileError
from audit.ports import AuditIntegrityError
from gateway.cli import main
from gateway.logging import configure_logging
from gateway.settings import SettingsError, load
from gateway.starting import telling_why

SECRET = "S3CRETtail"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", f"postgresql+asyncpg://attest:p@ss:{SECRET}@db/attest"),
        ("database_url", f"mysql://attest:{SECRET}@db/attest"),
        ("database_url", f"attest:{SECRET}@db"),
        ("database_url", f"postgresql://attest:p@{SECRET}/x@db/attest"),
        ("database_url", f"postgresql://attest:p@x/{SECRET}@db/attest"),
        ("database_url", f"postgresql://attest:p@x?{SECRET}@db/attest"),
        ("database_url", f"postgresql://attest:p@x?{SECRET}=1@db:5432/attest"),
        ("database_url", f"postgres://attest:p@x/y?{SECRET}@db/attest"),
        ("database_url", f"postgresql://attest:{SECRET}@db/attest?sslmode=require"),
        ("redis_url", f"redis://:12?{SECRET}=1@valkey:6379/0"),
        ("redis_url", f"redis://:12/{SECRET}@valkey:6379/0"),
        ("redis_url", f"redis://:12#{SECRET}@valkey:6379/0"),
        ("redis_url", f"redis://:Zk4{SECRET}/Qm9v@valkey:6379/0"),
        ("redis_url", f"http://:{SECRET}@valkey:6379/0"),
        ("redis_url", f"redis://:{SECRET}@valkey:99999999/0"),
        ("log_level", "VERBOSE"),
        ("oidc_roles", "group=king"),
    ],
)
def test_a_wrong_setting_is_named_and_not_quoted(name, value):
    with pytest.raises(SettingsError) as caught:
        load(**{name: value})
    assert f"ATTEST_{name.upper()}" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "Zk4" not in str(caught.value)


@pytest.mark.parametrize("start", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_the_common_forms_of_an_address_are_understood(start):
    settings = load(database_url=f"{start}://attest:p%40ss@db/attest", redis_url="rediss://:p%2Fss@valkey:6379/0")
    assert settings.database == "postgresql+asyncpg://attest:p%40ss@db/attest"
    assert load(redis_url="unix:///run/valkey.sock").redis_url
    assert load(log_level="debug").log_level == "debug"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////srv/a@b.db",
        "sqlite+aiosqlite:///a.db",
        "postgresql:///attest?host=/run",
        "postgres://a:p@d/n?ssl=require",
        "postgresql://a@b:p?x@d/n?ssl=require",
    ],
)
def test_an_address_that_works_is_accepted(url):
    assert load(database_url=url).database.endswith(url.partition("://")[2])


@pytest.mark.parametrize(
    "url", ["redis://valkey", "redis://:p%40x@valkey:6379/0", "rediss://u:p@[::1]:1/2", "unix:///r@1"]
)
def test_an_address_of_redis_that_works_is_accepted(url):
    assert load(redis_url=url).redis_url.get_secret_value() == url


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyFileError("another master key"), "another master key"),
        (AuditIntegrityError("not the tree that was signed"), "not the tree that was signed"),
        (SettingsError("the file is damaged"), "the file is damaged"),
        (ValueError(SECRET), "OSError"),
    ],
)
def test_a_start_that_fails_says_why(error, reason):
    told, root = io.StringIO(), logging.getLogger()
    before = (root.handlers[:], root.level)
    try:
        configure_logging("INFO", told)
        with pytest.raises(type(error)), telling_why():
            raise error from (OSError(SECRET) if isinstance(error, ValueError) else None)
        logging.getLogger("uvicorn.error").error("Traceback (most recent call last):\n  %s", SECRET)
    finally:
        root.handlers[:], root.level = before
        structlog.reset_defaults()
    lines = [json.loads(line) for line in told.getvalue().splitlines()]
    assert (lines[0]["event"], lines[0]["error"], lines[0]["reason"]) == ("start failed", type(error).__name__, reason)
    assert SECRET not in told.getvalue()


@pytest.mark.parametrize(
    "arguments", [["serve"], ["doctor"], ["migrate"], ["audit", "list"], ["api-keys", "list"]], ids=" ".join
)
def test_a_folder_that_cannot_be_made_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ATTEST_DATA_DIR", f"{tmp_path}/file/data")
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code in {1, 3}
    assert f"{tmp_path}/file/data" in done.output
    assert isinstance(done.exception, SystemExit), "a sentence, and no traceback"
    if arguments != ["migrate"]:
        assert "ATTEST_DATA_DIR" in done.output
