"""What delivery tells becomes metrics, and nothing else."""

from audit.outbox import OutboxState
from gateway.telemetry import Telemetry


def lines(telemetry: Telemetry) -> list[str]:
    return [line for line in telemetry.render().decode().splitlines() if not line.startswith("#")]


def test_delivery_is_counted_by_what_became_of_records():
    telemetry = Telemetry({})
    watch = telemetry.delivery
    watch.delivered("created", 7)
    watch.delivered("refused", 1)
    watch.delayed("index_missing 403", 3)
    watch.interrupted("unreachable")
    watch.sampled(OutboxState(pending=5, dead_letters=1, lag_seconds=2.5))
    watch.fault("delivery", ValueError("words of a person"))
    found = lines(telemetry)
    assert 'attest_delivery_records_total{fate="created"} 7.0' in found
    assert 'attest_delivery_delayed_total{reason="index_missing 403"} 3.0' in found
    assert 'attest_delivery_interruptions_total{reason="unreachable"} 1.0' in found
    assert "attest_delivery_pending_records 5.0" in found
    assert "attest_delivery_lag_seconds 2.5" in found
    assert "attest_delivery_dead_letters 1.0" in found
    assert 'attest_faults_total{where="delivery"} 1.0' in found
    assert "words of a person" not in telemetry.render().decode()
