"""Everything that can be wrong before the daemon runs, found all at once and said in words."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from poddispatchd.app.campaign_checks import campaign_findings
from poddispatchd.app.findings import Finding, Severity, fine, note, problem
from poddispatchd.app.go_live_checks import (
    configuration_findings,
    listener_findings,
    proxy_findings,
    user_findings,
    webhook_finding,
)
from poddispatchd.app.media_checks import known_files_findings, media_findings
from poddispatchd.app.queue_checks import pending_findings
from poddispatchd.app.window_checks import window_findings
from poddispatchd.clock import Clock
from poddispatchd.config.consistency import unfit_for_pod
from poddispatchd.config.model import Settings
from poddispatchd.config.windows import availability_of
from poddispatchd.database import migration
from poddispatchd.database.pool import Database
from poddispatchd.database.poolers import Pooling
from poddispatchd.domain import situation
from poddispatchd.domain.lifecycle import row_status
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.site import Site
from poddispatchd.domain.situation import Severity as Waiting
from poddispatchd.domain.task import SiteId, StaleTasks, TaskStatus
from poddispatchd.errors import ConfigurationError, DatabaseError, RunnerManagerError, SchemaError
from poddispatchd.journal import observations
from poddispatchd.notify.checks import check_events, check_hook, check_mail, check_push
from poddispatchd.pod import grants, same_source, tasks
from poddispatchd.pod import managers as pod_managers
from poddispatchd.pod.capabilities import Capabilities, introspect
from poddispatchd.pod.lock_holders import held_tasks
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.runner.client import RunnerClient, open_session
from poddispatchd.runtime import queues
from poddispatchd.tasks.restored import done_before, restored_words
from poddispatchd.web.state import stale_words

__all__ = ["Finding", "Severity", "run_checks"]

_MOST_STALE = 100
_SHOWN = 5
_SHOWN_OF_A_QUEUE = 3


def _told(subject: str, finding: situation.Finding) -> Finding:
    """A finding of ``domain.situation`` as one of a check."""
    made = {Waiting.NORMAL: fine, Waiting.NOTICE: note, Waiting.PROBLEM: problem}
    return made[finding.severity](subject, finding.sentence)


async def run_checks(settings: Settings, config_path: Path | None = None) -> AsyncGenerator[Finding, None]:
    """Look at the file, the media tree, mail, the database, the runner managers and the webhook's address."""
    for told in configuration_findings(settings, config_path):
        yield _told("configuration", told)
    for told in listener_findings(settings):
        yield _told("ops.listen", told)
    for told in proxy_findings(settings):
        yield _told("webhook.trusted_proxies", told)
    for told in user_findings(settings):
        yield _told("user", told)
    tree = MediaTree(settings.pod.media_root)
    for finding in await media_findings(settings, tree):
        yield finding
    for finding in await _telling(settings):
        yield finding
    database = Database(settings.database.dsn, pool_size=2)
    try:
        await database.open()
    except (ConfigurationError, DatabaseError) as error:
        yield problem("database", str(error))
        return
    try:
        async with aclosing(_on_database(settings, database, tree)) as findings:
            async for finding in findings:
                yield finding
    finally:
        await database.close()


async def _on_database(
    settings: Settings, database: Database, tree: MediaTree
) -> AsyncGenerator[Finding, None]:
    yield await _server(database)
    yield await _pooler(database)
    try:
        capabilities = await introspect(database)
    except SchemaError as error:
        yield problem("Pod's tables", str(error))
        return
    for line in capabilities.describe():
        yield fine("Pod's tables", line)
    for line in capabilities.problems():
        yield problem("Pod's tables", line)
    yield await _held_rows(database)
    for finding in [
        *await _rights(database),
        *await _own_schema(database),
        *await _set_aside(database),
        *await _running(settings, database),
        *await _waiting(settings, database),
        *await _restored(database, tree),
        *await campaign_findings(database),
        *await known_files_findings(settings, database, tree),
    ]:
        yield finding
    try:
        sites = await pod_managers.sites(database)
        managers = await pod_managers.runner_managers(database)
    except DatabaseError as error:
        yield problem("database", str(error))
        return
    for finding in _fit(settings, sites, capabilities):
        yield finding
    for told in _windows(settings, sites, managers):
        yield _told("windows", told)
    for finding in await _managers(settings, managers):
        yield finding
    site = sites.get(SiteId(settings.pod.site_id))
    if site is not None:
        yield _told("webhook", await webhook_finding(settings, site))


async def _server(database: Database) -> Finding:
    row = await database.fetchrow(
        "SELECT current_database(), current_user, current_setting('server_version'),"
        " current_setting('transaction_read_only')::boolean"
    )
    assert row is not None  # noqa: S101 - a SELECT without FROM has a row
    words = f"{row[0]} answers as {row[1]} (PostgreSQL {row[2]})"
    if row[3]:
        return problem(
            "database",
            f"{words}, but read-only, as a standby server does: wait for the switch-over, "
            "or correct database.dsn.",
        )
    return fine("database", f"{words}.")


async def _pooler(database: Database) -> Finding:
    try:
        connection = await database.dedicated_connection()
        try:
            pooling = await database.pooling_of(connection)
        finally:
            connection.terminate()
    except DatabaseError as error:
        return problem("pooler", str(error))
    return (note if pooling is Pooling.TRANSACTION else fine)("pooler", pooling.meaning)


async def _held_rows(database: Database) -> Finding:
    """Tasks that wait because a session left a transaction open."""
    try:
        held, holder = await held_tasks(database)
    except DatabaseError as error:
        return problem("held rows", str(error))
    if not holder:
        return fine("held rows", "No database session holds Pod's tasks for long.")
    if not held:
        return note("held rows", f"A transaction on Pod's task table is open for long: {holder}.")
    shown = ", ".join(str(pk) for pk in held[:_SHOWN]) + (" and more" if len(held) > _SHOWN else "")
    return problem(
        "held rows",
        f"Task {shown} waits: a transaction that is left open holds its row, by {holder}. End it there.",
    )


async def _rights(database: Database) -> list[Finding]:
    missing = await grants.missing_rights(database)
    found = (
        problem("rights", grants.words_of(missing))
        if missing
        else fine("rights", "The role has every right it needs on Pod's tables.")
    )
    surplus = await grants.surplus_rights(database)
    return [found] if surplus is None else [found, note("rights", surplus)]


async def _own_schema(database: Database) -> list[Finding]:
    try:
        async with database.connection() as connection:
            version = await migration.checked_version(connection)
            may_create = await connection.fetchval(
                "SELECT has_database_privilege(current_database(), 'CREATE')"
                " OR coalesce(has_schema_privilege(to_regnamespace('poddispatchd'), 'CREATE'), false)"
            )
    except SchemaError as error:
        return [problem("own schema", str(error))]
    except DatabaseError as error:
        return [problem("own schema", f"{error} Run 'poddispatchd db init' with this very role.")]
    if version == migration.LATEST:
        return [fine("own schema", f"Version {version}, up to date.")]
    if version == 0 and not may_create:
        return [
            problem(
                "own schema",
                "It does not exist, and this role may not create it: see 'poddispatchd db init'.",
            )
        ]
    return [
        note("own schema", f"Version {version} of {migration.LATEST}: the daemon upgrades it at its start.")
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
        note("queues", f"{name} {item.key} (task {item.task}), after {item.attempts} attempts: {item.words}")
        for name, several in items.items()
        for item in several
    ]
    words = queues.set_aside_words(counts)
    return found if words is None else [problem("queues", words), *found]


async def _running(settings: Settings, database: Database) -> list[Finding]:
    """The tasks that the daemon has found to run for too long, and that run on."""
    try:
        async with database.connection() as connection:
            if await migration.current_version(connection) != migration.LATEST:
                return []
            told = await observations.stale_tasks(connection, limit=_MOST_STALE)
            found = [await tasks.get_task(connection, pk) for pk in told]
            waiting = await same_source.waiting_behind(connection, told, limit=_MOST_STALE)
    except DatabaseError:
        return []  # what keeps us from looking is told already
    running = (task for task in found if task is not None and row_status(task.status) is TaskStatus.RUNNING)
    stale = StaleTasks(tuple(task.pk for task in running), tuple(waiting))
    if not stale.tasks:
        return [fine("running tasks", "None has been running for too long.")]
    return [problem("running tasks", stale_words(stale, after=settings.reconcile.stale_after))]


async def _restored(database: Database, tree: MediaTree) -> list[Finding]:
    """Tasks that were done before the database was put back from a backup."""
    try:
        async with database.connection() as connection:
            if await migration.current_version(connection) != migration.LATEST:
                return []
        done = await done_before(database, tree)
    except DatabaseError:
        return []  # what keeps us from looking is told already
    return [problem("restored database", restored_words(done))] if done else []


async def _waiting(settings: Settings, database: Database) -> list[Finding]:
    """Why tasks wait, as far as rows tell."""
    try:
        found = await pending_findings(settings, database)
    except DatabaseError:
        return []  # what keeps us from looking is told already
    findings = [_told("pending tasks", finding) for finding in found]
    return findings or [fine("pending tasks", "Nothing is known that keeps them.")]


def _fit(settings: Settings, sites: dict[SiteId, Site], capabilities: Capabilities) -> list[Finding]:
    """Whether the configuration fits this Pod, by the rule of the start and of a reload."""
    findings = [
        problem(key, words)
        for key, words in unfit_for_pod(settings, sites.values(), podfile=capabilities.podfile)
    ]
    known = ", ".join(f"{site.id} ({site.domain})" for site in sites.values()) or "none"
    return findings or [fine("sites", f"Pod has {known}.")]


def _windows(
    settings: Settings, sites: dict[SiteId, Site], managers: list[RunnerManager]
) -> list[situation.Finding]:
    """Whether something can be submitted at some time."""
    domains = {pk: site.domain for pk, site in sites.items()}
    wanted = settings.dispatch.sites
    served = [pk for pk, domain in domains.items() if not wanted or domain in wanted]
    now = Clock().now().astimezone()
    return list(window_findings(availability_of(settings), managers, domains, served, now))


async def _telling(settings: Settings) -> list[Finding]:
    """Mail, pushes, the command after an import and outgoing events."""
    mail, hook = settings.mail, settings.imports
    looks = (
        ("mail", mail.enabled, check_mail(mail)),
        ("push", settings.push.enabled, check_push(settings.push)),
        ("after imports", bool(hook.after), asyncio.to_thread(check_hook, hook)),
        ("events", settings.events.enabled, asyncio.to_thread(check_events, settings.events)),
    )
    findings = []
    for subject, is_enabled, look in looks:
        try:
            words = await look
        except ConfigurationError as error:
            findings.append(problem(subject, str(error)))
        else:
            findings.append(fine(subject, words) if is_enabled else note(subject, words))
    return findings


async def _managers(settings: Settings, managers: list[RunnerManager]) -> list[Finding]:
    if not any(manager.is_active for manager in managers):
        return [problem("runner managers", "There is no active one: add one in Pod's administration.")]
    async with open_session(settings.runners) as session:
        client = RunnerClient(session, request_timeout=min(settings.runners.request_timeout, 15.0))
        found = list(await asyncio.gather(*(_manager(client, manager) for manager in managers)))
    if sum(manager.is_active for manager in managers) < 2:
        words = "Only one is active: while it is down nothing runs. Pod's manual advises two."
        found.append(note("runner managers", words))
    return found


async def _manager(client: RunnerClient, manager: RunnerManager) -> Finding:
    subject = f"runner manager {manager.name}"
    if not manager.is_active:
        return note(subject, "It is inactive in Pod's administration.")
    try:
        health = await client.health(manager)
    except RunnerManagerError as error:
        return problem(subject, str(error))
    return (fine if health.is_well else problem)(subject, health.words)
