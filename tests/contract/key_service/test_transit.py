"""A master key that a key service keeps sealed, against a server that speaks the protocol of Vault's transit engine."""

import base64
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit import key_service
from audit.keys import FileMasterKey, KeyFileError
from audit.transit import TransitKeyService, TransitSettings
from gateway.master_key import load_master_key
from gateway.settings import Settings, SettingsError, load
from tests.rig.certificate import certificate
from tests.rig.transit import TOKEN, TransitServer, transit

ABOUT = b"about"


@pytest.fixture
def server() -> Iterator[TransitServer]:
    with transit() as server:
        yield server


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(TOKEN + "\n")
    return path


def settings_for(server: TransitServer, token_file: Path, **changes: object) -> TransitSettings:
    fields = {"url": server.url, "key": "transit/attest", "token_file": token_file, "namespace": "team"}
    return TransitSettings(**{**fields, **changes})


@pytest.fixture
def service(server: TransitServer, token_file: Path) -> TransitKeyService:
    return TransitKeyService(settings_for(server, token_file))


def test_the_key_is_made_once_and_stored_sealed_only(tmp_path, server, service):
    path = tmp_path / "data" / "master.key"
    made = key_service.load_or_create(path, service)
    written = path.read_text()
    assert written.startswith("vault:v1:")
    assert path.stat().st_mode & 0o777 == 0o600
    sealed = made.wrap(b"k" * 32, ABOUT)
    again = key_service.load_or_create(path, service)
    assert again.identity == made.identity
    assert again.unwrap(sealed, ABOUT) == b"k" * 32
    assert again.derive("x") == made.derive("x")
    server.rotate()
    assert key_service.load(path, service).identity == made.identity, (
        "older versions of the service's key still open it"
    )
    assert key_service.load_or_create(tmp_path / "other.key", service).identity != made.identity
    assert (tmp_path / "other.key").read_text().startswith("vault:v2:")
    assert path.read_text() == written


def test_processes_that_start_at_once_get_one_key(tmp_path, service):
    path, found = tmp_path / "master.key", []
    threads = [
        threading.Thread(target=lambda: found.append(key_service.load_or_create(path, service).identity))
        for _ in range(8)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert (len(found), len(set(found))) == (8, 1)


def test_a_key_that_was_in_use_without_a_service_can_be_sealed(tmp_path, service):
    """As docs/operations.md says: the file's base64 is what Vault's own command takes as plaintext."""
    plain = FileMasterKey.load_or_create(tmp_path / "plain.key")
    path = tmp_path / "sealed.key"
    path.touch(0o600)
    path.write_text(service.seal(base64.b64decode((tmp_path / "plain.key").read_text())))
    assert key_service.load(path, service).identity == plain.identity
    with pytest.raises(KeyFileError, match="no key that Vault sealed"):
        key_service.load(tmp_path / "plain.key", service)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((403, b'{"errors":["permission denied"]}'), "token may not use the key"),
        ((404, b'{"errors":[]}'), "no such key or mount"),
        ((503, b'{"errors":["Vault is sealed"]}'), "sealed or in maintenance"),
        ((400, b'{"errors":["cipher: message authentication failed"]}'), "sealed by another key"),
        ((500, b"\xff" * 100_000), "HTTP 500"),
        ((307, b""), "HTTP 307"),
        ((200, b"not JSON"), "not that of a transit engine"),
        ((200, b"[" * 60_000), "not that of a transit engine"),
        ((200, b'{"data":{}}'), "not that of a transit engine"),
        ((200, b'{"data":{"plaintext":7,"ciphertext":7}}'), "not that of a transit engine"),
        ((200, b'{"data":{"plaintext":"?","ciphertext":"?"}}'), "not that of a transit engine"),
        ((200, b'{"data":{"plaintext":"' + b"A" * 100_000 + b'"}}'), "not that of a transit engine"),
    ],
)
def test_what_the_service_refuses_or_babbles_is_said_without_the_token(tmp_path, server, service, answer, why):
    path = tmp_path / "master.key"
    key_service.load_or_create(path, service)
    server.answer = answer
    server.asked.clear()
    for work in (lambda: key_service.load(path, service), lambda: service.seal(os.urandom(32))):
        with pytest.raises(KeyFileError, match=why) as error:
            work()
        assert TOKEN not in str(error.value)
    assert "/elsewhere" not in server.asked, "a token never follows a redirect"


def test_a_key_of_another_length_is_refused(tmp_path, service):
    path = tmp_path / "master.key"
    path.touch(0o600)
    path.write_text(service.seal(b"short"))
    with pytest.raises(KeyFileError, match="32 bytes"):
        key_service.load(path, service)


def test_a_service_that_is_gone_is_named(tmp_path, token_file):
    with transit() as server:
        service = TransitKeyService(settings_for(server, token_file))
    with pytest.raises(KeyFileError, match=r"transit/attest\): it cannot be reached"):
        key_service.load_or_create(tmp_path / "master.key", service)
    assert not (tmp_path / "master.key").exists()


@pytest.mark.parametrize("token", ["", "two words", "ключ", "wrong"])
def test_tokens_that_are_none(server, tmp_path, token):
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(token)
    with pytest.raises(KeyFileError, match="holds no token" if token != "wrong" else "token may not"):
        TransitKeyService(settings_for(server, path)).seal(b"k" * 32)


def test_files_that_others_may_read_are_refused(server, service, tmp_path, token_file):
    path = tmp_path / "master.key"
    key_service.load_or_create(path, service)
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        key_service.load(path, service)
    path.chmod(0o600)
    token_file.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        key_service.load(path, service)
    with pytest.raises(KeyFileError, match="cannot be read"):
        TransitKeyService(settings_for(server, tmp_path / "none")).seal(b"k" * 32)


def test_a_company_ca_is_trusted_and_another_is_not(tmp_path, token_file):
    ours, context = certificate(tmp_path, "ours")
    others, _ = certificate(tmp_path, "others")
    with transit(context) as server:
        service = TransitKeyService(settings_for(server, token_file, ca_file=ours))
        assert service.unseal(service.seal(b"k" * 32)) == b"k" * 32
        for ca_file in (others, None):
            with pytest.raises(KeyFileError, match="cannot be reached"):
                TransitKeyService(settings_for(server, token_file, ca_file=ca_file)).seal(b"k" * 32)
        with pytest.raises(KeyFileError, match="no certificate"):
            TransitKeyService(settings_for(server, token_file, ca_file=token_file))


def test_the_settings_choose_it(server, tmp_path, token_file):
    chosen = Settings(
        data_dir=tmp_path,
        vault_url=server.url,
        vault_key="transit/attest",
        vault_token_file=token_file,
        vault_namespace="team",
    )
    with pytest.raises(KeyFileError, match="cannot be read"):
        load_master_key(chosen)
    made = load_master_key(chosen, create=True)
    assert load_master_key(chosen).identity == made.identity
    assert (tmp_path / "master.key").read_text().startswith("vault:")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"vault_token_file": None}, "VAULT_TOKEN_FILE"),
        ({"vault_key": "attest"}, "ATTEST_VAULT_KEY"),
        ({"vault_key": "transit/../sys/raw"}, "ATTEST_VAULT_KEY"),
        ({"vault_namespace": "a\r\nX: y"}, "ATTEST_VAULT_NAMESPACE"),
        ({"master_key": base64.b64encode(b"k" * 32).decode()}, "ATTEST_MASTER_KEY"),
        ({"vault_url": "http://vault.example:8200"}, "ATTEST_VAULT_URL"),
    ],
)
def test_settings_that_do_not_fit_are_named(tmp_path, token_file, wrong, why):
    fields = {"data_dir": tmp_path, "vault_url": "https://vault.example:8200", "vault_token_file": token_file}
    load(**fields)
    with pytest.raises(SettingsError, match=why):
        load(**{**fields, **wrong})
