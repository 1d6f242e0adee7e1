"""What records say in codes, in the reader's language. A code that nobody knows is shown as it stands."""

import re
from dataclasses import dataclass

from markupsafe import Markup, escape

from audit.record import FindingRecord, StageRecord
from gateway.rejudging import StageAgain, Why
from gateway.web.catalogue import Catalogue
from gateway.web.markdown import visible

_CONTEXT = "context."
_MAY_BREAK = re.compile(r"([._])(?=.)")
_LOGOUT = "logout_"


@dataclass(frozen=True)
class Words:
    """The words of one language. What it returns has no character that cannot be seen."""

    catalogue: Catalogue

    def kind(self, kind: str) -> str:
        """Return what a kind of record is called."""
        return self._of("record.kind", kind)

    def stage(self, stage: str) -> str:
        """Return what a stage is called, for instance `input.filters.secrets`."""
        side, _, guard = stage.partition(".")
        key = f"record.side.{side}"
        name = self._of("record.guard", guard)
        return self.catalogue.text(key, name=name) if guard and self.catalogue.has(key) else visible(stage)

    def error(self, stage: StageRecord) -> str:
        """Return why a stage did not speak; empty: it did."""
        if not stage.error:
            return ""
        key = f"record.error.{stage.error}"
        if self.catalogue.has(key):
            return self.catalogue.text(key)
        return self.catalogue.text("record.error.fault", name=visible(stage.error))

    def reason(self, reason: str) -> str:
        """Return why a turn ended early, or why somebody was refused."""
        if reason.startswith(_LOGOUT):
            return self.catalogue.text("record.reason.logout", reason=self.reason(reason.removeprefix(_LOGOUT)))
        group = "console.turn.reason" if self.catalogue.has(f"console.turn.reason.{reason}") else "record.reason"
        return self._of(group, reason)

    def surface(self, surface: str) -> str:
        """Return where somebody worked."""
        return self._of("console.turn.surface", surface)

    def worked_at(self, surface: str) -> str:
        """Return where an officer worked: their page is the console."""
        key = f"record.surface.{surface}"
        return self.catalogue.text(key) if self.catalogue.has(key) else self.surface(surface)

    def role(self, role: str) -> str:
        """Return what a role is called."""
        return self._of("record.role", role)

    def code(self, code: str) -> Markup:
        """Return a code that may break after its dots and underscores, and nowhere else."""
        return Markup(_MAY_BREAK.sub(r"\1<wbr>", str(escape(visible(code)))))  # noqa: S704 - escaped

    def place(self, finding: FindingRecord) -> str:
        """Return in which text a finding is, and from where to where in it."""
        at = {"start": finding.start, "end": finding.end}
        where = finding.where
        if where.startswith(_CONTEXT) and (number := where.removeprefix(_CONTEXT)).isdecimal():
            return self.catalogue.text("record.place.context", number=number, **at)
        key = f"console.turn.span.{where}"
        if self.catalogue.has(key):
            return self.catalogue.text(key, **at)
        return f"{visible(where)} {finding.start}–{finding.end}"

    def why(self, why: Why | None) -> str:
        """Return why a turn cannot be judged again."""
        return self.catalogue.text(f"console.replay.because.{why}") if why else ""

    def again(self, stage: StageAgain) -> str:
        """Return why a stage that was judged again does not say the same."""
        if not stage.now:
            return self.why(stage.why)
        group = "console.verdict" if stage.why is Why.VERDICT else "console.status"
        return f"{self._of(group, stage.then)} → {self._of(group, stage.now)}"

    def _of(self, group: str, code: str) -> str:
        key = f"{group}.{code}"
        return self.catalogue.text(key) if self.catalogue.has(key) else visible(code)
