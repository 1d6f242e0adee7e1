"""Where a person goes after signing in: a path of ours, never another site."""

from urllib.parse import urlsplit

_LIMIT = 1024


def safe_return_path(wanted: str | None) -> str:
    """Return the path if it can only lead to our own pages, else `/`.

    Browsers read `//host`, a backslash and control characters in their own ways, so whatever is not plainly a path is
    refused (CWE-601).
    """
    if not wanted or len(wanted) > _LIMIT or not wanted.isascii() or not wanted.isprintable():
        return "/"
    if not wanted.startswith("/") or wanted.startswith("//") or "\\" in wanted or " " in wanted:
        return "/"
    try:
        parts = urlsplit(wanted)
    except ValueError:
        return "/"
    if parts.scheme or parts.netloc or parts.path.startswith(("/auth/", "/dev-provider/")):
        return "/"
    return wanted
