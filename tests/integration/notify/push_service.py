"""A push service over TLS, the browsers that it serves, and keys of a Pod."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import http_ece
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02

from poddispatchd.config.notification import PushSettings
from poddispatchd.domain.secret import SecretStr

CERTIFICATE = Path(__file__).parents[1] / "runner" / "localhost.pem"


def unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


@dataclass(slots=True)
class Browser:
    """What a browser keeps of a subscription."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    auth: bytes = b"sixteen bytes..."

    def read(self, body: bytes) -> object:
        plain = http_ece.decrypt(body, private_key=self.key, auth_secret=self.auth, version="aes128gcm")
        return json.loads(plain)


@dataclass(slots=True)
class PushService:
    """What was posted to whom, and how it is answered."""

    port: int = 0
    status: int = 201
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.got.append((request.path, dict(request.headers), await request.read()))
        return web.Response(status=self.status, headers={"Location": "https://localhost:1/elsewhere"})


@asynccontextmanager
async def push_service() -> AsyncIterator[PushService]:
    """A push service whose certificate is ``CERTIFICATE``."""
    made = PushService()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(CERTIFICATE)
    application = web.Application()
    application.router.add_post("/{path:.*}", made.take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "localhost", 0, ssl_context=server_side)
    await site.start()
    made.port = runner.addresses[0][1]
    try:
        yield made
    finally:
        await runner.cleanup()
        # The transports of TLS connections close a moment later.
        await asyncio.sleep(0)


def push_settings() -> PushSettings:
    """Web push with keys of its own."""
    key = Vapid02()
    key.generate_keys()
    secret = key.private_key.private_numbers().private_value.to_bytes(32, "big")
    return PushSettings(
        enabled=True,
        vapid_private_key=SecretStr(unpadded(secret)),
        vapid_public_key=unpadded(point(key.private_key)),
        admin_email="admin@example.org",
    )
