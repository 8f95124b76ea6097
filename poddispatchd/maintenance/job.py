"""Ranks, purge, what imports left behind, and the figures of the queue: each a thing of its own, in turn."""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from poddispatchd.clock import Clock
from poddispatchd.domain.task import TaskStatus, TaskType
from poddispatchd.errors import DatabaseUnavailableError
from poddispatchd.maintenance.media_space import ForeignObstacles, MediaSpace
from poddispatchd.maintenance.queue_counter import QueueCounter
from poddispatchd.maintenance.ranks import Ranks
from poddispatchd.maintenance.stalled_queue import StalledQueue
from poddispatchd.maintenance.unsettled import Unsettled
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.runtime.incidents import Incidents

_IDLE = 120.0
_NOT_TOO_OFTEN = 1.0
_REST = 20.0
"""How many times as long as a round took the next one waits: its share of the database stays below 5 %."""

_PURGE_EVERY = 3600.0
_DELETE_EVERY = 60.0
"""Seconds between two deletions, at least."""

_ENOUGH = 60.0
"""Seconds of purges after which what is left has its turn in the next round: one of them, or the deletion,
may take four minutes more, and a round must end well before the watchdog takes it for stuck."""

_DELETION = "deletion of replaced files"

Purges: TypeAlias = Mapping[str, Callable[[], Awaitable[None]]]
"""What deletes what has had its time, by its name in the log; in this order."""


class Maintenance:
    """Keeps ranks and figures up to date, and deletes what has had its time; only the scheduler writes.

    Args:
        session: whose term it is.
        counter: looks at the queue.
        stalled: tells of types that stand still.
        ranks: writes ranks.
        media: looks at the media tree.
        obstacles: forgets what keeps results of other daemons waiting.
        unsettled: counts what people have to look at.
        tables: looks whether what was wrong with Pod's tables has been mended.
        purges: done every hour.
        deletion: of files that nobody needs any more; tells in how many seconds the next one is due, None
            when none is left. Done then, after the purges, and every two minutes: imports leave some, too.
        incidents: is told of what fails.
        clock: of the daemon.
    """

    def __init__(
        self,
        *,
        session: DatabaseSession,
        counter: QueueCounter,
        stalled: StalledQueue,
        ranks: Ranks,
        media: MediaSpace,
        obstacles: ForeignObstacles,
        unsettled: Unsettled,
        tables: Callable[[], Awaitable[None]],
        purges: Purges,
        deletion: Callable[[], Awaitable[float | None]],
        incidents: Incidents,
        clock: Clock,
    ) -> None:
        self._session = session
        self.counter = counter
        self.stalled = stalled
        self.ranks = ranks
        self._media = media
        self._obstacles = obstacles
        self.unsettled = unsettled
        self._tables = tables
        self._purges = purges
        self._deletion = deletion
        self._incidents = incidents
        self._clock = clock
        self._purged_at = float("-inf")
        self._purges_left: deque[tuple[str, Callable[[], Awaitable[None]]]] = deque()
        """What of this hour is still to be done: a database that was lost, or a long purge, cut it short."""
        self._delete_at = float("-inf")

    async def step(self) -> float:
        """One round; seconds until the next one."""
        clock = self._clock
        begun = clock.monotonic()
        stats = await self.counter.look()
        await self._apart("look at the media tree", self.measure)
        await self._apart("count of what was set aside", self.unsettled.look)
        await self._apart("look at Pod's tables", self._tables)
        if self._session.term is not None:
            is_first = self._purged_at == float("-inf")
            # At the first round also without any that wait: a task that ended while nobody ran may have kept
            # a rank.
            if is_first or any(stats.count(kind, TaskStatus.PENDING) for kind in TaskType):
                await self._apart("writing of ranks", lambda: self.ranks.keep(stats), writes_tasks=True)
            if clock.monotonic() - self._purged_at >= _PURGE_EVERY:
                self._begin_purges()
            if self._purges_left:
                await self._purge_rest(within=_ENOUGH)
            elif clock.monotonic() >= self._delete_at:
                await self._apart(_DELETION, self._delete)
        # Each submission moves every rank behind it: a long queue must not be renumbered all the time.
        spent = clock.monotonic() - begun
        await clock.sleep(min(max(_NOT_TOO_OFTEN, _REST * spent), _IDLE))
        if self._session.term is None:
            return _IDLE
        return min(_IDLE, max(self._delete_at - clock.monotonic(), _NOT_TOO_OFTEN))

    async def measure(self) -> None:
        """Look at the media tree, and forget what kept it from being written to."""
        await self._media.look()
        await self._obstacles.forget()

    async def purge(self) -> None:
        """Delete what has had its time: completed tasks, files, rows of the journal."""
        self._begin_purges()
        # All of it, for a single pass: nobody would come back to the rest.
        await self._purge_rest(within=float("inf"))

    def _begin_purges(self) -> None:
        # Before it is done: what fails comes again in an hour, and not with every round.
        self._purged_at = self._clock.monotonic()
        self._purges_left = deque(self._purges.items())

    async def _purge_rest(self, *, within: float) -> None:
        """Do what is left of the purges, and delete files, as far as it is begun ``within`` so many seconds.

        One that takes longer than any statement may looks as if the database were lost, and does so each
        time: the others are done all the same. Only a second one shows that it is; the rest is done then when
        it is back.

        Raises:
            DatabaseUnavailableError: it was.
        """
        lost: DatabaseUnavailableError | None = None
        enough = self._clock.monotonic() + within
        while self._purges_left and self._clock.monotonic() < enough:
            try:
                await self._apart(*self._purges_left.popleft())
            except DatabaseUnavailableError as error:
                if lost is not None:
                    raise
                lost = error
        if self._clock.monotonic() < enough:
            await self._apart(_DELETION, self._delete)
        if lost is not None:
            raise lost

    async def _delete(self) -> None:
        self._delete_at = self._clock.monotonic() + _IDLE
        seconds = await self._deletion()
        if seconds is not None:
            self._delete_at = self._clock.monotonic() + min(max(seconds, _DELETE_EVERY), _IDLE)

    async def _apart(
        self, what: str, work: Callable[[], Awaitable[None]], *, writes_tasks: bool = False
    ) -> None:
        """Do one thing of a round: when it fails, the others are done all the same (I12).

        Raises:
            DatabaseUnavailableError: the database is gone.
        """
        try:
            await work()
            self._incidents.recovered(what)
        except DatabaseUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told by the incidents
            self._incidents.failed(what, error, is_aside=True, writes_tasks=writes_tasks)
