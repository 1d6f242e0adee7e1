"""What an operator is told of a start that fails: one line of our own, before the server's."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from audit.governing import GoverningError
from audit.keys import KeyFileError
from audit.ledger import LedgerError
from audit.ports import AuditIntegrityError, AuditUnavailableError
from audit.sequencer import TreeRefusedError
from audit.signing import SigningKeyError
from gateway.policies.in_force import CannotJudgeError
from gateway.settings import SettingsError
from gateway.tracing import place_of
from migrations.run import MigrationError

OURS = (
    *(AuditUnavailableError, AuditIntegrityError, TreeRefusedError, GoverningError, LedgerError, MigrationError),
    *(CannotJudgeError, KeyFileError, SigningKeyError, SettingsError),
)
"""Errors whose texts are ours: they say what to do, and quote nobody."""


@contextmanager
def telling_why() -> Iterator[None]:
    """Log why a start failed; of errors that are not ours only their kinds, for they may quote a password."""
    try:
        yield
    except Exception as error:
        first = error
        while (before := first.__cause__ or first.__context__) is not None and isinstance(before, Exception):
            first = before
        reason = str(error) if isinstance(error, OURS) else type(first).__name__
        structlog.get_logger("attest.start").error(
            "start failed", error=type(error).__name__, reason=reason, place=place_of(error.__traceback__)
        )
        raise
