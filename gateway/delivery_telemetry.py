"""What delivery to Elasticsearch tells operators."""

from collections.abc import Callable

import structlog

from audit.outbox import OutboxState
from gateway.metrics import Metrics


class DeliveryTelemetry:
    """What delivery tells. Implements `audit.delivery.DeliveryWatch`; reasons are codes of ours or of the store."""

    def __init__(self, metrics: Metrics, fault: Callable[[str, BaseException], None]) -> None:
        self._metrics = metrics
        self._log = structlog.get_logger("attest.delivery")
        self.fault = fault

    def delivered(self, fate: str, count: int) -> None:
        """Count records that came to their end; a refused one is an alarm."""
        self._metrics.delivered.labels(fate).inc(count)
        if fate == "refused":
            self._log.error("dead letters", count=count)

    def delayed(self, reason: str, count: int) -> None:
        """Count records that must wait."""
        self._metrics.delayed.labels(reason).inc(count)

    def interrupted(self, reason: str) -> None:
        """Count and log that nothing can be delivered now."""
        self._metrics.delivery_interruptions.labels(reason).inc()
        self._log.warning("delivery interrupted", reason=reason)

    def sampled(self, state: OutboxState) -> None:
        """Show how far delivery is."""
        self._metrics.delivery_pending.set(state.pending)
        self._metrics.delivery_lag.set(state.lag_seconds)
        self._metrics.dead_letters.set(state.dead_letters)
