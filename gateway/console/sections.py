"""Every section of the console, in the order of the navigation. A new one is a module with a `PART`, named here."""

from gateway.console.api_keys import PART as API_KEYS
from gateway.console.approvals import PART as APPROVALS
from gateway.console.cases import PART as CASES
from gateway.console.exports import EXPORT_ROUTES
from gateway.console.integrity import PART as INTEGRITY
from gateway.console.keeping import PART as KEEPING
from gateway.console.people import PART as PEOPLE
from gateway.console.policy import PART as POLICY
from gateway.console.readings import PART as READINGS
from gateway.console.reviews import PART as REVIEWS
from gateway.console.search import PART as SEARCH
from gateway.console.security import PART as SECURITY
from gateway.console.start import console_start
from gateway.console.turn import TURN_ROUTES
from gateway.console.usage import PART as USAGE

PARTS = (
    *(SEARCH, CASES, REVIEWS, APPROVALS, POLICY, SECURITY),
    *(INTEGRITY, KEEPING, READINGS),
    *(PEOPLE, API_KEYS, USAGE),
)

SECTIONS = tuple(part.section for part in PARTS)

console_routes = [console_start, *TURN_ROUTES, *EXPORT_ROUTES, *(route for part in PARTS for route in part.routes)]
