"""What surrounds the queue, put together for a command: from the running daemon, else from the database."""

import asyncio
import posixpath
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from poddispatchd.cli.daemon_state import DaemonAwayError, ManagerEntry, State, ask_daemon
from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.config.windows import availability_of
from poddispatchd.database import migration
from poddispatchd.database.pool import Database
from poddispatchd.dispatch.payloads import MISSING_WORDS, SILENT_WORDS, Presence, SourceFiles
from poddispatchd.domain.availability import closed_everywhere
from poddispatchd.domain.breaker import BreakerState
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.media import source_file
from poddispatchd.domain.pending_reasons import why_task
from poddispatchd.domain.situation import Finding, ManagerView, Reason, Scheduling, Severity, Situation
from poddispatchd.domain.task import ManagerId, SiteId, Task, TaskPk, TaskType
from poddispatchd.errors import SchemaError, UnsubmittableError
from poddispatchd.journal import scheduling
from poddispatchd.journal.scheduling import ManagerMemory, OwnTask, Scheduler
from poddispatchd.managers.rows import site_chooser
from poddispatchd.managers.views import views_of_rows
from poddispatchd.pod import managers as pod_managers
from poddispatchd.pod import sources, task_list
from poddispatchd.pod.capabilities import introspect
from poddispatchd.pod.media.evidence import MediaEvidence
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.tasks.pending_facts import SubmissionRules, waiting_task


class JournalRows(Struct, frozen=True):
    """What poddispatchd's own schema tells; nothing where it does not exist yet.

    ``memories`` are not read of the schema of an older release. ``is_there``: whether there is any.
    """

    scheduler: Scheduler | None = None
    memories: Mapping[ManagerId, ManagerMemory] | None = None
    is_there: bool = False


async def read_journal(database: Database) -> JournalRows:
    """Who schedules, and which managers are paused."""
    async with database.connection() as connection:
        version = await migration.current_version(connection)
        if version == 0:
            return JournalRows()
        is_latest = version == migration.LATEST
        return JournalRows(
            await scheduling.scheduler(connection),
            await scheduling.manager_memories(connection) if is_latest else None,
            is_there=True,
        )


async def own_tasks_of(
    database: Database, journal: JournalRows, tasks: Collection[TaskPk]
) -> Mapping[TaskPk, OwnTask]:
    """Those of these tasks that need no grace; none without a journal."""
    if not journal.is_there:
        return {}
    async with database.connection() as connection:
        return await scheduling.own_tasks(connection, tasks)


async def daemon_state(settings: Settings) -> State | None:
    """What the daemon of this machine says; None when none answers."""
    try:
        return await asyncio.to_thread(ask_daemon, settings.ops.listen)
    except DaemonAwayError:
        return None


async def situation(
    settings: Settings,
    database: Database,
    journal: JournalRows,
    managers: Sequence[RunnerManager],
    state: State | None,
) -> Situation:
    """What surrounds the queue: what only a daemon knows, as full managers, is there if one answers."""
    now = Clock().now().astimezone()
    sites = await pod_managers.sites(database)
    wanted = settings.dispatch.sites
    if state is not None:
        views = tuple(_told_by_daemon(entry, now) for entry in state["managers"])
        problem = " ".join(state["not_ready"]) or None
        is_away = not state["database_up"]
    else:
        views = views_of_rows(managers, journal.memories or {}, availability_of(settings), now)
        problem, is_away = None, False
    return Situation(
        now=now,
        managers=views,
        sites={pk: site.domain for pk, site in sites.items()},
        served=frozenset(pk for pk, site in sites.items() if not wanted or site.domain in wanted),
        scheduling=_scheduling(state, journal.scheduler),
        scheduler=None if journal.scheduler is None else journal.scheduler.instance,
        scheduled_at=None if journal.scheduler is None else journal.scheduler.since,
        database_problem=problem if is_away else None,
        write_problem=None if is_away else problem,
        # An older release does not tell them.
        dispatch_problems=() if state is None else tuple(state.get("dispatch_problems", ())),
        stalled_after=settings.reconcile.stale_after,
        opened_at=availability_of(settings).opened_at(now),
    )


async def closed_types(
    settings: Settings, database: Database, managers: Sequence[RunnerManager]
) -> Mapping[TaskType, datetime | None]:
    """The types that wait for a window, and when it opens; None: never."""
    availability = availability_of(settings)
    if availability.is_unlimited:
        return {}
    journal = await read_journal(database)
    views = views_of_rows(managers, journal.memories or {}, availability, Clock().now())
    return closed_everywhere([view.opens_at for view in views if view.is_active])


def _scheduling(state: State | None, scheduler: Scheduler | None) -> Scheduling:
    if state is not None and state["shadow"] is not None:
        return Scheduling.SHADOW
    if state is not None and state["leader"]:
        return Scheduling.HERE
    if scheduler is not None and scheduler.is_held:
        return Scheduling.ANOTHER
    if state is not None:
        return Scheduling.UNKNOWN
    return Scheduling.PASSES if scheduler is not None and scheduler.may_be_pass else Scheduling.NOBODY


def _told_by_daemon(entry: ManagerEntry, now: datetime) -> ManagerView:
    return ManagerView(
        id=ManagerId(entry["id"]),
        name=entry["name"],
        site=SiteId(entry["site"]),
        is_active=entry["is_active"],
        is_paused=entry["paused"],
        state=BreakerState(entry["state"]),
        error=entry["error"],
        retry_at=None if entry["retry_in"] is None else now + timedelta(seconds=entry["retry_in"]),
        paced_until=None if (paced := entry.get("paced_for")) is None else now + timedelta(seconds=paced),
        full_since={
            TaskType(kind): datetime.fromisoformat(since) for kind, since in entry["full_since"].items()
        },
        full_until={TaskType(kind): now + timedelta(seconds=s) for kind, s in entry["full_for"].items()},
        paused_until=_moment(entry["paused_until"]),
        pause_reason=entry["pause_reason"],
        opens_at={TaskType(kind): _moment(opens) for kind, opens in entry["opens_at"].items()},
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def odd_status(task: Task) -> Finding:
    """Why a task with a status that Pod does not have stays as it is."""
    return Finding(
        Reason.STATUS_UNKNOWN,
        Severity.PROBLEM,
        "Pod has no such status: nothing is done to this task.",
        f"Begin it again with 'poddispatchd tasks restart {task.pk}', or end it with "
        f"'poddispatchd tasks cancel {task.pk}'.",
    )


async def why_it_waits(settings: Settings, database: Database, task: Task) -> Finding | None:
    """Why a pending task is not submitted now; None when it does not wait any more."""
    if task.type is TaskType.OTHER:
        return Finding(
            Reason.TYPE_UNKNOWN,
            Severity.PROBLEM,
            f"Nothing submits tasks of type {task.type_name!r}.",
            f"If nobody needs it: 'poddispatchd tasks cancel {task.pk}'.",
        )
    rows = await task_list.pending_rows(database, task=task.pk, limit=1)
    if not rows:
        return None
    journal = await read_journal(database)
    managers = await pod_managers.runner_managers(database)
    surroundings = await situation(settings, database, journal, managers, await daemon_state(settings))
    sites = await pod_managers.sites(database)
    active = frozenset(manager.site_id for manager in managers if manager.is_active)
    waiting = waiting_task(
        rows[0],
        choose=site_chooser(settings, sites, active),
        sites=sites,
        own_tasks=await own_tasks_of(database, journal, [task.pk]),
        rules=SubmissionRules.of(settings),
        source_problem=await _source_problem(settings, database, task),
    )
    return None if waiting is None else why_task(waiting, surroundings)


async def _source_problem(settings: Settings, database: Database, task: Task) -> str | None:
    """Why the source of a task cannot be submitted, as far as this user on this machine sees it."""
    try:
        capabilities = await introspect(database)
        async with database.connection() as connection:
            source = await sources.load_source(connection, capabilities, task)
        path = posixpath.normpath(source_file(str(settings.pod.media_root), source))
    except UnsubmittableError as error:
        return str(error)
    except SchemaError:
        return None
    tree = MediaTree(settings.pod.media_root)
    found = (await SourceFiles(tree, settings.pod).look(path)).presence
    if found is Presence.SILENT:
        return SILENT_WORDS.format(path=tree.root / path)
    words = MISSING_WORDS.get(found)
    if words is None:
        return None  # it is there, or another user may see more
    evidence = MediaEvidence(tree, database, Clock(), settings.pod, logs=False)
    wrong = await evidence.check(source=path)
    return wrong or words.format(path=tree.root / path)
