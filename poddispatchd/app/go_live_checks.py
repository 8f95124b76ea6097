"""What a first installation gets wrong outside of the database: file, user, ports, web server."""

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from zoneinfo import ZoneInfo

import aiohttp
from yarl import URL

from poddispatchd.clock import Clock
from poddispatchd.config.loading import DEFAULT_PATH
from poddispatchd.config.masking import dsn_password
from poddispatchd.config.model import Settings
from poddispatchd.config.section import Section
from poddispatchd.domain import certificate_ends
from poddispatchd.domain.certificates import Remedies, words_of
from poddispatchd.domain.payload import NOTIFY_PATH
from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.site import Site
from poddispatchd.domain.situation import Finding, Reason, Severity
from poddispatchd.runner.authorities import TrustedAuthorities, TrustingConnector
from poddispatchd.runner.connections import bound

_URL_TIMEOUT = aiohttp.ClientTimeout(total=10)

_GATEWAY_ERRORS = (502, 503, 504)
"""What a web server answers when nobody listens behind it."""

_REMEDIES = Remedies(
    name="look at the domain of this site in Pod's administration",
    authority="add to the authorities of this machine",
)

_HALF_A_YEAR = timedelta(days=182)
"""Summer time is not kept everywhere."""

_NOBODYS_TASK = "poddispatchd-check"


def _found(severity: Severity, words: str, remedy: str = "") -> Finding:
    return Finding(Reason.INSTALLATION, severity, words, remedy)


def configuration_findings(
    settings: Settings, path: Path | None, *, default: Path = DEFAULT_PATH
) -> Iterator[Finding]:
    """Whether there is a configuration file at all, and who else may read its secrets.

    Args:
        settings: what is in effect.
        path: the file that was asked for; None when none was.
        default: the one that is looked for then.
    """
    file = path or default
    try:
        mode, text = file.stat().st_mode, file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        yield _found(
            Severity.NOTICE,
            f"There is no {file}: defaults, credentials and the environment are all that counts.",
            "Name the file with -c, or make one: 'poddispatchd config import'.",
        )
        return
    except OSError as error:
        yield _found(
            Severity.PROBLEM,
            f"The daemon's user cannot read {file}: {error.strerror}.",
            "'systemd-tmpfiles --create poddispatchd.conf' gives it to that user.",
        )
        return
    if mode & stat.S_IROTH and any(secret in text for secret in _secrets(settings)):
        yield _found(
            Severity.PROBLEM,
            f"{file} can be read by everybody on this machine, and it holds a password.",
            f"chmod o-rwx {file}",
        )
    elif mode & stat.S_IWOTH:
        yield _found(
            Severity.PROBLEM, f"{file} can be changed by everybody on this machine.", f"chmod o-w {file}"
        )
    else:
        yield _found(Severity.NORMAL, f"{file} is valid.")


def _secrets(section: Section) -> Iterator[str]:
    """Every secret that is set; of a database address, its password as it is written there."""
    for name in section.__struct_fields__:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _secrets(value)
        elif isinstance(value, SecretStr) and value.get_secret_value():
            text = value.get_secret_value()
            if name != "dsn" or dsn_password(text):
                yield text


def user_findings(settings: Settings) -> Iterator[Finding]:
    """Whether what was found holds for the user of the service too."""
    root = settings.pod.media_root
    if os.geteuid() != 0:
        return
    try:
        owner = root.stat().st_uid
    except OSError:
        return
    if owner != 0:
        yield _found(
            Severity.NOTICE,
            "This is root, who may do everything: no right under MEDIA_ROOT was tried as the service's user.",
            "No unit has this configuration. Ask as that user: 'runuser -u pod -- poddispatchd check'.",
        )


def listener_findings(settings: Settings) -> Iterator[Finding]:
    """Whether the private listener is private."""
    host = settings.ops.listen.host
    if host == "localhost":
        return
    try:
        is_private = ip_address(host).is_loopback
    except ValueError:
        is_private = False
    if not is_private:
        yield _found(
            Severity.NOTICE,
            f"ops.listen is {settings.ops.listen}: whoever reaches that address sees titles and metrics.",
            "Listen on 127.0.0.1, or see to it that only Prometheus gets there.",
        )


def proxy_findings(settings: Settings) -> Iterator[Finding]:
    """Whether anybody could count as a web server of ours, and say which address they come from."""
    for network in settings.webhook.trusted_proxies:
        if network.prefixlen == 0:
            yield _found(
                Severity.PROBLEM,
                f"webhook.trusted_proxies holds {network}: whoever calls may name any address as "
                "his, and the limits for each address limit nobody.",
                "Name the addresses of the web servers that stand in front, and no others.",
            )


def time_zone_findings(
    settings: Settings, now: datetime, here: Callable[[datetime], datetime] = datetime.astimezone
) -> Iterator[Finding]:
    """By which hours windows open and mail is dated; Pod's database does not have its TIME_ZONE.

    Args:
        settings: what is in effect.
        now: the moment.
        here: gives a moment as the clocks of this machine show it.
    """
    name = settings.pod.time_zone
    there = now.astimezone(ZoneInfo(name))
    words = f"pod.time_zone is {name}, where it is {there:%H:%M} now"
    moments = (now, now + _HALF_A_YEAR)
    ahead = [_ahead(here(at)) for at in moments]
    # A server that keeps UTC says nothing of where its people are.
    if any(ahead) and ahead != [_ahead(at.astimezone(ZoneInfo(name))) for at in moments]:
        yield _found(
            Severity.NOTICE,
            f"{words}, and on this machine {here(now):%H:%M}: time windows open by "
            "the former, and dates in mail and reports are of it.",
            "Set it to Pod's TIME_ZONE, if that is another one.",
        )
    else:
        yield _found(Severity.NORMAL, f"{words}.")


def _ahead(moment: datetime) -> float:
    return (moment.utcoffset() or timedelta()).total_seconds()


async def webhook_finding(settings: Settings, site: Site) -> Finding:
    """Whether the address that runner managers are given leads to our webhook, and not to Pod's own.

    Both answer a GET alike. To a token of nobody's ours answers 403 before it looks for a task, Pod's 404
    since there is no such task; neither changes anything.
    """
    url = site.base_url(https=settings.pod.https) + NOTIFY_PATH
    listen = settings.webhook.listen
    try:
        connector = bound(
            TrustingConnector(TrustedAuthorities(None), limit_per_host=1, keepalive_timeout=15.0)
        )
        async with aiohttp.ClientSession(
            connector=connector, timeout=_URL_TIMEOUT, trust_env=False
        ) as session:
            async with session.get(url, allow_redirects=False) as answer:
                status = answer.status
            told = await _posted(session, url) if status == 405 else None
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return _found(
            Severity.NOTICE,
            f"{url} cannot be reached from here ({_reason(error)}): the runner managers must reach it.",
        )
    if status in _GATEWAY_ERRORS:
        return _found(
            Severity.NOTICE,
            f"{url} answers {status}: the web server passes it on to where nobody answers.",
            f"Start the daemon, or let it pass {NOTIFY_PATH} on to {listen}.",
        )
    if told is None:
        return _found(
            Severity.NOTICE,
            f"{url} answers {status} where a webhook answers 405.",
            f"Let the web server pass {NOTIFY_PATH} on to {listen}.",
        )
    if told == 403:
        return _well(f"{url} answers, and it is poddispatchd that does.", _end_of(connector, url))
    if told == 404:
        return _found(
            Severity.PROBLEM,
            f"{url} answers, but it is Pod's own webhook: callbacks go past poddispatchd.",
            f"Let the web server pass {NOTIFY_PATH} on to {listen} (contrib/nginx).",
        )
    return _found(
        Severity.NOTICE,
        f"{url} answers, but an unknown token with {told} instead of 403: it is not known who does.",
        f"Let the web server pass {NOTIFY_PATH} on to {listen}.",
    )


def _end_of(connector: aiohttp.TCPConnector, url: str) -> datetime | None:
    """When the certificate ends that was seen at an address."""
    if not isinstance(connector, TrustingConnector):
        return None
    place = URL(url)
    return connector.certificate_end(place.host or "", place.port)


def _well(words: str, end: datetime | None) -> Finding:
    """That the address leads to us, and until when its certificate lets it."""
    now = Clock().now()
    if end is None:
        return _found(Severity.NORMAL, words)
    ends = certificate_ends.words_of(end, now)
    if certificate_ends.is_near(end, now):
        return _found(
            Severity.NOTICE,
            f"{words} But its TLS certificate {ends}, and no runner manager reaches it then.",
            "See why it has not been renewed.",
        )
    return _found(Severity.NORMAL, f"{words} Its TLS certificate {ends}.")


async def _posted(session: aiohttp.ClientSession, url: str) -> int:
    headers = {"Authorization": f"Bearer {secrets.token_urlsafe(24)}"}
    body = {"task_id": _NOBODYS_TASK, "status": "completed"}
    async with session.post(url, json=body, headers=headers, allow_redirects=False) as answer:
        return answer.status


def _reason(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "this machine does not know the name"
        case aiohttp.ClientConnectorCertificateError():
            return f"its TLS certificate {words_of(error.certificate_error, _REMEDIES)}"
        case aiohttp.ClientConnectorSSLError():
            return error.strerror or "TLS fails"
        case aiohttp.ClientConnectorError():
            return "no connection" if error.errno is None else os.strerror(error.errno).lower()
        case TimeoutError():
            return "no answer in time"
        case UnicodeError() | aiohttp.InvalidURL():
            return "no host can have this name"
        case _:
            return "the connection failed"
