"""Web push: encrypted for the browser (RFC 8291), signed with Pod's key (RFC 8292), posted to a push service.

The address of a subscription is a capability: whoever knows it can write to the browser. It is in no message.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import aiohttp
from msgspec.structs import asdict
from yarl import URL

from poddispatchd.computing import computed
from poddispatchd.config.notification import PushSettings
from poddispatchd.domain.notices import PushMessage
from poddispatchd.errors import (
    ConfigurationError,
    DeliveryError,
    DeliveryRefusedError,
    RecipientGoneError,
    ServiceUnreachableError,
)
from poddispatchd.runner.connections import bound

_TIMEOUT = aiohttp.ClientTimeout(total=20)
_KEPT_FOR = timedelta(days=1)
"""How long a push service keeps a message for a browser that is not there."""
_SIGNED_FOR = timedelta(hours=12)
_GONE = (404, 410)
_LATER = (408, 425, 429)


@dataclass(frozen=True, slots=True)
class Target:
    """A browser: where to post, and its keys."""

    endpoint: str = field(repr=False)
    auth: str = field(repr=False)
    p256dh: str = field(repr=False)

    @property
    def service(self) -> str:
        """The push service, which may be named; "nobody" for an endpoint that is no address."""
        try:
            return urlsplit(self.endpoint).hostname or "nobody"
        except ValueError:
            return "nobody"

    @property
    def origin(self) -> str | None:
        """Who is posted to, by host and port; None for an endpoint that nothing can be posted to.

        Users choose endpoints: what becomes of one must say nothing about others of the same host. One with a
        user of its own leaves no room for our signature.
        """
        try:
            url = URL(self.endpoint)
            # A name that no host can have is met when it is read only.
            place = f"{url.host}:{url.port}" if url.scheme == "https" and url.host else None
        except (ValueError, IndexError):
            return None
        return place if url.user is None and url.password is None else None


def open_push_session() -> aiohttp.ClientSession:
    """A session for push services: they are on the Internet, so that the proxy of the environment is used.

    Which services these are is up to the browsers of Pod's users: of an answer only its status is read.
    """
    return aiohttp.ClientSession(
        connector=bound(aiohttp.TCPConnector()),
        timeout=_TIMEOUT,
        trust_env=True,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )


def check_keys(settings: PushSettings) -> None:
    """Whether a message can be signed with the configured keys.

    Raises:
        ConfigurationError: with what is wrong.
    """
    try:
        headers = _signature(settings, "https://push.example.org", datetime.now().astimezone())
    except DeliveryError as error:
        raise ConfigurationError(f"push.vapid_private_key: {error}") from error
    public = headers["Authorization"].partition("k=")[2]
    if settings.vapid_public_key and settings.vapid_public_key.rstrip("=") != public:
        raise ConfigurationError("push.vapid_public_key: it does not belong to push.vapid_private_key.")


async def send_push(
    http: aiohttp.ClientSession,
    settings: PushSettings,
    target: Target,
    message: PushMessage,
    *,
    now: datetime,
) -> None:
    """Post one message.

    Raises:
        RecipientGoneError: the browser has no such subscription any more.
        DeliveryRefusedError: the service, or the subscription, can never take it.
        ServiceUnreachableError: the service does not answer.
        DeliveryError: the service did not take it now.
    """
    # Curves take milliseconds of a processor, for each message: not in the event loop.
    body, headers = await computed(_sealed, settings, target, message, now)
    try:
        async with http.post(target.endpoint, data=body, headers=headers, allow_redirects=False) as answer:
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        words = f"{target.service} cannot be reached ({type(error).__name__})."
        raise ServiceUnreachableError(words) from None
    if status in _GONE:
        raise RecipientGoneError(f"{target.service} answers {status}: the subscription has ended.")
    if status in _LATER or status >= 500:
        raise DeliveryError(f"{target.service} answers {status}.")
    if status not in (200, 201, 202, 204):
        raise DeliveryRefusedError(f"{target.service} answers {status}: it does not take this message.")


def _sealed(
    settings: PushSettings, target: Target, message: PushMessage, now: datetime
) -> tuple[bytes, dict[str, str]]:
    from http_ece import ECEException  # noqa: PLC0415 - of the optional extra
    from pywebpush import WebPusher, WebPushException  # noqa: PLC0415 - of the optional extra

    if target.origin is None:
        raise DeliveryRefusedError("The subscription has no address that a push can be sent to.")
    keys = {"auth": target.auth, "p256dh": target.p256dh}
    plain = json.dumps(asdict(message), ensure_ascii=False).encode()
    try:
        body = bytes(WebPusher({"endpoint": target.endpoint, "keys": keys}).encode(plain)["body"])
    except (WebPushException, ECEException, ValueError, TypeError, LookupError):
        raise DeliveryRefusedError("The keys of the subscription cannot be used.") from None
    # The audience is an origin (RFC 8292).
    headers = _signature(settings, f"https://{urlsplit(target.endpoint).netloc}", now)
    headers |= {
        "Content-Encoding": "aes128gcm",
        "Content-Type": "application/octet-stream",
        "TTL": str(int(_KEPT_FOR.total_seconds())),
        "Urgency": "normal",
    }
    return body, headers


def _signature(settings: PushSettings, audience: str, now: datetime) -> dict[str, str]:
    from py_vapid import Vapid02, VapidException  # noqa: PLC0415 - of the optional extra

    claims = {
        "sub": f"mailto:{settings.admin_email}",
        "aud": audience,
        "exp": int((now + _SIGNED_FOR).timestamp()),
    }
    try:
        key = Vapid02.from_string(settings.vapid_private_key.get_secret_value())
        return dict(key.sign(claims))
    except (VapidException, ValueError, TypeError):
        raise DeliveryError(
            "nothing can be signed with it; it must be Pod's, and push.admin_email an address."
        ) from None
