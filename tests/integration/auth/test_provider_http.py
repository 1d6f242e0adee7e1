"""The connection to the provider: the company's CA, redirects, size, silence."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.auth.provider import BODY_LIMIT, Metadata, Provider, ProviderHttp
from gateway.problems import ProviderUnavailableError
from tests.rig.ports import free_port


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 that signs itself, as a company's CA would be unknown to the system."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rig")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "ca.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[str, Path]]:
    """A provider's documents over TLS; gives its address and the CA file."""
    cert_file, key_file = certificate(tmp_path)
    url = f"https://127.0.0.1:{free_port()}"

    async def discovery(request: web.Request) -> web.Response:
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        return web.json_response({"issuer": url, **{name: f"{url}/{name}" for name in names}})

    async def large(request: web.Request) -> web.Response:
        return web.Response(body=b'{"a":"' + b"x" * (BODY_LIMIT + 10) + b'"}')

    async def elsewhere(request: web.Request) -> web.Response:
        raise web.HTTPFound(f"{url}/.well-known/openid-configuration")

    async def silent(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", discovery)
    app.router.add_get("/large", large)
    app.router.add_get("/elsewhere", elsewhere)
    app.router.add_get("/silent", silent)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert_file, key_file)
    await web.TCPSite(runner, "127.0.0.1", int(url.rsplit(":", 1)[1]), ssl_context=tls).start()
    yield url, cert_file
    await runner.cleanup()


async def test_the_companys_ca_is_trusted_when_it_is_given(server: tuple[str, Path]) -> None:
    url, ca_file = server
    http = await ProviderHttp(ca_file).start()
    try:
        assert (await Provider(url, http).metadata()).issuer == url
    finally:
        await http.close()


async def test_an_unknown_certificate_is_refused(server: tuple[str, Path]) -> None:
    http = await ProviderHttp(None).start()
    try:
        with pytest.raises(ProviderUnavailableError):
            await Provider(server[0], http).metadata()
    finally:
        await http.close()


@pytest.mark.parametrize("path", ["large", "elsewhere", "nothing-here"])
async def test_no_other_answer_is_taken(server: tuple[str, Path], path: str) -> None:
    http = await ProviderHttp(server[1]).start()
    try:
        with pytest.raises(ProviderUnavailableError):
            await http.document(f"{server[0]}/{path}", Metadata)
    finally:
        await http.close()


async def test_a_silent_provider_is_given_up(server: tuple[str, Path]) -> None:
    http = await ProviderHttp(server[1]).start()
    try:
        started = asyncio.get_running_loop().time()
        with pytest.raises(ProviderUnavailableError):
            await http.document(f"{server[0]}/silent", Metadata)
        assert asyncio.get_running_loop().time() - started < 12
    finally:
        await http.close()


async def test_before_the_start_nothing_is_asked() -> None:
    with pytest.raises(ProviderUnavailableError):
        await ProviderHttp(None).request("GET", "http://127.0.0.1:1/")
