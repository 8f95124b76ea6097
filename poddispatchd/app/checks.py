"""Everything that can be wrong before the daemon runs, found all at once and said in words."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from datetime import datetime
from pathlib import Path

from poddispatchd.app.authority_checks import authority_findings
from poddispatchd.app.callback_checks import callback_findings
from poddispatchd.app.campaign_checks import campaign_findings
from poddispatchd.app.connection_checks import sessions_findings
from poddispatchd.app.database_checks import (
    certificate_findings,
    clock_findings,
    held_rows_finding,
    left_videos_findings,
    pooler_finding,
    restored_findings,
    rights_findings,
    running_findings,
    schema_findings,
    server_finding,
    set_aside_findings,
    table_findings,
)
from poddispatchd.app.findings import CheckLevel, CheckResult, fine, note, problem, unseen
from poddispatchd.app.go_live_checks import (
    configuration_findings,
    listener_findings,
    proxy_findings,
    time_zone_findings,
    user_findings,
    webhook_finding,
)
from poddispatchd.app.manager_checks import manager_findings
from poddispatchd.app.media_checks import known_files_findings, media_findings
from poddispatchd.app.queue_checks import pending_findings
from poddispatchd.app.window_checks import window_findings
from poddispatchd.clock import Clock
from poddispatchd.config.consistency import unfit_for_pod
from poddispatchd.config.model import Settings
from poddispatchd.config.windows import availability_of
from poddispatchd.database.hosts import OVERTAKEN
from poddispatchd.database.pool import Database
from poddispatchd.domain import certificate_ends, situation
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import SiteId
from poddispatchd.errors import ConfigurationError, DatabaseError, DeliveryError, SchemaError
from poddispatchd.managers.rows import served_sites
from poddispatchd.notify.certificates import event_certificate_end, mail_certificate_end
from poddispatchd.notify.checks import check_establishments, check_events, check_hook, check_mail, check_push
from poddispatchd.pod import managers as pod_managers
from poddispatchd.pod.capabilities import Capabilities, introspect
from poddispatchd.pod.media.tree import MediaTree

__all__ = ["CheckLevel", "CheckResult", "run_checks"]


def _told(subject: str, finding: situation.Finding) -> CheckResult:
    """A finding of ``domain.situation`` as one of a check."""
    match finding.severity:
        case situation.Severity.NORMAL:
            made = fine
        case situation.Severity.NOTICE:
            made = note
        case situation.Severity.PROBLEM:
            made = problem
    return made(subject, finding.sentence)


async def run_checks(
    settings: Settings, config_path: Path | None = None
) -> AsyncGenerator[CheckResult, None]:
    """Look at the file, the media tree, mail, the database, the runner managers and the webhook's address."""
    for finding in _of_the_machine(settings, config_path):
        yield finding
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
        said: set[CheckResult] = set()
        # Closed here, and not when it is collected: its connections end before the database is closed.
        async with aclosing(_on_database(settings, database, tree)) as findings:
            async for finding in findings:
                if finding not in said:  # several looks meet the same
                    said.add(finding)
                    yield finding
    except DatabaseError as error:
        for finding in unseen("database", error) or [problem("database", str(error))]:
            yield finding
    finally:
        await database.close()


def _of_the_machine(settings: Settings, config_path: Path | None) -> Iterator[CheckResult]:
    """What the settings and this machine tell by themselves."""
    for subject, findings in (
        ("configuration", configuration_findings(settings, config_path)),
        ("ops.listen", listener_findings(settings)),
        ("webhook.trusted_proxies", proxy_findings(settings)),
        ("user", user_findings(settings)),
        ("authorities", authority_findings(settings, Clock().now())),
        ("time zone", time_zone_findings(settings, Clock().now())),
    ):
        for told in findings:
            yield _told(subject, told)


async def _on_database(
    settings: Settings, database: Database, tree: MediaTree
) -> AsyncGenerator[CheckResult, None]:
    yield await server_finding(database)
    for finding in [
        *(problem("database", f"{host} {OVERTAKEN}. Pod may write to it.") for host in database.overtaken),
        *await clock_findings(database),
        *await certificate_findings(database),
        await pooler_finding(database),
        *await sessions_findings(database, pool_size=settings.database.pool_size),
    ]:
        yield finding
    try:
        capabilities = await introspect(database)
    except SchemaError as error:
        yield problem("Pod's tables", str(error))
        return
    for line in capabilities.describe():
        yield fine("Pod's tables", line)
    for line in capabilities.problems():
        yield problem("Pod's tables", line)
    yield await held_rows_finding(database)
    for finding in [
        *await rights_findings(database),
        *await table_findings(database),
        *await schema_findings(database),
        *await set_aside_findings(database),
        *await running_findings(settings, database),
        *await _waiting(settings, database),
        *await left_videos_findings(database),
        *await restored_findings(database, tree),
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
    for finding in [*_fit(settings, sites, capabilities), *await _establishments(settings, database)]:
        yield finding
    for told in _windows(settings, sites, managers):
        yield _told("windows", told)
    for finding in await manager_findings(settings, managers):
        yield finding
    site = sites.get(SiteId(settings.pod.site_id))
    for finding in await callback_findings(settings, database, managers, site):
        yield finding
    if site is not None:
        yield _told("webhook", await webhook_finding(settings, site))


async def _waiting(settings: Settings, database: Database) -> list[CheckResult]:
    """Why tasks wait, as far as rows tell."""
    try:
        found = await pending_findings(settings, database)
    except DatabaseError as error:
        return unseen("pending tasks", error)
    findings = [_told("pending tasks", finding) for finding in found]
    return findings or [fine("pending tasks", "Nothing is known that keeps them.")]


def _fit(settings: Settings, sites: dict[SiteId, Site], capabilities: Capabilities) -> list[CheckResult]:
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
    served = served_sites(settings, sites)
    now = Clock().now().astimezone()
    return list(window_findings(availability_of(settings), managers, domains, served, now))


async def _establishments(settings: Settings, database: Database) -> list[CheckResult]:
    """Whether those whose managers are told are Pod's."""
    try:
        words = await check_establishments(settings.mail, database)
    except DatabaseError as error:
        return unseen("mail", error)
    return [] if words is None else [note("mail", words)]


async def _telling(settings: Settings) -> list[CheckResult]:
    """Mail, pushes, the command after an import and outgoing events."""
    mail, hook = settings.mail, settings.imports
    looks = (
        ("mail", mail.enabled, check_mail(mail)),
        ("push", settings.push.enabled, check_push(settings.push)),
        ("after imports", bool(hook.after), asyncio.to_thread(check_hook, hook)),
        ("events", settings.events.enabled, check_events(settings.events)),
    )
    ends = {
        "mail": lambda: mail_certificate_end(mail),
        "events": lambda: event_certificate_end(settings.events),
    }
    findings = []
    for subject, is_enabled, look in looks:
        try:
            words = await look
        except ConfigurationError as error:
            findings.append(problem(subject, str(error)))
        else:
            findings.append(fine(subject, words) if is_enabled else note(subject, words))
            if subject in ends:
                findings.extend(await _certificate(subject, ends[subject]))
    return findings


async def _certificate(subject: str, look: Callable[[], Awaitable[datetime | None]]) -> list[CheckResult]:
    """Until when the server of a channel can be used, as far as its certificate goes."""
    try:
        end = await look()
    except DeliveryError as error:  # since it was found well
        return [problem(subject, str(error))]
    if end is None:
        return []
    now = Clock().now()
    words = f"The certificate of its server {certificate_ends.words_of(end, now)}"
    if certificate_ends.is_near(end, now):
        return [note(subject, f"{words}, and nobody is told anything then: see why it has not been renewed.")]
    return [fine(subject, f"{words}.")]
