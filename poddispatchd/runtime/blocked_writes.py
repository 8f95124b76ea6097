"""When the database answers and nothing moves: it refuses whatever is written, or somebody holds a table.

One task may be refused for good, and one row be held for long: that is told with the task, and the others go
on. Here it is about all of them, for minutes.
"""

from datetime import timedelta

from poddispatchd.clock import Clock
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.runtime.locked_rows import LockedRows

_NEEDED_BY_ALL = ("runner_manager_task", "poddispatchd.submission")
"""Tables without which no task is submitted, and no result imported."""

_FOR_MINUTES = 180.0
"""Seconds for which a table must have been held: a migration, or an index that is made, takes moments."""


class BlockedWrites:
    """Finds out whether nothing can be written for any task.

    Args:
        incidents: what is refused.
        locked_rows: what is held.
        clock: of the daemon.
    """

    def __init__(self, incidents: Incidents, locked_rows: LockedRows, clock: Clock) -> None:
        self._incidents = incidents
        self._locked_rows = locked_rows
        self._clock = clock

    @property
    def words(self) -> tuple[str, ...]:
        """A sentence for each reason; none while something moves. Details are told beside."""
        found = []
        if (refused := self._incidents.refused_since) is not None:
            found.append(
                f"Nothing moves: since {self._time(refused)} the database refuses whatever is to be written "
                "for tasks. Look for what the site has added to Pod's tables, as a trigger or a constraint."
            )
        if (held := self._held_since) is not None:
            found.append(
                f"Nothing moves: since {self._time(held)} another database session holds tables as a whole."
            )
        return tuple(found)

    @property
    def _held_since(self) -> float | None:
        """Since when tables that are held as a whole keep everything waiting; None: not for minutes.

        That a purge or a page waits for another table says nothing: a task must, and none have been written.
        """
        has_tasks, last_write = bool(self._locked_rows.tasks), self._incidents.last_write
        moments = [
            since
            for table, since in self._locked_rows.held_since.items()
            if table in _NEEDED_BY_ALL or (has_tasks and last_write < since)
        ]
        since = min(moments, default=None)
        is_long = since is not None and self._clock.monotonic() - since >= _FOR_MINUTES
        return since if is_long else None

    def _time(self, moment: float) -> str:
        passed = timedelta(seconds=self._clock.monotonic() - moment)
        return f"{self._clock.now() - passed:%Y-%m-%d %H:%M:%S} UTC"
