"""A recorded turn judged again: its texts, and the policy that was in force, both out of the log."""

from audit.ports import AuditLog, TurnTrail
from audit.readers import Readers
from audit.record import Kind
from gateway.rejudging import Rejudged, recorded_policy, rejudge
from safety.policy_shape import Policy

_MOST = 1_000_000


class Replays:
    """Judges again. Raises `AuditUnavailableError`, `AuditIntegrityError`."""

    def __init__(self, log: AuditLog, readers: Readers) -> None:
        self._log = log
        self._readers = readers

    async def turn(self, turn_id: str) -> Rejudged | None:
        """Return what came of a turn; None when there is no such turn."""
        trail = await self._log.turn(turn_id)
        return await self.of(trail) if trail is not None else None

    async def of(self, trail: TurnTrail) -> Rejudged:
        """Return what came of a turn that was read."""
        digest = next((record.policy_hash for record in trail.records if record.policy_hash), "")
        return await rejudge(trail, await self._policy(digest))

    async def _policy(self, digest: str) -> Policy | None:
        """Return the policy with this hash, from the newest record of its activation that can be read."""
        found = None
        async for entry in self._log.entries((Kind.POLICY_ACTIVATED.value,), _MOST):
            if entry.policy_hash == digest and entry.commitments:
                for content in await self._readers.contents(entry.entry_id):
                    found = recorded_policy(content.text, digest) or found
        return found
