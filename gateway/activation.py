"""`policy.activated`: which policy is in force from when on, once for each change, before the first turn."""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from audit.ports import AuditLog
from audit.record import Content, Entry, Kind
from safety.normalise import VERSION
from safety.pipeline import Pipeline

SUBJECT = "attest"
_MOST = 1_000_000


async def record_activation(audit: AuditLog, safety: Pipeline, decided: Mapping[str, str] | None = None) -> bool:
    """Record the policy and the classifier in force, unless the last such record names the same; say whether it did.

    `decided` says who put it in force; nothing: it is that of the policy file.

    Gateways that start side by side may both record the change. Raises `AuditUnavailableError`: then no turn may run.
    """
    last: Entry | None = None
    async for entry in audit.entries((Kind.POLICY_ACTIVATED.value,), _MOST):
        last = entry
    in_force = (safety.policy_hash, safety.classifier_hash, VERSION)
    if last is not None and (last.policy_hash, last.classifier_hash, last.normaliser_version) == in_force:
        return False
    policy = msgspec.json.format(msgspec.json.encode(safety.policy), indent=2).decode()
    await audit.append(
        Entry(
            kind=Kind.POLICY_ACTIVATED,
            at=datetime.now(UTC),
            subject=SUBJECT,
            policy_hash=safety.policy_hash,
            classifier_hash=safety.classifier_hash,
            normaliser_version=VERSION,
            detail={
                "name": safety.policy.name,
                "version": safety.policy.version,
                "previous": last.policy_hash if last else "",
                **(decided or {}),
            },
            contents=(Content(name="policy", role="", text=policy),),
        )
    )
    return True
