"""The few pages of sign-in: small, without script, with a strict Content-Security-Policy, in both languages.

Nothing of a request is ever shown in them.
"""

import secrets

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import MediaType, Response
from litestar.datastructures import Cookie

from gateway.auth.messages import CATALOGUE, LANGUAGES, preferred


class Pages:
    """Renders the templates of `gateway/auth/templates`."""

    def __init__(self) -> None:
        self._templates = Environment(
            loader=PackageLoader("gateway.auth"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )

    def message(
        self,
        accept_language: str,
        title: str,
        text: str,
        *,
        status: int = 200,
        link: tuple[str, str] = ("/auth/login", "sign_in_again"),
        forward: str | None = None,
        cookies: list[Cookie] | None = None,
    ) -> Response[str]:
        """Return a page that says one thing in both languages; `forward` leads the browser on by itself."""
        return self.render(
            "message.html",
            accept_language,
            status=status,
            cookies=cookies,
            title=title,
            text=text,
            link=forward or link[0],
            link_text="continue" if forward else link[1],
            forward=forward,
        )

    def render(
        self,
        template: str,
        accept_language: str,
        *,
        status: int = 200,
        cookies: list[Cookie] | None = None,
        **values: object,
    ) -> Response[str]:
        """Return one template as a page that no cache keeps and no other site may frame."""
        language = preferred(accept_language)
        other = next(each for each in LANGUAGES if each != language)
        nonce = secrets.token_urlsafe(16)
        body = self._templates.get_template(template).render(
            **values,
            language=language,
            words=CATALOGUE[language],
            other=other,
            other_words=CATALOGUE[other],
            nonce=nonce,
        )
        policy = f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; base-uri 'none'"
        headers = {
            "content-security-policy": f"{policy}; frame-ancestors 'none'",
            "cache-control": "no-store",
            "referrer-policy": "same-origin",
            "x-content-type-options": "nosniff",
        }
        return Response(body, status_code=status, media_type=MediaType.HTML, headers=headers, cookies=cookies)
