"""What every response says about what browsers may do with it."""

from urllib.parse import urlsplit

from litestar.datastructures import MutableScopeHeaders
from litestar.types import Message, Scope

from gateway.settings import Settings


def security_headers(settings: Settings) -> dict[str, str]:
    """Return the headers that every response carries unless its handler says otherwise.

    A form may lead to the identity provider (sign-out does, by a redirect), hence its origin in `form-action`.
    """
    issuer = urlsplit(settings.issuer)
    headers = {
        "content-security-policy": "; ".join(
            (
                "default-src 'none'",
                "script-src 'self'",
                "style-src 'self'",
                "connect-src 'self'",
                "img-src 'self' data:",
                "font-src 'self'",
                f"form-action 'self' {issuer.scheme}://{issuer.netloc}",
                "frame-ancestors 'none'",
                "base-uri 'none'",
                "require-trusted-types-for 'script'",
                "trusted-types attest",
            )
        ),
        "x-content-type-options": "nosniff",
        # Nothing goes to other hosts; `no-referrer` would make browsers send `Origin: null` with our own forms.
        "referrer-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=(), interest-cohort=()",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "x-frame-options": "DENY",
        "cache-control": "no-store",
    }
    if settings.base_url.startswith("https://"):
        headers["strict-transport-security"] = "max-age=31536000; includeSubDomains"
    return headers


class SecurityHeaders:
    """Adds the headers to every response that does not carry its own.

    `add` is the application's `before_send` hook: middleware would not see responses to addresses that have no route.
    """

    def __init__(self, settings: Settings) -> None:
        self._headers = security_headers(settings)

    async def add(self, message: Message, scope: Scope) -> None:
        """Complete one message, if it is the start of a response."""
        del scope
        if message["type"] == "http.response.start":
            present = MutableScopeHeaders.from_message(message)
            for name, value in self._headers.items():
                present.setdefault(name, value)
