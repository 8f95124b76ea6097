"""Settings that are right one by one and wrong together, name a missing file or do not fit their Pod."""

import re
import ssl
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from poddispatchd.config.certificate_files import trust
from poddispatchd.config.keys import KeyPath
from poddispatchd.config.model import Settings
from poddispatchd.config.notification import EventsSettings, MailSettings, PushSettings
from poddispatchd.config.units import Address
from poddispatchd.domain.signature import SHORTEST_KEY, signing_key
from poddispatchd.domain.site import Site

_EVERYWHERE = frozenset({"0.0.0.0", "::", "*"})  # noqa: S104 -- names the wildcard, binds nothing
_HOST = re.compile(r"(?:\[[^\[\]]*\]|[^\[\]:]*)(?::(\d{1,5})?)?")
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})


def contradictions(settings: Settings) -> Iterator[tuple[tuple[KeyPath, ...], str]]:
    """Every contradiction as the keys that take part in it and a sentence.

    What lies outside the configuration (the database, the media tree, runner managers) is the business of
    ``poddispatchd check``.
    """
    webhook, ops = settings.webhook.listen, settings.ops.listen
    if _clash(webhook, ops):
        yield (
            (("webhook", "listen"), ("ops", "listen")),
            f"webhook.listen ({webhook}) and ops.listen ({ops}) share a port: "
            "the second is private, give each its own",
        )
    if words := _no_address(settings.database.dsn.get_secret_value().strip()):
        yield (("database", "dsn"),), f"database.dsn: {words}"
    for section, ca_file in (
        ("runners", settings.runners.ca_file),
        ("mail", settings.mail.ca_file),
        ("events", settings.events.ca_file),
    ):
        words = "" if ca_file is None else _unusable(ca_file)
        if words:
            yield ((section, "ca_file"),), f"{section}.ca_file: {ca_file} {words}"
    kept = settings.retention
    if 0 < kept.completed_days <= kept.opencast_files_days:
        yield (
            (("retention", "opencast_files_days"), ("retention", "completed_days")),
            "retention.opencast_files_days: only a completed task shows that a recording is imported, and "
            f"those are deleted after {kept.completed_days} days, choose fewer",
        )
    yield from _mail(settings.mail)
    yield from _push(settings.push)
    yield from _events(settings.events)
    if settings.imports.after and not settings.imports.after[0].startswith("/"):
        yield (
            (("imports", "after"),),
            f"imports.after: {settings.imports.after[0]!r} is looked for nowhere, write its absolute path",
        )


def unfit_for_pod(settings: Settings, sites: Iterable[Site], *, podfile: bool) -> Iterator[tuple[str, str]]:
    """Every setting that does not fit this Pod, as its name and a sentence.

    One rule for the start, for a reload and for ``check``: what one refuses the others refuse.

    Args:
        settings: the configuration.
        sites: Pod's (``django_site``).
        podfile: whether Pod's tables were made with USE_PODFILE.
    """
    known = {site.domain: site.id for site in sites}
    words = ", ".join(f"{pk} ({domain})" for domain, pk in known.items()) or "none"
    for domain in settings.dispatch.sites:
        if domain not in known:
            near = get_close_matches(domain, known, n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]}?" if near else "."
            yield "dispatch.sites", f"{domain!r} is no site of this Pod; its sites are {words}{hint}"
    if settings.pod.site_id not in known.values():
        yield (
            "pod.site_id",
            f"{settings.pod.site_id} is no site of this Pod; its sites are {words}.",
        )
    if settings.pod.use_podfile != podfile:
        yield (
            "pod.use_podfile",
            f"the tables of this Pod were made with USE_PODFILE = {podfile}: "
            f"set it to {str(podfile).lower()}.",
        )


def _no_address(dsn: str) -> str:
    """Why a text is no address of a database, without anything of it; empty: it may be one."""
    if not dsn.startswith(("postgresql://", "postgres://")):
        return "write an address that starts with postgresql://, as postgresql://user@host/database"
    try:
        parts = urlsplit(dsn)
    except ValueError:
        hosts, rest = ["["], ""
    else:
        hosts = parts.netloc.rpartition("@")[2].split(",")
        # An "@" behind the host: the password ended too early, and the rest of it was looked up as a name.
        rest = f"{parts.path}{parts.query.partition('=')[0]}{parts.fragment}"
    fits = all((match := _HOST.fullmatch(host)) and 0 < int(match[1] or 1) < 65536 for host in hosts)
    if fits and "@" not in rest:
        return ""
    # Nobody knows where a password with such characters ends.
    return (
        "it is not of the form postgresql://user:password@host:port/database; in a password, write % as %25, "
        "/ as %2F, ? as %3F, # as %23, @ as %40, : as %3A, [ as %5B and ] as %5D"
    )


def _mail(mail: MailSettings) -> Iterator[tuple[tuple[KeyPath, ...], str]]:
    if not mail.enabled:
        return
    if not mail.from_email:
        yield (("mail", "from_email"),), "mail.from_email: mail is enabled, so say who sends it"
    if mail.username and mail.security == "none" and mail.host not in _HERE:
        yield (
            (("mail", "security"), ("mail", "username")),
            f"mail.security: the password would go to {mail.host} unencrypted, write starttls or tls",
        )


def _push(push: PushSettings) -> Iterator[tuple[tuple[KeyPath, ...], str]]:
    if push.enabled and not push.vapid_private_key.get_secret_value():
        yield (("push", "vapid_private_key"),), "push.vapid_private_key: push is enabled, so give Pod's key"
    if push.enabled and find_spec("pywebpush") is None:
        yield (("push", "enabled"),), "push.enabled: install what it needs, poddispatchd[push]"
    if push.enabled and not push.admin_email:
        yield (("push", "admin_email"),), "push.admin_email: push is enabled, so give an address of yours"


def _events(events: EventsSettings) -> Iterator[tuple[tuple[KeyPath, ...], str]]:
    url, secret = events.url.get_secret_value(), events.secret.get_secret_value()
    if url and not _is_web_address(url):
        # Its text may hold a secret: it is not shown.
        yield (("events", "url"),), "events.url: write an address that starts with https:// or http://"
    if url and events.command:
        yield (
            (("events", "url"), ("events", "command")),
            "events.url and events.command: choose one, a command can post as well",
        )
    if secret and signing_key(secret) is None:
        yield (
            (("events", "secret"),),
            f"events.secret: write at least {SHORTEST_KEY} characters, or whsec_ and as many bytes in base64",
        )
    if events.command and not events.command[0].startswith("/"):
        yield (
            (("events", "command"),),
            f"events.command: {events.command[0]!r} is looked for nowhere, write its absolute path",
        )


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0 and url.isprintable()


def _clash(one: Address, other: Address) -> bool:
    # Of port 0 the kernel gives each another one.
    if one.port != other.port or one.port == 0:
        return False
    hosts = {one.host, other.host}
    return len(hosts) == 1 or bool(hosts & _EVERYWHERE) or hosts <= _HERE


def _unusable(file: Path) -> str:
    try:
        trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), file)
    except ssl.SSLError:
        return "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""
