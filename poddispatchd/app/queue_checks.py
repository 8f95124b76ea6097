"""Why pending tasks wait, for ``check``: from rows alone, whether a daemon runs or not."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.config.windows import availability_of
from poddispatchd.database import migration
from poddispatchd.database.pool import Database
from poddispatchd.domain.availability import closed_everywhere
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.manager_diagnosis import manager_findings
from poddispatchd.domain.pending_reasons import why_type
from poddispatchd.domain.site import Site
from poddispatchd.domain.situation import (
    Backlog,
    Finding,
    Reason,
    Severity,
    Situation,
    duration_words,
)
from poddispatchd.domain.task import ManagerId, SiteId, TaskStatus, TaskType
from poddispatchd.journal import scheduling
from poddispatchd.journal.scheduling import ManagerMemory
from poddispatchd.maintenance.stalled_queue import stalled_words, still
from poddispatchd.managers.rows import site_chooser
from poddispatchd.managers.views import views_of_rows
from poddispatchd.pod import managers as pod_managers
from poddispatchd.pod import queue_stats
from poddispatchd.tasks.pending_facts import chosen_sites

_WOULD_GO = (Reason.NEXT, Reason.MANAGERS_FULL, Reason.MANAGERS_LIMIT)
"""What keeps nobody waiting for longer than runners are busy, once a daemon schedules."""

_ASK = "'poddispatchd status' and 'poddispatchd tasks list --status pending' tell why."


async def pending_findings(settings: Settings, database: Database) -> list[Finding]:
    """What keeps tasks waiting for long; by Pod's clock, which is nearly ours.

    Raises:
        DatabaseError: the database cannot be looked at.
    """
    stats = await queue_stats.queue_stats(database)
    sites = await pod_managers.sites(database)
    managers = await pod_managers.runner_managers(database)
    situation = await _situation(settings, database, sites, managers)
    choose = site_chooser(settings, sites, frozenset(m.site_id for m in managers if m.is_active))
    by_site = await queue_stats.pending_sites(database) if len(situation.sites) > 1 else {}
    after = settings.reconcile.stale_after
    latest = situation.now - timedelta(seconds=after)
    closed = closed_everywhere([manager.opens_at for manager in situation.managers if manager.is_active])
    could_go = {
        kind: max(oldest, situation.opened_at.get(kind, oldest))
        for kind, oldest in stats.oldest_pending.items()
    }
    stalled = [kind for kind in still(stats) if kind not in closed and could_go[kind] < latest]
    findings = [finding for finding in manager_findings(situation) if finding.severity is Severity.NOTICE]
    if (words := stats.odd_words) is not None:
        findings.append(Finding(Reason.STATUS_UNKNOWN, Severity.NOTICE, words))
    nobody = await _nobody_schedules(database) if stats.oldest_pending else []
    findings += nobody
    if nobody:
        # What has waited since no daemon runs tells nothing of the runners.
        stalled = []
    if stalled:
        words = stalled_words(sorted(stalled), after=after)
        findings.append(Finding(Reason.MANAGERS_FULL, Severity.PROBLEM, words))
    for kind in TaskType:
        backlog = Backlog(
            type=kind,
            pending=stats.count(kind, TaskStatus.PENDING),
            running=stats.count(kind, TaskStatus.RUNNING),
            oldest=stats.oldest_pending.get(kind),
            sites=chosen_sites(by_site[kind], choose) if kind in by_site else None,
        )
        why = why_type(backlog, situation)
        if why is None or kind in stalled:
            continue
        # That a window is closed is as it should be, and still the answer to whoever asks why nothing moves.
        if why.severity is Severity.NORMAL and why.reason is not Reason.WINDOW_CLOSED:
            continue
        if why.reason in _WOULD_GO:
            if nobody:
                continue
            # Rows do not tell what keeps a task whom runners have room for: the daemon does.
            waited = duration_words(situation.now - could_go[kind])
            why = Finding(why.reason, Severity.NOTICE, f"The oldest has been waiting for {waited}.", _ASK)
        words = f"Of type {kind}: {why.words}"
        findings.append(Finding(why.reason, why.severity, words, why.remedy))
    return findings


async def _nobody_schedules(database: Database) -> list[Finding]:
    """That no daemon runs: not wrong before its first start, between passes or while it is upgraded."""
    async with database.connection() as connection:
        version = await migration.current_version(connection)
        if version == migration.LATEST:
            found = await scheduling.scheduler(connection)
            if found.is_held or found.may_be_pass:
                return []
    if version not in (0, migration.LATEST):
        return []  # a daemon of another release may run
    words = "Tasks wait, and nobody schedules: no poddispatchd (but a shadow, if any) runs on this database."
    remedy = "Start one: 'systemctl start poddispatchd'."
    return [Finding(Reason.NOBODY_SCHEDULES, Severity.NOTICE, words, remedy)]


async def _situation(
    settings: Settings, database: Database, sites: Mapping[SiteId, Site], managers: Sequence[RunnerManager]
) -> Situation:
    """What surrounds the queue, as rows tell it; the managers themselves are asked elsewhere."""
    memories: dict[ManagerId, ManagerMemory] = {}
    async with database.connection() as connection:
        if await migration.current_version(connection) == migration.LATEST:
            memories = await scheduling.manager_memories(connection)
    wanted, now = settings.dispatch.sites, Clock().now().astimezone()
    return Situation(
        now=now,
        managers=views_of_rows(managers, memories, availability_of(settings), now),
        sites={pk: site.domain for pk, site in sites.items()},
        served=frozenset(pk for pk, site in sites.items() if not wanted or site.domain in wanted),
        stalled_after=settings.reconcile.stale_after,
        opened_at=availability_of(settings).opened_at(now),
    )
