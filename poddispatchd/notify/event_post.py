"""Handing one outgoing event over: a POST with a signature, or a command that reads it.

The address may be a secret, as those of chat rooms are: only its host is named. No redirect is followed, and
little of an answer is read.
"""

import asyncio
import os
import ssl
from datetime import datetime
from pathlib import PurePath
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from msgspec import Struct

from poddispatchd import __version__
from poddispatchd.config.certificate_files import trust
from poddispatchd.config.notification import EventsSettings
from poddispatchd.domain.certificate_ends import end_of_peer
from poddispatchd.domain.certificates import Remedies, words_of
from poddispatchd.domain.outgoing_events import OutgoingEvent
from poddispatchd.domain.signature import signature_headers, signing_key
from poddispatchd.errors import DeliveryError, ServiceUnreachableError
from poddispatchd.notify.command import run_hook
from poddispatchd.runner.connections import bound

_REMEDIES = Remedies(name="put a name that it holds into events.url", authority="set events.ca_file to")

_MOST_READ = 2000
"""Bytes of an answer that are read: enough for a person who tries."""

_LONGEST_REST = 3600.0
"""Seconds that an endpoint may ask to be left alone."""


class EventAnswer(Struct, frozen=True):
    """What came back. ``words`` are ours; ``said`` are those of the other side, for who tries it by hand.

    ``rest``: seconds for which it asks to be left alone.
    """

    is_taken: bool
    words: str
    said: str = ""
    rest: float | None = None


async def hand_over(settings: EventsSettings, event: OutgoingEvent, *, now: datetime) -> EventAnswer:
    """Post an event, or run the command with it.

    Raises:
        ServiceUnreachableError: nobody answers there.
        DeliveryError: the command cannot be started.
    """
    if settings.command:
        return await _run(settings, event)
    return await _post(settings, event, now)


async def reach(settings: EventsSettings) -> datetime | None:
    """Connect to the host of the address as for an event, and send nothing.

    Behind a proxy of the environment nothing is tried: it alone knows who can be reached.

    Returns:
        When the certificate of the host ends; None without one.

    Raises:
        ServiceUnreachableError: nobody answers there, or not as who is asked for.
        DeliveryError: ``ca_file`` cannot be used.
    """
    parts = urlsplit(settings.url.get_secret_value())
    host, is_tls = parts.hostname or "nobody", parts.scheme == "https"
    if parts.scheme in getproxies() and not proxy_bypass(host):
        return None
    context = _tls(settings) if is_tls else None
    try:
        async with asyncio.timeout(settings.timeout):
            _, writer = await asyncio.open_connection(
                host, parts.port or (443 if is_tls else 80), ssl=context
            )
    except ssl.SSLCertVerificationError as error:
        raise ServiceUnreachableError(f"The certificate of {host} {words_of(error, _REMEDIES)}.") from None
    except (TimeoutError, OSError, ValueError) as error:
        raise ServiceUnreachableError(f"{host} cannot be reached ({_reason(error)}).") from None
    end = end_of_peer(writer.get_extra_info("ssl_object"))
    writer.transport.abort()
    return end


def _reason(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "no answer in time"
        case ssl.SSLError():
            return f"TLS failed: {error.reason}"
        case OSError(strerror=str(words)):
            return words
        case _:
            return type(error).__name__


async def _run(settings: EventsSettings, event: OutgoingEvent) -> EventAnswer:
    name = PurePath(settings.command[0]).name
    run = await run_hook(
        settings.command, seconds=settings.timeout, environ=os.environ, given=event.body() + b"\n"
    )
    return EventAnswer(run.succeeded, f"{name} {run.words}", run.output)


async def _post(settings: EventsSettings, event: OutgoingEvent, now: datetime) -> EventAnswer:
    url = settings.url.get_secret_value()
    # The bytes that are signed are those that are posted.
    host, body = urlsplit(url).hostname or "nobody", event.body()
    key = signing_key(settings.secret.get_secret_value())
    headers = signature_headers(key, event.id, int(now.timestamp()), body)
    headers |= {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    try:
        # Many are in the Internet, so that the proxy of the environment is used.
        async with (
            aiohttp.ClientSession(
                connector=bound(aiohttp.TCPConnector(ssl=_tls(settings))),
                timeout=aiohttp.ClientTimeout(total=settings.timeout),
                trust_env=True,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"User-Agent": f"poddispatchd/{__version__}"},
            ) as http,
            http.post(url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            return _judged(host, answer, await _beginning(answer))
    except aiohttp.ClientConnectorCertificateError as error:
        words = words_of(error.certificate_error, _REMEDIES)
        raise ServiceUnreachableError(f"The certificate of {host} {words}.") from None
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        reason = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
        raise ServiceUnreachableError(f"{host} cannot be reached ({reason}).") from None


async def _beginning(answer: aiohttp.ClientResponse) -> str:
    """The first words of an answer: its head has told what became of the event."""
    try:
        return (await answer.content.read(_MOST_READ)).decode(errors="replace")
    except (aiohttp.ClientError, TimeoutError):
        return ""


def _judged(host: str, answer: aiohttp.ClientResponse, said: str) -> EventAnswer:
    if 300 <= answer.status < 400:
        return EventAnswer(False, f"{host} answers {answer.status}: redirects are not followed.", said)
    asked = answer.headers.get("Retry-After", "")
    rest = min(float(asked), _LONGEST_REST) if asked.isascii() and asked.isdigit() else None
    return EventAnswer(200 <= answer.status < 300, f"{host} answers {answer.status}.", said, rest)


def _tls(settings: EventsSettings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.ca_file is not None:
        try:
            trust(context, settings.ca_file)
        except (OSError, ssl.SSLError):
            raise DeliveryError(f"events.ca_file: {settings.ca_file} cannot be used.") from None
    return context
