"""SCIM put together."""

from collections.abc import Callable
from dataclasses import dataclass

from audit.governing import Governor
from gateway.ending.endings import Endings
from gateway.limits.admission import make_limiter
from gateway.limits.rate import RateLimiter
from gateway.scim.access import DirectoryAccess
from gateway.scim.directory import Directory
from gateway.scim.documents import Documents
from gateway.settings import Settings


@dataclass(frozen=True)
class Provisioning:
    """What the routes under `/scim/v2` are given."""

    directory: Directory
    documents: Documents
    rates: RateLimiter

    def parts(self) -> dict[str, object]:
        """Return it under the names that the handlers use."""
        return {"directory": self.directory, "scim": self.documents, "scim_rates": self.rates}


def make_provisioning(
    settings: Settings, governor: Governor, endings: Endings, on_limiter_failure: Callable[[], None]
) -> Provisioning:
    """Put it together; nothing is opened."""
    access = DirectoryAccess(endings, settings.scim_subject, settings.scim_group)
    per_minute = settings.scim_per_minute
    return Provisioning(
        Directory(governor, access),
        Documents(settings.base_url),
        make_limiter(settings, per_minute, per_minute, on_limiter_failure),
    )
