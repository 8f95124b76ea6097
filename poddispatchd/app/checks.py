"""Everything that can be wrong before the daemon runs, found all at once and said in words."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from poddispatchd.app.go_live_checks import (
    configuration_findings,
    listener_findings,
    user_findings,
    webhook_finding,
)
from poddispatchd.app.queue_checks import pending_findings
from poddispatchd.config.consistency import unfit_for_pod
from poddispatchd.config.model import Settings
from poddispatchd.config.units import format_size
from poddispatchd.database import migration
from poddispatchd.database.pool import Database
from poddispatchd.database.poolers import Pooling
from poddispatchd.domain import situation
from poddispatchd.domain.lifecycle import row_status
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.site import Site
from poddispatchd.domain.situation import Severity as Waiting
from poddispatchd.domain.task import SiteId, TaskStatus
from poddispatchd.errors import ConfigurationError, DatabaseError, RunnerManagerError, SchemaError
from poddispatchd.journal import observations
from poddispatchd.notify.checks import check_hook, check_mail, check_push
from poddispatchd.pod import grants, tasks
from poddispatchd.pod import managers as pod_managers
from poddispatchd.pod.capabilities import Capabilities, introspect
from poddispatchd.pod.locks import held_tasks
from poddispatchd.pod.media_access import trouble_with
from poddispatchd.runner.client import RunnerClient, open_session
from poddispatchd.runner.download import free_space
from poddispatchd.runtime import queues
from poddispatchd.web.state import stale_words

_MOST_STALE = 100
_SHOWN = 5
_SHOWN_OF_A_QUEUE = 3


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


def _told(subject: str, finding: situation.Finding) -> Finding:
    """A finding of ``domain.situation`` as one of a check."""
    made = {Waiting.NORMAL: _fine, Waiting.NOTICE: _note, Waiting.PROBLEM: _problem}
    return made[finding.severity](subject, finding.sentence)


async def run_checks(settings: Settings, config_path: Path | None = None) -> AsyncGenerator[Finding, None]:
    """Look at the file, the media tree, mail, the database, the runner managers and the webhook's address."""
    for told in configuration_findings(settings, config_path):
        yield _told("configuration", told)
    for told in listener_findings(settings):
        yield _told("ops.listen", told)
    for told in user_findings(settings):
        yield _told("user", told)
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
    for line in capabilities.problems():
        yield _problem("Pod's tables", line)
    yield await _held_rows(database)
    for finding in [
        *await _rights(database),
        *await _own_schema(database),
        *await _set_aside(database),
        *await _running(settings, database),
        *await _waiting(settings, database),
    ]:
        yield finding
    try:
        sites = await pod_managers.sites(database)
        managers = await pod_managers.runner_managers(database)
    except DatabaseError as error:
        yield _problem("database", str(error))
        return
    for finding in _fit(settings, sites, capabilities):
        yield finding
    for finding in await _managers(settings, managers):
        yield finding
    site = sites.get(SiteId(settings.pod.site_id))
    if site is not None:
        yield _told("webhook", await webhook_finding(settings, site))


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


async def _held_rows(database: Database) -> Finding:
    """Tasks that wait because a session left a transaction open."""
    try:
        held, holder = await held_tasks(database)
    except DatabaseError as error:
        return _problem("held rows", str(error))
    if not holder:
        return _fine("held rows", "No database session holds Pod's tasks for long.")
    if not held:
        return _note("held rows", f"A transaction on Pod's task table is open for long: {holder}.")
    shown = ", ".join(str(pk) for pk in held[:_SHOWN]) + (" and more" if len(held) > _SHOWN else "")
    return _problem(
        "held rows",
        f"Task {shown} waits: a transaction that is left open holds its row, by {holder}. End it there.",
    )


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


async def _set_aside(database: Database) -> list[Finding]:
    """Items of our queues that were given up, with the words of the latest ones."""
    try:
        async with database.connection() as connection:
            if await migration.current_version(connection) != migration.LATEST:
                return []
            counts = await queues.set_aside_counts(connection)
            items = await queues.set_aside(connection, limit=_SHOWN_OF_A_QUEUE)
    except DatabaseError:
        return []  # told by the findings about the schema
    found = [
        _note("queues", f"{name} {item.key} (task {item.task}), after {item.attempts} attempts: {item.words}")
        for name, several in items.items()
        for item in several
    ]
    words = queues.set_aside_words(counts)
    return found if words is None else [_problem("queues", words), *found]


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
    """Why tasks wait, as far as rows tell."""
    try:
        found = await pending_findings(settings, database)
    except DatabaseError:
        return []  # what keeps us from looking is told already
    findings = [_told("pending tasks", finding) for finding in found]
    return findings or [_fine("pending tasks", "Nothing is known that keeps them.")]


def _fit(settings: Settings, sites: dict[SiteId, Site], capabilities: Capabilities) -> list[Finding]:
    """Whether the configuration fits this Pod, by the rule of the start and of a reload."""
    findings = [
        _problem(key, words)
        for key, words in unfit_for_pod(settings, sites.values(), podfile=capabilities.podfile)
    ]
    known = ", ".join(f"{site.id} ({site.domain})" for site in sites.values()) or "none"
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
        found = list(await asyncio.gather(*(_manager(client, manager) for manager in managers)))
    if sum(manager.is_active for manager in managers) < 2:
        words = "Only one is active: while it is down nothing runs. Pod's manual advises two."
        found.append(_note("runner managers", words))
    return found


async def _manager(client: RunnerClient, manager: RunnerManager) -> Finding:
    subject = f"runner manager {manager.name}"
    if not manager.is_active:
        return _note(subject, "It is inactive in Pod's administration.")
    try:
        health = await client.health(manager)
    except RunnerManagerError as error:
        return _problem(subject, str(error))
    return (_fine if health.is_well else _problem)(subject, health.words)
