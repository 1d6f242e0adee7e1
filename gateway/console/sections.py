"""Every section of the console, in the order of the navigation. A new one is a module with a `PART`, named here."""

from gateway.console.readings import PART as READINGS
from gateway.console.start import console_start

PARTS = (READINGS,)

SECTIONS = tuple(part.section for part in PARTS)

console_routes = [console_start, *(route for part in PARTS for route in part.routes)]
