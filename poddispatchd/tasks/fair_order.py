"""The order by fair share as it is now: runner time had lately, and who has been put back for how long."""

from collections.abc import Callable, Sequence

from msgspec import Struct, field

from poddispatchd.clock import Clock
from poddispatchd.config.model import DispatchSettings
from poddispatchd.database.connections import Connection
from poddispatchd.database.pool import Database
from poddispatchd.domain.fair_share import FairOrder, FairShare, may_put_back
from poddispatchd.domain.task import Task, TaskType
from poddispatchd.errors import DatabaseError, DatabaseUnavailableError
from poddispatchd.journal import fair_share
from poddispatchd.journal.fair_share import GivenRunner
from poddispatchd.runtime.incidents import Incidents

_FRESH_FOR = 5.0
"""Seconds for which it is not read again."""

_JOB = "order by fair share"


class _Given(Struct, frozen=True):
    """A task that was given a runner at a moment of the monotonic clock."""

    task: Task
    priority: int
    types: Sequence[TaskType]
    at: float


class FairShares(Struct):
    """Reads the order, and remembers who overtakes; without fair share it does nothing at all.

    Args:
        database: Pod's, with our schema in it.
        settings: the current ones.
        clock: of the daemon.
        incidents: are told when the order cannot be had, and Pod's is taken.
        is_scheduling: whether this daemon hands tasks out: only then it writes.
    """

    database: Database
    settings: Callable[[], DispatchSettings]
    clock: Clock
    incidents: Incidents
    is_scheduling: Callable[[], bool]
    _given: list[_Given] = field(default_factory=list)
    _order: FairOrder | None = None
    _read_at: float = float("-inf")
    _read_by: FairShare = FairShare.NONE
    _may_give: int = 1
    _is_refused: bool = False

    @property
    def by(self) -> FairShare:
        """Whose runner time is counted."""
        return FairShare(self.settings().fair_share)

    @property
    def _has_given_many(self) -> bool:
        return not self._is_refused and len(self._given) >= self._may_give

    def gives(self, task: Task, priority: int, types: Sequence[TaskType]) -> bool:
        """A runner that could have taken tasks of these types is given this one.

        Returns:
            Whether the order must be read again before another one is given: those that were given since may
            have put others back by a whole run.
        """
        if self.by is FairShare.NONE:
            return False
        self._given.append(_Given(task, priority, types, self.clock.monotonic()))
        return self._has_given_many

    async def order(self) -> FairOrder | None:
        """The order in which tasks are handed out now; None: Pod's, as it is where ours cannot be had.

        Raises:
            DatabaseUnavailableError: the database is lost.
        """
        by, now = self.by, self.clock.monotonic()
        if by is FairShare.NONE:
            self._order, self._read_by = None, by
            self._given.clear()
            # It is not wanted any more, perhaps because it failed.
            self.incidents.recovered(_JOB)
            return None
        is_fresh = by is self._read_by and now - self._read_at < _FRESH_FOR
        if not is_fresh or self._has_given_many:
            try:
                self._order = await self._read(by)
            except DatabaseUnavailableError:
                raise
            except DatabaseError as error:
                # A table of ours that is held or refuses something is no reason to submit nothing (I12). What
                # was given may be what is refused.
                self.incidents.failed(_JOB, error, is_aside=True)
                self._order, self._is_refused = None, True
                self._given.clear()
            else:
                self._is_refused = False
                self.incidents.recovered(_JOB)
            self._read_at, self._read_by = now, by
        return self._order

    async def _read(self, by: FairShare) -> FairOrder | None:
        async with self.database.connection() as connection:
            if self.is_scheduling():
                await self._remember(connection)
            else:
                self._given.clear()
            return await read_order(connection, by, longest=self.settings().fair_share_delay)

    async def _remember(self, connection: Connection) -> None:
        """Write down who was given a runner; somebody else may do so at the same moment."""
        now = self.clock.monotonic()
        given, self._given = self._given, []
        try:
            if given:
                self._may_give = await fair_share.note(
                    connection,
                    [
                        GivenRunner(one.task.pk, one.priority, one.task.date_added, one.types, now - one.at)
                        for one in given
                    ],
                )
        except BaseException:
            # Whether it was written is not known, and to write it twice does no harm.
            self._given = given + self._given
            raise
        await fair_share.tidy(connection)


async def read_order(connection: Connection, by: FairShare, *, longest: float) -> FairOrder | None:
    """The order by fair share; None: nobody can be put back for less than the longest delay, so it is Pod's.

    Args:
        connection: any one.
        by: whose runner time is counted.
        longest: seconds for which a task is put back at most.
    """
    lengths = await fair_share.run_lengths(connection)
    if not may_put_back(longest, lengths.longest):
        return None
    return FairOrder(
        by,
        await fair_share.used(connection, by),
        lengths.average,
        await fair_share.due(connection, lengths, longest=longest),
    )
