"""A real Elasticsearch with security: `ATTEST_TEST_ELASTICSEARCH_URL` if set, else started from its Maven artifact.

A given server must have the users of `PASSWORDS` with the roles of audit/elastic/roles.py of the same names, and the
superuser `ADMIN` with `ADMIN_PASSWORD`; what stands in indices named `attest-*` is deleted.
"""

import base64
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audit.elastic.roles import ROLES, roles_file
from tests.rig.ports import free_port
from tests.rig.process import (
    cache_dir,
    ending_with_us,
    give_to_ordinary_user,
    java21,
    need,
    ordinary_user,
    stop,
    unavailable,
    wait_for,
)

VERSION = "9.2.0"
ADMIN, ADMIN_PASSWORD = "rig-admin", "rig-admin-password"
PASSWORDS = {role: f"Rig-{role}-1!" for role in ROLES}
"""One user for each role, named as the role."""
_ARTIFACT = f"org.elasticsearch.distribution.integ-test-zip:elasticsearch:{VERSION}:zip"
_START_S = 180


class ElasticsearchServer:
    """A server that a test may stop, kill and start again on the same data, and what tests do as its superuser."""

    def __init__(self, url: str, home: Path | None = None, java: Path | None = None, data: Path | None = None) -> None:
        self.url = url
        self._home = home
        self._java = java
        self._data = data
        self.process: subprocess.Popen[bytes] | None = None

    def login(self, role: str) -> str:
        """Return `user:password` of the identity with this role: what a setting of that identity takes."""
        return f"{role}:{PASSWORDS[role]}"

    def call(self, method: str, path: str, body: object = None, user: str = "") -> Any:
        """Call the server as the superuser, or as `user:password`; return its JSON. Raises `HTTPError`."""
        request = urllib.request.Request(f"{self.url}{path}", method=method)
        login = user or f"{ADMIN}:{ADMIN_PASSWORD}"
        request.add_header("authorization", "Basic " + base64.b64encode(login.encode()).decode())
        if body is not None:
            lines = isinstance(body, str)
            request.add_header("content-type", "application/x-ndjson" if lines else "application/json")
            request.data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
            return json.loads(text) if text else {}

    def status(self, method: str, path: str, body: object = None, user: str = "") -> int:
        """Return the status alone."""
        try:
            self.call(method, path, body, user)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        return 200

    def documents(self, index: str, size: int = 10_000) -> list[dict[str, Any]]:
        """Refresh and return the documents of some indices, by sequence."""
        self.call("POST", f"/{index}/_refresh")
        sort = [{"event.sequence": {"order": "asc", "unmapped_type": "long"}}]
        return list(self.call("POST", f"/{index}/_search?size={size}", {"sort": sort})["hits"]["hits"])

    def clear(self) -> None:
        """Delete every index and template of Attest."""
        names = [one["index"] for one in self.call("GET", "/_cat/indices/attest-*?format=json&expand_wildcards=all")]
        for name in names:
            self.call("DELETE", f"/{name}")
        for name in self.call("GET", "/_index_template")["index_templates"]:
            if name["name"].startswith("attest-"):
                self.call("DELETE", f"/_index_template/{name['name']}")

    def start(self) -> None:
        assert self._home is not None
        assert self._java is not None
        port = self.url.rsplit(":", 1)[1]
        with (self._home / "rig.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *ending_with_us(), "bin/elasticsearch",
                    "-E", "discovery.type=single-node", "-E", "xpack.security.enabled=true",
                    "-E", "xpack.security.http.ssl.enabled=false", "-E", "xpack.security.enrollment.enabled=false",
                    "-E", "network.host=127.0.0.1", "-E", f"http.port={port}", "-E", "transport.port=0",
                    "-E", "action.auto_create_index=false", "-E", f"path.data={self._data}",
                    "-E", "cluster.routing.allocation.disk.threshold_enabled=false",
                ],
                cwd=self._home, env=_environment(self._home, self._java), stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True, **ordinary_user(),
            )  # fmt: skip
        wait_for(self._answers, self.process, _START_S, f"Elasticsearch ({self._home / 'rig.log'})")

    def stop(self) -> None:
        if self.process is not None:
            stop(self.process, 60)

    def kill(self) -> None:
        """As a lost machine: nothing is flushed."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def _answers(self) -> bool:
        try:
            health = self.call("GET", "/_cluster/health?wait_for_status=yellow&timeout=1s")
        except urllib.error.HTTPError as error:
            error.close()
            return False
        return health["status"] in {"yellow", "green"} and not health["timed_out"]


@contextlib.contextmanager
def elasticsearch() -> Iterator[ElasticsearchServer]:
    """Give a server without any index of Attest; one start takes about a quarter of a minute."""
    given = os.environ.get("ATTEST_TEST_ELASTICSEARCH_URL")
    if given:
        server = ElasticsearchServer(given.rstrip("/"))
        server.clear()
        yield server
        return
    with own_elasticsearch() as server:
        yield server


@contextlib.contextmanager
def own_elasticsearch() -> Iterator[ElasticsearchServer]:
    """Start a server that nobody else uses, for tests that take it away."""
    java = java21()
    archive = _archive()
    with (
        tempfile.TemporaryDirectory(prefix="attest-es-") as name,
        tempfile.TemporaryDirectory(prefix="attest-es-data-", dir=_memory()) as data,
    ):
        folder = Path(name)
        folder.chmod(0o755)
        home = _unpack(archive, folder)
        give_to_ordinary_user(Path(data))
        server = ElasticsearchServer(f"http://127.0.0.1:{free_port()}", home, java, Path(data))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _memory() -> str | None:
    """Return a folder in memory where there is one: what is tested is not the disk, and a kill leaves it as it is."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    return str(memory) if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30 else None


def _archive() -> Path:
    folder = cache_dir() / "elasticsearch"
    path = folder / f"elasticsearch-{VERSION}.zip"
    if path.is_file() and zipfile.is_zipfile(path):
        return path
    need("mvn")
    got = subprocess.run(
        [
            "mvn", "-q", "-B", "dependency:copy", f"-Dartifact={_ARTIFACT}",
            f"-DoutputDirectory={folder}", "-Dmdep.useBaseVersion=true",
        ],
        cwd=cache_dir(), capture_output=True, text=True, check=False, timeout=1200,
    )  # fmt: skip
    if got.returncode != 0 or not path.is_file():
        unavailable(f"Maven could not get Elasticsearch {VERSION}: {got.stdout[-300:]}")
    return path


def _unpack(archive: Path, folder: Path) -> Path:
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    home = folder / f"elasticsearch-{VERSION}"
    for script in (home / "bin").iterdir():
        script.chmod(0o755)
    (home / "config" / "roles.yml").write_text(roles_file())
    users = {ADMIN: (ADMIN_PASSWORD, "superuser")} | {role: (word, role) for role, word in PASSWORDS.items()}
    lines = [f"{name}:{_hashed(password)}\n" for name, (password, _) in users.items()]
    (home / "config" / "users").write_text("".join(lines))
    (home / "config" / "users_roles").write_text("".join(f"{role}:{name}\n" for name, (_, role) in users.items()))
    give_to_ordinary_user(folder)
    return home


def _hashed(password: str) -> str:
    """Return a password as the server's own tool would write it with `password_hashing.algorithm: pbkdf2_1000`."""
    salt = os.urandom(32)
    made = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 1000, 32)
    return f"{{PBKDF2}}1000${base64.b64encode(salt).decode()}${base64.b64encode(made).decode()}"


def _environment(home: Path, java: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8",
        "ES_JAVA_HOME": str(java), "ES_JAVA_OPTS": "-Xms512m -Xmx512m",
    }  # fmt: skip
