"""An export whose reader's session ends is cut there, and the log says how much of it left."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

import audit.search.export
import gateway.inquiry.exports
from audit.approval import Approvals
from audit.governing import Governor
from audit.record import Kind
from audit.search.export import Format, TurnExport
from audit.search.query import TurnQuery
from gateway.auth.principal import Principal
from gateway.auth.roles import RoleMap
from gateway.auth.session import Sessions, SessionTimes
from gateway.cases.store import is_closed
from gateway.ending.ended import EndedAccess
from gateway.ending.endings import Endings
from gateway.ending.watch import AccessWatch
from gateway.inquiry.exports import ExportOrder, Exports
from gateway.inquiry.officer import Officer
from gateway.inquiry.permission import ReadingPermission
from gateway.problems import AccessEndedError
from tests.contract.audit.conftest import MASTER

ROLES = RoleMap("groups", {"audit": "compliance"})
TURNS = 12


@pytest.mark.parametrize("wanted", [Format.NDJSON, Format.BUNDLE])
async def test_a_session_that_ends_in_the_middle_of_an_export_cuts_it(
    engine: AsyncEngine, governor: Governor, log: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: Format
) -> None:
    monkeypatch.setattr(audit.search.export, "AT_ONCE_WITHOUT_TEXTS", 2)
    monkeypatch.setattr(gateway.inquiry.exports, "_CHUNK", 100)
    for at in range(TURNS):
        await log.add_turn(f"t{at:02}")
    await log.sign()
    sessions, ended = Sessions(engine, ROLES, SessionTimes(3600, 36_000)), EndedAccess(engine, ROLES, 60)
    groups = ("/audit",)
    carol = Principal("carol", "Carol", groups, ROLES.roles(groups), session=True)
    signed_in = await sessions.find(await sessions.open(carol, "sid", "t", None))
    assert signed_in is not None
    watch = AccessWatch(ended, {"session": sessions})
    await watch.refresh()
    exports = Exports(
        log.log, TurnExport(engine, MASTER, log.keys), tmp_path / "exports",
        ReadingPermission(Approvals(governor), partial(is_closed, governor), four_eyes=False), watch,
    )  # fmt: skip
    export = await exports.begin(Officer(signed_in), ExportOrder(TurnQuery(), wanted))
    assert await anext(export.chunks)
    await watch.look()
    assert await anext(export.chunks)
    await Endings(governor).end_sessions_of("carol", reason="administrator", by="ada")
    await watch.refresh()
    await watch.look()
    with pytest.raises(AccessEndedError):
        await anext(export.chunks)
    await export.close()
    said = [(one.detail["state"], one.detail.get("turns")) for one in await log.records(Kind.ACCESS_EXPORT.value)]
    assert said == [("started", None), ("broken_off", 4) if wanted is Format.NDJSON else ("complete", None)]
    assert list((tmp_path / "exports").glob("*")) == []
    assert exports._running == 0
