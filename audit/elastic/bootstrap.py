"""What must be there before anything is delivered: lifecycle policy, templates, monthly indices, roles.

Runs as often as wanted: what is there already stays as it is, and only what is missing or older is made. Needs the
identity `attest_bootstrap` (or an administrator, for the roles). What a server does not have is said, not failed on.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch

from audit.elastic.families import FAMILIES, Family, next_month
from audit.elastic.mappings import MAPPINGS, SETTINGS, VERSION
from audit.elastic.roles import ROLES

POLICY = "attest"
_FORBIDDEN, _MISSING = 403, 404
_READ_ONLY_DAYS = 35
_EXISTS = "resource_already_exists_exception"
_NO_HANDLER = "no handler found"


class BootstrapError(Exception):
    """The server cannot be reached, or lets nothing be prepared; the message says what to do."""


class State(StrEnum):
    """What became of one thing."""

    MADE = "made"
    THERE = "there"
    UPDATED = "updated"
    ABSENT = "absent"
    """The server has no such thing."""
    REFUSED = "refused"
    """Not allowed, or not possible; `detail` says why."""


class Step(msgspec.Struct, frozen=True):
    """One thing that was looked after."""

    what: str
    name: str
    state: State
    detail: str = ""


class Bootstrap:
    """Prepares one server. Raises `BootstrapError` when it cannot be reached or does not let us in."""

    def __init__(self, client: AsyncElasticsearch, delete_after_days: int) -> None:
        """`delete_after_days`: how long after its end the lifecycle policy drops a month."""
        self._client = client
        self._delete_after_days = delete_after_days

    async def prepare(self, months: Sequence[datetime]) -> tuple[Step, ...]:
        """Make everything, with indices for these months; return what was done, in order."""
        try:
            policy = await self._policy()
            steps = [policy]
            lives = policy.state is not State.ABSENT
            steps += [await self._template(family, lives) for family in FAMILIES]
            steps += [await self._index(family, month, lives) for month in months for family in FAMILIES]
            steps += [await self._role(name, role) for name, role in ROLES.items()]
        except TransportError as error:
            raise BootstrapError(f"Elasticsearch cannot be reached ({type(error).__name__}).") from error
        return tuple(steps)

    async def _policy(self) -> Step:
        path = f"/_ilm/policy/{POLICY}"
        wanted = lifecycle_policy(self._delete_after_days)
        found = await self._call("GET", path)
        if _absent(found):
            detail = (
                "the server has no lifecycle policies: attest audit retention run drops old months, "
                "with ATTEST_ELASTICSEARCH_RETENTION"
            )
            return Step("lifecycle policy", POLICY, State.ABSENT, detail)
        if found.status == _MISSING:
            return _made("lifecycle policy", POLICY, await self._call("PUT", path, wanted))
        if found.body.get(POLICY, {}).get("policy", {}).get("phases") == wanted["policy"]["phases"]:
            return Step("lifecycle policy", POLICY, State.THERE)
        return _made("lifecycle policy", POLICY, await self._call("PUT", path, wanted), State.UPDATED)

    async def _template(self, family: Family, with_policy: bool) -> Step:
        path = f"/_index_template/{family.name}"
        wanted = index_template(family, with_policy=with_policy)
        found = await self._call("GET", path)
        templates = found.body.get("index_templates", []) if found.ok else []
        if templates and templates[0]["index_template"].get("_meta") == wanted["_meta"]:
            return Step("template", family.name, State.THERE)
        state = State.UPDATED if templates else State.MADE
        return _made("template", family.name, await self._call("PUT", path, wanted), state)

    async def _index(self, family: Family, month: datetime, lives: bool) -> Step:
        name = family.index(month)
        # Made ahead of its time: its age counts from the end of its month, not from today.
        ends_ms = round(next_month(month).timestamp() * 1000)
        settings = {"settings": {"index.lifecycle.origination_date": ends_ms}} if lives else {}
        made = await self._call("PUT", f"/{name}", settings)
        if made.error != _EXISTS:
            return _made("index", name, made)
        found = await self._call("GET", f"/{name}/_mapping")
        mappings = found.body.get(name, {}).get("mappings", {})
        if not found.ok or mappings.get("_meta", {}).get("attest_version", 0) >= VERSION:
            return Step("index", name, State.THERE)
        wanted = MAPPINGS[family.name]
        properties = _kept(wanted["properties"], mappings.get("properties", {}))
        updated = await self._call("PUT", f"/{name}/_mapping", {**wanted, "properties": properties})
        return _made("index", name, updated, State.UPDATED)

    async def _role(self, name: str, role: dict[str, Any]) -> Step:
        path = f"/_security/role/{name}"
        found = await self._call("GET", path)
        if _absent(found):
            return Step("role", name, State.ABSENT, "the server has no security")
        if found.ok and _same_role(found.body.get(name, {}), role):
            return Step("role", name, State.THERE)
        state = State.UPDATED if found.ok else State.MADE
        done = _made("role", name, await self._call("PUT", path, role), state)
        if done.state is State.REFUSED:
            detail = f"{done.detail}; make it from `attest audit bootstrap --roles-file roles.yml`"
            return msgspec.structs.replace(done, detail=detail)
        return done

    async def _call(self, method: str, path: str, body: object = None) -> "_Answer":
        headers = {"accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/json"
        try:
            answer = await self._client.perform_request(method, path, headers=headers, body=body)
        except ApiError as error:
            return _Answer(error.meta.status, _object(error.body))
        return _Answer(answer.meta.status, _object(answer.body))


class _Answer(msgspec.Struct, frozen=True):
    status: int
    body: dict[str, Any]

    @property
    def ok(self) -> bool:
        return self.status < 300  # noqa: PLR2004 - HTTP

    @property
    def error(self) -> str:
        error = self.body.get("error", "")
        return str(error.get("type", "")) if isinstance(error, dict) else str(error)


def _kept(wanted: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Return fields as an index may get them: those that it has stay as they are, for no server changes a field."""
    fields = {}
    for name, field in wanted.items():
        there = found.get(name, {})
        if "properties" in field:
            fields[name] = {**field, "properties": _kept(field["properties"], there.get("properties", {}))}
        else:
            fields[name] = there if there.get("type") == field["type"] else field
    return fields


def _absent(answer: _Answer) -> bool:
    return answer.error.startswith(_NO_HANDLER)


def _made(what: str, name: str, answer: _Answer, state: State = State.MADE) -> Step:
    if answer.ok:
        return Step(what, name, state)
    if answer.status == _FORBIDDEN:
        return Step(what, name, State.REFUSED, "this identity may not make it")
    return Step(what, name, State.REFUSED, f"{answer.error[:100]} {answer.status}")


def _object(body: object) -> dict[str, Any]:
    return body if isinstance(body, dict) else {}


def _same_role(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether a role grants exactly what it should: the server adds fields of its own and sorts as it likes."""
    return found.get("cluster", []) == wanted["cluster"] and (
        _grants(found.get("indices", []), "names") == _grants(wanted["indices"], "names")
        and _grants(found.get("applications", []), "application") == _grants(wanted["applications"], "application")
    )


def _grants(entries: Iterable[dict[str, Any]], key: str) -> set[tuple[str, tuple[str, ...]]]:
    return {(str(entry[key]), tuple(sorted(entry["privileges"]))) for entry in entries}


def lifecycle_policy(delete_after_days: int) -> dict[str, Any]:
    """Return the policy, ages counted from the end of a month: read-only, then dropped when every record may go."""
    return {
        "policy": {
            "phases": {
                "hot": {"min_age": "0ms", "actions": {"set_priority": {"priority": 100}}},
                "warm": {
                    "min_age": f"{_READ_ONLY_DAYS}d",
                    "actions": {
                        "readonly": {},
                        "forcemerge": {"max_num_segments": 1},
                        "set_priority": {"priority": 50},
                    },
                },
                "delete": {
                    "min_age": f"{delete_after_days}d",
                    "actions": {"delete": {"delete_searchable_snapshot": True}},
                },
            }
        }
    }


def index_template(family: Family, *, with_policy: bool) -> dict[str, Any]:
    """Return the template of a family."""
    settings = dict(SETTINGS) | ({"lifecycle": {"name": POLICY}} if with_policy else {})
    return {
        "index_patterns": [family.pattern],
        "priority": 500,
        "template": {"settings": {"index": settings}, "mappings": MAPPINGS[family.name]},
        "_meta": {"attest_version": VERSION, "lifecycle": with_policy},
    }
