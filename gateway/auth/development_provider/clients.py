"""What the development provider knows of clients and codes, in the form that Authlib asks for it."""

import hmac

import msgspec

SCOPES = ("openid", "profile", "email")


class Client(msgspec.Struct, frozen=True):
    """A client of the development provider, with the questions that Authlib asks it."""

    client_id: str
    secret: str
    grants: tuple[str, ...]
    redirect_uris: tuple[str, ...] = ()
    post_logout_redirect_uris: tuple[str, ...] = ()

    @property
    def client_metadata(self) -> dict[str, list[str]]:
        """What the end-session endpoint reads."""
        return {"post_logout_redirect_uris": list(self.post_logout_redirect_uris)}

    def get_client_id(self) -> str:
        """Return the id."""
        return self.client_id

    def get_default_redirect_uri(self) -> str | None:
        """No default: the request must name it."""
        return None

    def get_allowed_scope(self, scope: str | None) -> str:
        """Keep the scopes that we know."""
        return " ".join(each for each in (scope or "").split() if each in SCOPES)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Compare exactly (RFC 9700, section 2.1)."""
        return redirect_uri in self.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        """Compare in constant time."""
        return bool(self.secret) and hmac.compare_digest(self.secret.encode(), client_secret.encode())

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:  # noqa: ARG002 - Authlib's signature
        """With a secret the client must show it; without one it is public."""
        return (method == "none") != bool(self.secret)

    def check_response_type(self, response_type: str) -> bool:
        """Only the code flow."""
        return "authorization_code" in self.grants and response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        """Only the grants that the client is for."""
        return grant_type in self.grants


class Code(msgspec.Struct, frozen=True):
    """An authorization code, with the questions that Authlib asks it."""

    code: str
    client_id: str
    redirect_uri: str
    scope: str
    nonce: str
    code_challenge: str
    code_challenge_method: str
    subject: str
    auth_time: int
    expires: float

    def get_redirect_uri(self) -> str:
        """Return the redirect address that the token request must repeat."""
        return self.redirect_uri

    def get_scope(self) -> str:
        """Return the scope granted."""
        return self.scope

    def get_nonce(self) -> str:
        """Return the nonce for the id token."""
        return self.nonce

    def get_auth_time(self) -> int:
        """Return when the person chose themselves."""
        return self.auth_time

    def get_acr(self) -> None:
        """No authentication class: there is no password."""

    def get_amr(self) -> None:
        """No authentication method either."""


class Refresh(msgspec.Struct, frozen=True):
    """A refresh token, with the questions that Authlib asks it."""

    subject: str
    client_id: str
    scope: str

    def check_client(self, client: Client) -> bool:
        """Only the client that it was given to."""
        return client.client_id == self.client_id

    def get_scope(self) -> str:
        """Return the scope granted."""
        return self.scope
