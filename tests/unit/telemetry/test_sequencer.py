"""What an operator is shown of the sequencer."""

import json
import time

from audit.sequencer import SequencerStatus, TreeRefusedError
from gateway.logging import configure_logging
from gateway.telemetry import Telemetry


async def test_gauges_follow_the_sequencer(capsys) -> None:
    status = SequencerStatus()
    telemetry = Telemetry({})
    telemetry.watch_sequencer(lambda: status)

    def value(name: str) -> float:
        (line,) = [line for line in telemetry.render().decode().splitlines() if line.startswith(f"{name} ")]
        return float(line.rpartition(" ")[2])

    assert (value("attest_audit_tree_size"), value("attest_audit_checkpoint_age_seconds")) == (0, 0)
    status = SequencerStatus(tree_size=12, unsequenced=3, signed_us=int((time.time() - 60) * 1e6), refused="why")
    assert (value("attest_audit_tree_size"), value("attest_audit_unsequenced_records")) == (12, 3)
    assert 59 < value("attest_audit_checkpoint_age_seconds") < 70
    assert value("attest_audit_tree_refused") == 1
    telemetry.sequencer_failed(TreeRefusedError("an old copy"))
    assert value("attest_audit_sequencer_failures_total") == 1
    await telemetry.aclose()


async def test_a_refusal_is_logged_with_its_reason_and_other_errors_by_their_class_alone(capsys) -> None:
    configure_logging("INFO")
    telemetry = Telemetry({})
    telemetry.sequencer_failed(TreeRefusedError("an old copy"))
    telemetry.sequencer_failed(ValueError("secret words"))
    await telemetry.aclose()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = [(line["error"], line["reason"]) for line in lines if line["event"] == "sequencer failed"]
    assert told == [("TreeRefusedError", "an old copy"), ("ValueError", "")]
