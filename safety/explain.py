"""One verdict explained, for people and programs: what `attest safety check` prints."""

import msgspec

from safety.pipeline import Pipeline
from safety.pseudonyms import Pseudonyms
from safety.verdict import Decision


class FindingReport(msgspec.Struct, frozen=True):
    """One finding and what the policy makes of it."""

    guard: str
    rule: str
    title: str
    category: str
    start: int
    end: int
    score: float
    threshold: float
    band: str
    action: str
    shadow: bool


class StageReport(msgspec.Struct, frozen=True):
    """What one guard did."""

    stage: str
    status: str
    characters: int
    milliseconds: float
    version: str
    error: str


class PolicyReport(msgspec.Struct, frozen=True):
    """The policy in force."""

    name: str
    version: int
    hash: str


class Report(msgspec.Struct, frozen=True):
    """The JSON shape of `attest safety check --json`."""

    action: str
    verdict: str
    """`pass | redacted | blocked`."""
    delivered: str
    """The text as it would go on; empty when it is blocked."""
    findings: tuple[FindingReport, ...]
    stages: tuple[StageReport, ...]
    policy: PolicyReport
    classifier: str
    """Version of the classifier."""
    normaliser: str

    @property
    def blocked(self) -> bool:
        """Whether the text may not pass."""
        return self.verdict == "blocked"

    def in_words(self) -> str:
        """Return the report as lines for a terminal."""
        lines = [f"{self.verdict} ({self.action})"]
        lines += [
            f"  {found.rule} [{found.start}:{found.end}] score {found.score:.3f} threshold {found.threshold:.2f}"
            f" band {found.band} -> {found.action}{' (shadow)' if found.shadow else ''}: {found.title}"
            for found in self.findings
        ]
        lines += [
            f"  {stage.stage}: {stage.status}, {stage.characters} characters, {stage.milliseconds:.2f} ms"
            f"{', ' + stage.error if stage.error else ''}"
            for stage in self.stages
        ]
        lines.append(f"  policy {self.policy.name} {self.policy.version} sha256:{self.policy.hash[:16]}")
        if self.verdict == "redacted":
            lines.append(f"  goes on as: {self.delivered}")
        return "\n".join(lines)


def explain(text: str, decision: Decision, pipeline: Pipeline) -> Report:
    """Put a decision on `text` into words and plain values."""
    verdict = "blocked" if decision.blocked else "redacted" if decision.redactions else "pass"
    return Report(
        action=decision.action.value,
        verdict=verdict,
        delivered="" if decision.blocked else Pseudonyms([text]).apply(decision, text),
        findings=tuple(
            FindingReport(
                guard=v.finding.guard,
                rule=v.finding.rule,
                title=pipeline.rule_title(v.finding.rule, "en"),
                category=v.finding.category.value,
                start=v.finding.start,
                end=v.finding.end,
                score=v.finding.score,
                threshold=v.threshold,
                band=v.band.value,
                action=v.action.value,
                shadow=v.shadow,
            )
            for v in decision.verdicts
        ),
        stages=tuple(
            StageReport(e.guard, e.status.value, e.characters, round(e.milliseconds, 3), e.version, e.error)
            for e in decision.examinations
        ),
        policy=PolicyReport(pipeline.policy.name, pipeline.policy.version, decision.policy_hash),
        classifier=pipeline.classifier_hash,
        normaliser=decision.normaliser_version,
    )
