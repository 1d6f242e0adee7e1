import pytest

from gateway.auth.session import Cookies
from gateway.settings import load


@pytest.mark.parametrize(
    ("settings", "secure", "name"),
    [
        ({}, False, "attest"),
        ({"public_url": "https://chat.example.org", "oidc_issuer": "https://id.example.org"}, True, "__Host-attest"),
        (
            {"env": "production", "public_url": "https://chat.example.org", "oidc_issuer": "https://id.example.org"},
            True,
            "__Host-attest",
        ),
        ({"public_url": "http://chat.example.org", "oidc_issuer": "https://id.example.org"}, True, "__Host-attest"),
    ],
)
def test_only_plain_loopback_in_development_goes_without_secure(
    settings: dict[str, object], secure: bool, name: str
) -> None:
    cookies = Cookies.from_settings(load(**settings))
    cookie = cookies.make(cookies.session, "value")
    assert (cookie.key, cookie.secure, cookie.httponly, cookie.samesite, cookie.path, cookie.domain) == (
        name, secure, True, "lax", "/", None,
    )  # fmt: skip
