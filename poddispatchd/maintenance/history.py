"""Keeps what tasks took, for forecasts and reports: three statements when some have ended, else none."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from msgspec.structs import replace

from poddispatchd.database.pool import Database
from poddispatchd.domain.run_times import SourceSize
from poddispatchd.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    RowLockedError,
    StatementEndedError,
)
from poddispatchd.journal import history
from poddispatchd.journal.history import HistoryEntry
from poddispatchd.maintenance.history_fill import fill
from poddispatchd.observability.events import Event
from poddispatchd.pod import workload
from poddispatchd.pod.catalogue import Catalogue
from poddispatchd.pod.source_sizes import SourceSizes

log = structlog.get_logger(__name__)

_FILL_AGAIN = timedelta(minutes=10)
"""After which what was before is learnt again, when the database refused that."""

_MOST_REFUSALS = 12
"""Of what was before; then what ends is kept without it, which is better than nothing."""

_AT_ONCE = 500
"""Tasks recorded in one statement; more end in one moment only when somebody changes them by hand."""

_LOOKED_AT = 20
"""Source files whose size is asked for in one go."""


class History:
    """Records the tasks that end; only the scheduler does.

    Args:
        database: Pod's.
        catalogue: what Pod's tables have.
        sizes: of source files.
        time_zone: in which a day begins.
    """

    def __init__(self, database: Database, catalogue: Catalogue, sizes: SourceSizes, time_zone: str) -> None:
        self._database = database
        self._catalogue = catalogue
        self._sizes = sizes
        self._time_zone = time_zone
        self._refusals = 0
        self._filled_at: datetime | None = None

    async def fill(self) -> None:
        """Learn what was before, at the first start of all; what the database refuses is learnt later.

        So is what it ends a statement or a session over: that may come each time, and others wait for this.

        Raises:
            DatabaseUnavailableError: the database cannot be reached.
            RowLockedError: another session holds a table: it is to be tried again before anything is
                recorded, for the first record tells that it is done.
        """
        try:
            await fill(self._database, self._time_zone)
            self._refusals = 0
        except (DatabaseUnavailableError, RowLockedError):
            raise
        except DatabaseError as error:
            self._refusals += 1
            log.warning(Event.HISTORY_FAILED, reason=str(error))

    async def record(self, ended: Sequence[HistoryEntry], at: datetime) -> None:
        """Keep tasks that have ended; what the database refuses is told, and nothing else waits for it.

        Raises:
            DatabaseUnavailableError: the database cannot be reached.
            StatementEndedError: it ended a statement: they are to be recorded later.
            RowLockedError: another session holds a table: they are to be recorded later.
        """
        if 0 < self._refusals < _MOST_REFUSALS:
            # A sum of a day would tell that all before is known. These are learnt with what was before.
            await self._fill_again(at)
            return
        try:
            await self._record(ended, at)
        except (DatabaseUnavailableError, StatementEndedError, RowLockedError):
            raise
        except DatabaseError as error:
            log.warning(Event.HISTORY_FAILED, tasks=len(ended), reason=str(error))

    async def _fill_again(self, now: datetime) -> None:
        if self._filled_at is None or abs(now - self._filled_at) >= _FILL_AGAIN:
            self._filled_at = now
            await self.fill()

    async def _record(self, ended: Sequence[HistoryEntry], at: datetime) -> None:
        for start in range(0, len(ended), _AT_ONCE):
            some = ended[start : start + _AT_ONCE]
            pks = [task.pk for task in some]
            found = await workload.work_of(self._database, self._catalogue.capabilities, pks)
            sizes = await self._sizes.of((one.path for one in found.values() if one.path), most=_LOOKED_AT)
            complete = [
                replace(
                    task,
                    owner=one.owner,
                    priority=one.priority,
                    source=SourceSize(one.seconds, sizes.get(one.path or "")),
                )
                for task in some
                # A row that was deleted meanwhile has told all it can.
                if (one := found.get(task.pk)) is not None
            ]
            if complete:
                async with self._database.connection() as connection:
                    await history.record(connection, complete, at, self._time_zone)
