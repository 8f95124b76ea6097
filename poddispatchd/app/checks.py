"""Everything that can be wrong before the daemon runs, found all at once and said in words."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

import aiohttp

from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.config.units import format_size
from poddispatchd.database import migration
from poddispatchd.database.pool import Database
from poddispatchd.database.poolers import Pooling
from poddispatchd.domain.lifecycle import row_status
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.payload import NOTIFY_PATH
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import SiteId, TaskStatus
from poddispatchd.errors import ConfigurationError, DatabaseError, RunnerManagerError, SchemaError
from poddispatchd.journal import observations
from poddispatchd.maintenance.stalled_queue import stalled_words, still
from poddispatchd.notify.checks import check_hook, check_mail, check_push
from poddispatchd.pod import grants, queue, tasks
from poddispatchd.pod import managers as pod_managers
from poddispatchd.pod.capabilities import Capabilities, introspect
from poddispatchd.pod.media_access import trouble_with
from poddispatchd.runner.client import RunnerClient, open_session
from poddispatchd.runner.download import free_space
from poddispatchd.web.state import stale_words

_URL_TIMEOUT = aiohttp.ClientTimeout(total=10)
_MOST_STALE = 100

_GATEWAY_ERRORS = (502, 503, 504)
"""What a web server answers when nobody listens behind it."""


class Severity(StrEnum):
    """How serious a finding is."""

    FINE = "fine"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: the subject, and what was found in words."""

    severity: Severity
    subject: str
    words: str


def _fine(subject: str, words: str) -> Finding:
    return Finding(Severity.FINE, subject, words)


def _note(subject: str, words: str) -> Finding:
    return Finding(Severity.NOTE, subject, words)


def _problem(subject: str, words: str) -> Finding:
    return Finding(Severity.PROBLEM, subject, words)


async def run_checks(settings: Settings) -> AsyncGenerator[Finding, None]:
    """Look at the media tree, mail, the database, the runner managers and the webhook's address."""
    yield _fine("configuration", "It is valid.")
    for finding in await asyncio.to_thread(_media_tree, settings):
        yield finding
    for finding in await _telling(settings):
        yield finding
    database = Database(settings.database.dsn, pool_size=2)
    try:
        await database.open()
    except (ConfigurationError, DatabaseError) as error:
        yield _problem("database", str(error))
        return
    try:
        async with aclosing(_on_database(settings, database)) as findings:
            async for finding in findings:
                yield finding
    finally:
        await database.close()


async def _on_database(settings: Settings, database: Database) -> AsyncGenerator[Finding, None]:
    yield await _server(database)
    yield await _pooler(database)
    try:
        capabilities = await introspect(database)
    except SchemaError as error:
        yield _problem("Pod's tables", str(error))
        return
    for line in capabilities.describe():
        yield _fine("Pod's tables", line)
    for finding in [
        *await _rights(database),
        *await _own_schema(database),
        *await _running(settings, database),
        *await _waiting(settings, database),
        *_podfile(settings, capabilities),
    ]:
        yield finding
    try:
        sites = await pod_managers.sites(database)
        managers = await pod_managers.runner_managers(database)
    except DatabaseError as error:
        yield _problem("database", str(error))
        return
    for finding in _sites(settings, sites):
        yield finding
    for finding in await _managers(settings, managers):
        yield finding
    site = sites.get(SiteId(settings.pod.site_id))
    if site is not None:
        yield await _webhook(settings, site)


async def _server(database: Database) -> Finding:
    row = await database.fetchrow(
        "SELECT current_database(), current_user, current_setting('server_version')"
    )
    assert row is not None  # noqa: S101 - a SELECT without FROM has a row
    return _fine("database", f"{row[0]} answers as {row[1]} (PostgreSQL {row[2]}).")


async def _pooler(database: Database) -> Finding:
    try:
        connection = await database.dedicated_connection()
        try:
            pooling = await database.pooling_of(connection)
        finally:
            connection.terminate()
    except DatabaseError as error:
        return _problem("pooler", str(error))
    return (_note if pooling is Pooling.TRANSACTION else _fine)("pooler", pooling.meaning)


async def _rights(database: Database) -> list[Finding]:
    missing = await grants.missing_rights(database)
    if not missing:
        return [_fine("rights", "The role has every right it needs on Pod's tables.")]
    words = grants.words_of(missing)
    return [_problem("rights", words)]


async def _own_schema(database: Database) -> list[Finding]:
    try:
        async with database.connection() as connection:
            version = await migration.checked_version(connection)
            may_create = await connection.fetchval(
                "SELECT has_database_privilege(current_database(), 'CREATE')"
            )
    except SchemaError as error:
        return [_problem("own schema", str(error))]
    except DatabaseError as error:
        return [_problem("own schema", f"{error} Run 'poddispatchd db init' with this very role.")]
    if version == migration.LATEST:
        return [_fine("own schema", f"Version {version}, up to date.")]
    if version == 0 and not may_create:
        return [
            _problem(
                "own schema",
                "It does not exist, and this role may not create it: see 'poddispatchd db init'.",
            )
        ]
    return [
        _note("own schema", f"Version {version} of {migration.LATEST}: the daemon upgrades it at its start.")
    ]


async def _running(settings: Settings, database: Database) -> list[Finding]:
    """The tasks that the daemon has found to run for too long, and that run on."""
    try:
        async with database.connection() as connection:
            if await migration.current_version(connection) != migration.LATEST:
                return []
            told = await observations.stale_tasks(connection, limit=_MOST_STALE)
            found = [await tasks.get_task(connection, pk) for pk in told]
    except DatabaseError:
        return []  # what keeps us from looking is told already
    stale = [task.pk for task in found if task is not None and row_status(task.status) is TaskStatus.RUNNING]
    if not stale:
        return [_fine("running tasks", "None has been running for too long.")]
    return [_problem("running tasks", stale_words(stale, after=settings.reconcile.stale_after))]


async def _waiting(settings: Settings, database: Database) -> list[Finding]:
    """Types of which tasks wait for too long while none runs; by Pod's clock, which is nearly ours."""
    try:
        queue_stats = await queue.queue_stats(database)
    except DatabaseError:
        return []  # what keeps us from looking is told already
    after = settings.reconcile.stale_after
    latest = Clock().now() - timedelta(seconds=after)
    stalled = [kind for kind in still(queue_stats) if queue_stats.oldest_pending[kind] < latest]
    if not stalled:
        return [_fine("pending tasks", "No type has been waiting for too long while none of it runs.")]
    return [_problem("pending tasks", stalled_words(sorted(stalled), after=after))]


def _podfile(settings: Settings, capabilities: Capabilities) -> list[Finding]:
    if settings.pod.use_podfile == capabilities.podfile:
        return []
    wanted = str(capabilities.podfile).lower()
    return [
        _problem("pod.use_podfile", f"The tables of this Pod were made for {wanted}: set it to {wanted}.")
    ]


def _sites(settings: Settings, sites: dict[SiteId, Site]) -> list[Finding]:
    known = ", ".join(f"{site.id} ({site.domain})" for site in sites.values()) or "none"
    findings = []
    if settings.pod.site_id not in sites:
        findings.append(
            _problem("pod.site_id", f"{settings.pod.site_id} is no site of this Pod; it has {known}.")
        )
    domains = {site.domain for site in sites.values()}
    findings += [
        _problem("dispatch.sites", f"{domain!r} is no site of this Pod; it has {known}.")
        for domain in settings.dispatch.sites
        if domain not in domains
    ]
    return findings or [_fine("sites", f"Pod has {known}.")]


def _media_tree(settings: Settings) -> list[Finding]:
    root = settings.pod.media_root
    videos = root / settings.pod.videos_dir
    findings = [
        _problem("media tree", words)
        for directory in (root, videos)
        if (words := trouble_with(directory)) is not None
    ]
    if findings:
        return findings
    free = free_space(root)
    words = f"{root} can be written; {_rounded(free)} are free."
    if free < settings.imports.keep_free:
        return [
            _problem("media tree", f"{words} imports.keep_free is {format_size(settings.imports.keep_free)}.")
        ]
    return [_fine("media tree", words)]


async def _telling(settings: Settings) -> list[Finding]:
    """Mail, pushes and the command after an import."""
    mail, hook = settings.mail, settings.imports
    looks = (
        ("mail", mail.enabled, check_mail(mail)),
        ("push", settings.push.enabled, check_push(settings.push)),
        ("after imports", bool(hook.after), asyncio.to_thread(check_hook, hook)),
    )
    findings = []
    for subject, is_enabled, look in looks:
        try:
            words = await look
        except ConfigurationError as error:
            findings.append(_problem(subject, str(error)))
        else:
            findings.append(_fine(subject, words) if is_enabled else _note(subject, words))
    return findings


def _rounded(size: int) -> str:
    unit = 30 if size >= 10 << 30 else 20
    return format_size(size >> unit << unit)


async def _managers(settings: Settings, managers: list[RunnerManager]) -> list[Finding]:
    if not any(manager.is_active for manager in managers):
        return [_problem("runner managers", "There is no active one: add one in Pod's administration.")]
    async with open_session(settings.runners) as session:
        client = RunnerClient(session, request_timeout=min(settings.runners.request_timeout, 15.0))
        return list(await asyncio.gather(*(_manager(client, manager) for manager in managers)))


async def _manager(client: RunnerClient, manager: RunnerManager) -> Finding:
    subject = f"runner manager {manager.name}"
    if not manager.is_active:
        return _note(subject, "It is inactive in Pod's administration.")
    try:
        health = await client.health(manager)
    except RunnerManagerError as error:
        return _problem(subject, str(error))
    return (_fine if health.is_well else _problem)(subject, health.words)


async def _webhook(settings: Settings, site: Site) -> Finding:
    """Whether the address given to runner managers leads to a webhook, as far as this machine can tell."""
    url = site.base_url(https=settings.pod.https) + NOTIFY_PATH
    try:
        async with (
            aiohttp.ClientSession(timeout=_URL_TIMEOUT, trust_env=False) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return _note(
            "webhook",
            f"{url} cannot be reached from here ({_reason(error)}): the runner managers must reach it.",
        )
    if status == 405:
        return _fine("webhook", f"{url} answers.")
    if status in _GATEWAY_ERRORS:
        return _note(
            "webhook",
            f"{url} answers {status}: the web server passes it on to where nobody answers. Start the daemon, "
            f"or let it pass {NOTIFY_PATH} on to {settings.webhook.listen}.",
        )
    return _note(
        "webhook",
        f"{url} answers {status} where a webhook answers 405: let the web server pass {NOTIFY_PATH} on to "
        f"{settings.webhook.listen}.",
    )


def _reason(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "this machine does not know the name"
        case aiohttp.ClientConnectorCertificateError():
            return "its TLS certificate is not trusted here"
        case aiohttp.ClientConnectorError():
            return error.strerror or "no connection"
        case TimeoutError():
            return "no answer in time"
        case _:
            return "the connection failed"
