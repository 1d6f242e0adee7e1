"""SCIM's routes on each database: the real handlers, store and endings, called in the process."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from litestar import Litestar
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.middleware import ASGIMiddleware
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.governing import Governor
from audit.tables import AUDIT_ENTRY
from gateway.auth import tables as sign_in_tables
from gateway.auth.principal import Principal, Role
from gateway.auth.roles import RoleMap
from gateway.auth.session import Sessions, SessionTimes
from gateway.database import make_engine
from gateway.ending import tables as ending_tables
from gateway.ending.ended import EndedAccess
from gateway.ending.endings import Endings
from gateway.folding import fold_of
from gateway.http.errors import on_attest_error, on_http_exception
from gateway.problems import AccessEndedError, AttestError
from gateway.scim import tables as scim_tables
from gateway.scim.compose import make_provisioning
from gateway.scim.directory import Directory
from gateway.scim.routes import scim_router
from gateway.settings import ScimSubject, load
from tests.rig.databases import migrated

ROLES = RoleMap("groups", {"staff": "staff", "audit": "compliance"})
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"


class AsProvisioner(ASGIMiddleware):
    async def handle(self, scope: Any, receive: Any, send: Any, next_app: Any) -> None:
        scope["user"] = Principal("service:idp", "idp", (), frozenset({Role.PROVISIONING}))
        await next_app(scope, receive, send)


class Scim:
    """A provisioning client, and what follows from what it does."""

    def __init__(
        self,
        engine: AsyncEngine,
        client: httpx.AsyncClient,
        endings: Endings,
        directory: Directory,
        subject: ScimSubject,
    ) -> None:
        self.engine = engine
        self.client = client
        self.endings = endings
        self.directory = directory
        self.sessions = Sessions(engine, ROLES, SessionTimes(3600, 36_000))
        self.ended = EndedAccess(engine, ROLES, 60, fold=fold_of(subject))
        self.earlier = 0

    async def send(self, method: str, path: str, body: Any = None, status: int = 200, **headers: str) -> Any:
        headers = {"content-type": "application/scim+json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        answer = await self.client.request(method, "/scim/v2" + path, json=body, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def user(self, name: str, /, **attributes: Any) -> Any:
        body = {"schemas": [USER], "userName": name, "externalId": name, "active": True, **attributes}
        return await self.send("POST", "/Users", body, 201)

    async def group(self, name: str, *users: Any) -> Any:
        body = {"schemas": [GROUP], "displayName": name, "members": [{"value": user["id"]} for user in users]}
        return await self.send("POST", "/Groups", body, 201)

    async def patch(self, path: str, *operations: dict[str, Any], status: int = 200, **headers: str) -> Any:
        return await self.send("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)}, status, **headers)

    async def standing(self, subject: str, *groups: str) -> frozenset[Role] | None:
        """Return the roles that are left of a person with these groups; None: no access."""
        await self.ended.refresh()
        try:
            return self.ended.standing(Principal(subject, subject, groups, ROLES.roles(groups))).roles
        except AccessEndedError:
            return None

    async def records(self, *kinds: str) -> list[tuple[str, str]]:
        table = AUDIT_ENTRY
        query = sa.select(table.c.kind, table.c.subject).order_by(table.c.entry_id)
        async with self.engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [tuple(row) for row in rows[self.earlier :] if not kinds or row.kind in kinds]


def _giver(part: object) -> Callable[[], object]:
    return lambda: part


def settings(**changed: Any) -> Any:
    return load(data_dir="unused", **changed)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One database of each kind for all tests of SCIM: each begins by emptying it, but for the log."""
    with migrated(request, request.param, tmp_path_factory.mktemp("scim")) as url:
        yield url


async def emptied(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        for tables in (scim_tables.metadata, ending_tables.metadata, sign_in_tables.metadata):
            for table in reversed(tables.sorted_tables):
                await connection.execute(sa.delete(table))


@pytest.fixture
async def make_scim(database: str) -> AsyncIterator[Any]:
    engine, clients = make_engine(database), []
    await emptied(engine)

    async def make(**changed: Any) -> Scim:
        governor = Governor(engine)
        endings = Endings(governor)
        parts = make_provisioning(settings(**changed), governor, endings, lambda: None)
        app = Litestar(
            [scim_router],
            middleware=[AsProvisioner()],
            dependencies={name: Provide(_giver(part), sync_to_thread=False) for name, part in parts.parts().items()},
            exception_handlers={AttestError: on_attest_error, HTTPException: on_http_exception},
            request_max_body_size=1_000_000,
        )
        # In the loop of the test, as the engine's connections are.
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        client = httpx.AsyncClient(transport=transport, base_url="http://testserver.local")
        clients.append(client)
        made = Scim(engine, client, endings, parts.directory, settings(**changed).scim_subject)
        made.earlier = len(await made.records())
        return made

    yield make
    for client in clients:
        await client.aclose()
    await engine.dispose()


@pytest.fixture
async def scim(make_scim: Any) -> Scim:
    made: Scim = await make_scim()
    return made
