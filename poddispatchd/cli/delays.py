"""What holds up tasks that runners have, or have done, for people: what no row of Pod's tells."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from poddispatchd.cli.daemon_state import State
from poddispatchd.database import migration
from poddispatchd.database.pool import Database
from poddispatchd.domain.breaker import BreakerState
from poddispatchd.domain.lifecycle import row_status
from poddispatchd.domain.task import ManagerId, TaskPk, TaskStatus
from poddispatchd.journal import imports
from poddispatchd.journal.imports import ImportState, Outstanding

_NO_MANAGER = (
    "Its row names no runner manager, as after one was deleted in Pod's administration: nobody can be asked "
    "about it. If that lasts it counts as lost (reconcile.lost)."
)


class HeldRow(Protocol):
    """As much of a task as is wanted here."""

    @property
    def pk(self) -> TaskPk: ...  # noqa: D102 - see Task
    @property
    def status(self) -> str: ...  # noqa: D102
    @property
    def runner_manager_id(self) -> ManagerId | None: ...  # noqa: D102


async def delays(database: Database, state: State | None, rows: Iterable[HeldRow]) -> Mapping[TaskPk, str]:
    """A sentence for each running task whose result could not be imported, or whose manager cannot be asked.

    Args:
        database: Pod's.
        state: of the daemon: only it knows how managers are; None: none answers.
        rows: tasks; those that do not run are left out.
    """
    running = [row for row in rows if row_status(row.status) is TaskStatus.RUNNING]
    if not running:
        return {}
    results: dict[TaskPk, Outstanding] = {}
    async with database.connection() as connection:
        if await migration.current_version(connection) == migration.LATEST:
            results = await imports.outstanding(connection, [row.pk for row in running])
    away = _cannot_be_asked(state)
    told: dict[TaskPk, str] = {}
    for row in running:
        if (result := results.get(row.pk)) is not None:
            if (words := _words(row.pk, result)) is not None:
                told[row.pk] = words
        elif row.runner_manager_id is None:
            told[row.pk] = _NO_MANAGER
        elif row.runner_manager_id in away:
            told[row.pk] = f"Its runner manager cannot be asked about it: {away[row.runner_manager_id]}"
    return told


def _words(task: TaskPk, result: Outstanding) -> str | None:
    """What is wrong with a result; None: it is about to be imported."""
    match result.state:
        case ImportState.SET_ASIDE:
            again = f"'poddispatchd queues retry imports {result.id}' has it tried again"
            return f"Its result was set aside after too many attempts ({again}): {result.error}"
        case ImportState.DROPPED:
            return f"Its result was dismissed: 'poddispatchd tasks restart {task}' runs it again."
        case _ if result.error is not None:
            return f"Its result is there, and could not be imported yet: {result.error}"
        case _:
            return None


def _cannot_be_asked(state: State | None) -> dict[ManagerId | None, str]:
    """Why, by manager, in the daemon's words."""
    return {
        ManagerId(entry["id"]): entry["error"]
        for entry in (state["managers"] if state is not None else ())
        if entry["state"] != BreakerState.CLOSED and entry["error"] is not None
    }
