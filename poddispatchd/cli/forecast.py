"""When tasks are expected to begin and end, for a command: from the journal, and a daemon if one answers."""

from collections.abc import Collection
from functools import partial

import click

from poddispatchd.cli.daemon_state import State
from poddispatchd.cli.situation import JournalRows, own_tasks_of, read_journal
from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.config.windows import availability_of
from poddispatchd.database import migration
from poddispatchd.database.pool import Database
from poddispatchd.domain.availability import Availability, pause_at
from poddispatchd.domain.breaker import BreakerState
from poddispatchd.domain.capacity import ManagerNow
from poddispatchd.domain.fair_share import FairOrder, FairShare
from poddispatchd.domain.forecast import Forecast, Interval
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.situation import NOTHING_IS_SUBMITTED
from poddispatchd.domain.task import TaskPk, TaskStatus
from poddispatchd.errors import DatabaseUnavailableError, PoddispatchdError, SchemaError
from poddispatchd.journal.scheduling import ManagerMemory
from poddispatchd.managers.rows import site_chooser
from poddispatchd.managers.timetable import Timetables
from poddispatchd.pod import managers as pod_managers
from poddispatchd.pod.capabilities import introspect
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.pod.source_sizes import SourceSizes
from poddispatchd.tasks.fair_order import read_order
from poddispatchd.tasks.forecasts import Around, Forecasts

OPEN = (TaskStatus.PENDING, TaskStatus.RUNNING)


async def expected(
    settings: Settings, database: Database, statuses: Collection[str], state: State | None
) -> Forecast | None:
    """What can be expected of the queue (see ``_expected``); what is shown beside it does not depend on it.

    An error that nobody foresaw is told on standard error, and nothing is expected then.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
        SchemaError: the schema is an older one.
    """
    try:
        return await _expected(settings, database, statuses, state)
    except (DatabaseUnavailableError, SchemaError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the tasks are shown all the same
        is_ours = isinstance(error, PoddispatchdError)
        words = str(error) if is_ours else f"an error nobody foresaw ({type(error).__name__})."
        click.echo(f"poddispatchd: When tasks begin and end cannot be told: {words}", err=True)
        return None


async def _expected(
    settings: Settings, database: Database, statuses: Collection[str], state: State | None
) -> Forecast | None:
    """What can be expected of the queue; None when none of these statuses is one of a task that is not over.

    Args:
        settings: those in effect.
        database: Pod's.
        statuses: of the tasks that are shown.
        state: of the daemon; None: none answers.
    """
    if not {*OPEN} & {*statuses} or not await _has_history(database):
        return None
    journal = await read_journal(database)
    managers = await pod_managers.runner_managers(database)
    sites = await pod_managers.sites(database)
    around = Around(
        managers=_managers_now(managers, journal, state, availability_of(settings)),
        is_submitted=is_submitted(journal, state),
        choose=site_chooser(settings, sites, frozenset(one.site_id for one in managers if one.is_active)),
        own_tasks=partial(own_tasks_of, database, journal),
        order=await _order(settings, database),
    )
    sizes = SourceSizes(MediaTree(settings.pod.media_root))
    return await Forecasts(database, sizes).read(await introspect(database), around, Clock().now())


def interval_as_dict(interval: Interval | None) -> dict[str, object] | None:
    """An interval for programs; None: nobody knows."""
    return None if interval is None else {"low": interval.low, "high": interval.high}


def expected_words(forecast: Forecast, task: TaskPk, status: str) -> str | None:
    """When a task is expected to begin and end, for people; None for one that is over."""
    if status not in OPEN:
        return None
    begins, ends = forecast.begins.get(task), forecast.ends.get(task)
    if ends is None:
        return "unknown"
    if begins is None:
        return f"ends {ends.words(forecast.as_of)}"
    return f"begins {begins.words(forecast.as_of)}, ends {ends.words(forecast.as_of)}"


def is_submitted(journal: JournalRows, state: State | None) -> bool:
    """Whether anybody submits tasks at all, as far as the journal and the daemon of this machine know."""
    if state is None:
        # Not between passes: a daemon that was stopped leaves the same behind, and none comes after it.
        return journal.scheduler is not None and journal.scheduler.is_held
    return not any(
        entry["why"] is not None and entry["why"]["reason"] in NOTHING_IS_SUBMITTED
        for entry in state["queue"]
    )


async def _has_history(database: Database) -> bool:
    async with database.connection() as connection:
        return await migration.current_version(connection) >= migration.LATEST


async def _order(settings: Settings, database: Database) -> FairOrder | None:
    by = FairShare(settings.dispatch.fair_share)
    if by is FairShare.NONE:
        return None
    async with database.connection() as connection:
        return await read_order(connection, by, longest=settings.dispatch.fair_share_delay)


def _managers_now(
    managers: Collection[RunnerManager], journal: JournalRows, state: State | None, availability: Availability
) -> list[ManagerNow]:
    """The managers as they are: whether one is down or full only a daemon knows."""
    entries = {} if state is None else {entry["id"]: entry for entry in state["managers"]}
    memories, now = journal.memories or {}, Clock().now()
    timetables = Timetables(availability, now)
    found = []
    for manager in managers:
        entry = entries.get(manager.id)
        up = entry is None or entry["state"] in (BreakerState.CLOSED, BreakerState.HALF_OPEN)
        pauses = memories.get(manager.id, ManagerMemory()).pauses
        held = pause_at(pauses, now)
        # A pause that ends is in the openings; of one without an end nobody knows when its tasks begin.
        usable = manager.is_active and up and (held is None or held.ends is not None)
        full = frozenset() if entry is None else frozenset(entry["full_for"])
        openings = timetables.openings(manager.name, pauses)
        found.append(ManagerNow(manager.id, manager.site_id, usable, full, openings))
    return found
