"""What a writer's failure is told as, whichever database it is; no value of a record is quoted."""

from audit.canonical import UnrecordableError
from audit.keys import KeyFileError
from audit.ports import AuditRejectedError, AuditUnavailableError


def mapped(error: Exception, name: str, *, unmigrated: bool) -> AuditRejectedError | AuditUnavailableError:
    """Return the error that whoever waits for a record gets: it cannot be a record, or none can be taken now.

    `name` is the database's own for the failure; `unmigrated`: a table is missing, so the message says what to run.
    """
    if isinstance(error, UnrecordableError):
        return AuditRejectedError(str(error))
    if isinstance(error, KeyFileError):
        return AuditUnavailableError(str(error))
    hint = "; run: attest migrate" if unmigrated else ""
    return AuditUnavailableError(f"The audit log cannot take records now ({name}{hint}).")
