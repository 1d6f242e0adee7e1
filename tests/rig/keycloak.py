"""A real Keycloak with the realm that ships: `ATTEST_TEST_KEYCLOAK_URL` if set, else started from its Maven artifact.

A given server must have the realm imported with `ATTEST_PUBLIC_URL` and `ATTEST_OIDC_CLIENT_SECRET` as below, and the
bootstrap administrator of `ADMIN` and `ADMIN_PASSWORD`.
"""

import contextlib
import http.client
import json
import os
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.rig.ports import free_port
from tests.rig.process import cache_dir, java21, need, stop, unavailable, wait_for

VERSION = "26.7.3"
REALM_FILE = Path(__file__).parents[2] / "deploy" / "keycloak" / "attest-realm.json"
ADMIN, ADMIN_PASSWORD = "rig-admin", "rig-admin-password"
CLIENT_SECRET = "rig-client-secret"
PASSWORD = "Rig-people-1!"
_START_S = 240


class Keycloak:
    """A running server and the few things that tests do to it as its administrator."""

    def __init__(self, url: str, public_url: str) -> None:
        self.url = url
        self.public_url = public_url
        """Address of the gateway that the realm's client allows."""
        self._admin: tuple[str, float] = ("", 0)
        """The administrator's token, and until when it is used."""

    @property
    def issuer(self) -> str:
        return f"{self.url}/realms/attest"

    @property
    def gateway_port(self) -> int:
        return int(self.public_url.rsplit(":", 1)[1])

    def admin(self, method: str, path: str, body: object = None, realm: str = "attest") -> Any:
        """Call the administration API below the realm; return its JSON, or the Location header of a creation."""
        request = urllib.request.Request(f"{self.url}/admin/realms/{realm}{path}", method=method)
        request.add_header("authorization", f"Bearer {self._admin_token()}")
        if body is not None:
            request.add_header("content-type", "application/json")
            request.data = json.dumps(body).encode()
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
            return json.loads(text) if text else answer.headers.get("location")

    def token(self, realm: str, **form: str) -> dict[str, Any]:
        """Ask the token endpoint."""
        url = f"{self.url}/realms/{realm}/protocol/openid-connect/token"
        with urllib.request.urlopen(url, data=urllib.parse.urlencode(form).encode(), timeout=30) as answer:
            return dict(json.loads(answer.read()))

    def user_id(self, name: str) -> str:
        return str(self.admin("GET", f"/users?exact=true&username={name}")[0]["id"])

    def set_passwords(self) -> None:
        """Give the demo people a password: the realm file holds none."""
        for name in ("alice", "carol", "sam", "ada"):
            self._set_password(self.user_id(name))

    def new_user(self, name: str, groups: list[str]) -> str:
        self.remove_user(name)
        person = {
            "username": name, "enabled": True, "emailVerified": True, "firstName": name, "lastName": "Rig",
            "email": f"{name}@attest.example", "groups": groups,
        }  # fmt: skip
        user_id = str(self.admin("POST", "/users", person)).rsplit("/", 1)[1]
        self._set_password(user_id)
        return user_id

    def remove_user(self, name: str) -> None:
        for user in self.admin("GET", f"/users?exact=true&username={name}"):
            self.admin("DELETE", f"/users/{user['id']}")

    def change_user(self, name: str, **changes: Any) -> None:
        """Change some of a person's fields, `enabled` for instance."""
        path = f"/users/{self.user_id(name)}"
        self.admin("PUT", path, {**self.admin("GET", path), **changes})

    def leave_group(self, name: str, group: str) -> None:
        group_id = next(each["id"] for each in self.admin("GET", "/groups") if each["name"] == group)
        self.admin("DELETE", f"/users/{self.user_id(name)}/groups/{group_id}")

    def sign_out(self, name: str) -> None:
        """End a person's sessions, as an administrator does it."""
        self.admin("POST", f"/users/{self.user_id(name)}/logout")

    def user_sessions(self, name: str) -> int:
        return len(self.admin("GET", f"/users/{self.user_id(name)}/sessions"))

    def rotate_keys(self) -> None:
        """Give the realm a new signing key and take the old ones away."""
        old = self.admin("GET", "/components?type=org.keycloak.keys.KeyProvider")
        realm_id = self.admin("GET", "")["id"]
        config = {"priority": ["200"], "enabled": ["true"], "active": ["true"], "algorithm": ["RS256"]}
        component = {
            "name": f"rig-{free_port()}", "providerId": "rsa-generated", "parentId": realm_id,
            "providerType": "org.keycloak.keys.KeyProvider", "config": config,
        }  # fmt: skip
        self.admin("POST", "/components", component)
        for each in old:
            if each["providerId"] == "rsa-generated":
                self.admin("DELETE", f"/components/{each['id']}")

    def _set_password(self, user_id: str) -> None:
        credential = {"type": "password", "value": PASSWORD, "temporary": False}
        self.admin("PUT", f"/users/{user_id}/reset-password", credential)

    def _admin_token(self) -> str:
        if self._admin[1] < time.monotonic():
            form = {"grant_type": "password", "client_id": "admin-cli", "username": ADMIN, "password": ADMIN_PASSWORD}
            given = self.token("master", **form)
            self._admin = str(given["access_token"]), time.monotonic() + int(given["expires_in"]) / 2
        return self._admin[0]


@contextlib.contextmanager
def keycloak() -> Iterator[Keycloak]:
    """Give a server with the realm imported and passwords set; one start takes about half a minute."""
    given = os.environ.get("ATTEST_TEST_KEYCLOAK_URL")
    if given:
        server = Keycloak(given.rstrip("/"), os.environ["ATTEST_TEST_KEYCLOAK_PUBLIC_URL"])
        server.set_passwords()
        yield server
        return
    java = java21()
    archive = _archive()
    with tempfile.TemporaryDirectory(prefix="attest-keycloak-") as name:
        home = _unpack(archive, Path(name))
        server = Keycloak(f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}")
        process = _start(home, java, server)
        try:
            wait_for(lambda: _answers(server), process, _START_S, f"Keycloak ({home / 'rig.log'})")
            server.set_passwords()
            yield server
        finally:
            stop(process)


def _archive() -> Path:
    folder = cache_dir() / "keycloak"
    path = folder / f"keycloak-quarkus-dist-{VERSION}.zip"
    if path.is_file() and zipfile.is_zipfile(path):
        return path
    need("mvn")
    got = subprocess.run(
        [
            "mvn", "-q", "-B", "dependency:copy", f"-Dartifact=org.keycloak:keycloak-quarkus-dist:{VERSION}:zip",
            f"-DoutputDirectory={folder}", "-Dmdep.useBaseVersion=true",
        ],
        cwd=cache_dir(), capture_output=True, text=True, check=False, timeout=1200,
    )  # fmt: skip
    if got.returncode != 0 or not path.is_file():
        unavailable(f"Maven could not get Keycloak {VERSION}: {got.stdout[-300:]}")
    return path


def _unpack(archive: Path, folder: Path) -> Path:
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    home = folder / f"keycloak-{VERSION}"
    for script in (home / "bin").glob("*.sh"):
        script.chmod(0o755)
    target = home / "data" / "import" / "attest-realm.json"
    target.parent.mkdir(parents=True)
    target.write_bytes(REALM_FILE.read_bytes())
    return home


def _start(home: Path, java: Path, server: Keycloak) -> subprocess.Popen[bytes]:
    port = server.url.rsplit(":", 1)[1]
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(home), "JAVA_HOME": str(java), "LANG": "C.UTF-8",
        "KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN, "KC_BOOTSTRAP_ADMIN_PASSWORD": ADMIN_PASSWORD,
        "JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx384m", "JAVA_OPTS_APPEND": "-XX:TieredStopAtLevel=1",
        "ATTEST_PUBLIC_URL": server.public_url, "ATTEST_OIDC_CLIENT_SECRET": CLIENT_SECRET,
    }  # fmt: skip
    log = (home / "rig.log").open("wb")
    process = subprocess.Popen(
        [
            "bin/kc.sh", "start-dev", "--http-host=127.0.0.1", f"--http-port={port}", "--db=dev-mem",
            "--import-realm", "--log-level=warn",
        ],
        cwd=home, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    log.close()
    return process


def _answers(server: Keycloak) -> bool:
    try:
        with urllib.request.urlopen(f"{server.issuer}/.well-known/openid-configuration", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.HTTPError, http.client.HTTPException):
        return False
