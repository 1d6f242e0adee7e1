"""Static files: read and compressed once at start, served under a hash of them all, so browsers keep them for good."""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response

from gateway.auth.access import PUBLIC
from gateway.problems import NotFoundError

FOLDER = Path(__file__).parent / "static"
FOREVER = "public, max-age=31536000, immutable"
ASK_AGAIN = "public, no-cache"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Asset:
    """One static file, as sent."""

    media_type: str
    body: bytes
    compressed: bytes


@dataclass(frozen=True)
class Assets:
    """All static files by their path below the folder."""

    files: dict[str, Asset]
    version: str
    """Hash of all of them: it stands in every address, so that one module may import another by a relative path."""

    def url(self, path: str) -> str:
        """Return the address of a file; raises `KeyError` when there is none."""
        if path not in self.files:
            raise KeyError(path)
        return f"/static/{self.version}/{path}"


def load_assets(folder: Path = FOLDER) -> Assets:
    """Read every file below the folder that has a known type."""
    files: dict[str, Asset] = {}
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in _TYPES:
            name, body = path.relative_to(folder).as_posix(), path.read_bytes()
            digest.update(f"{name}\0{len(body)}\0".encode() + body)
            files[name] = Asset(_TYPES[path.suffix], body, gzip.compress(body, 9, mtime=0))
    return Assets(files, digest.hexdigest()[:16])


@get("/static/{version:str}/{name:path}", **PUBLIC, include_in_schema=False, sync_to_thread=False)
def static_file(
    request: Request[Any, Any, Any],
    assets: NamedDependency[Assets],
    version: FromPath[str],
    name: FromPath[str],
) -> Response[bytes]:
    """Serve one static file; only the current version may be kept for good."""
    asset = assets.files.get(str(name).lstrip("/"))
    if asset is None:
        raise NotFoundError("There is no such file.")
    headers = {
        "cache-control": FOREVER if version == assets.version else ASK_AGAIN,
        "etag": f'"{assets.version}"',
        "vary": "accept-encoding",
    }
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(b"", status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.compressed, media_type=asset.media_type, headers={**headers, "content-encoding": "gzip"})
    return Response(asset.body, media_type=asset.media_type, headers=headers)


@get("/favicon.ico", **PUBLIC, include_in_schema=False, sync_to_thread=False)
def favicon(assets: NamedDependency[Assets]) -> Response[bytes]:
    """Serve the mark to browsers that ask for it without reading a page."""
    asset = assets.files["mark.svg"]
    return Response(asset.body, media_type=asset.media_type, headers={"cache-control": "public, max-age=86400"})


asset_routes = [static_file, favicon]
