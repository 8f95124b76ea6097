"""Tasks that wait because another database session holds a row of theirs; all others go on (I12)."""

from collections.abc import Collection, Mapping
from datetime import datetime

import structlog
from msgspec import Struct

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.domain.task import TaskPk
from poddispatchd.observability.events import Event
from poddispatchd.pod.lock_holders import HeldRow, HeldTables, held_row, held_tables
from poddispatchd.runtime.wakeups import Wakeup, Wakeups

log = structlog.get_logger(__name__)

_IDLE = 120.0
_LOOK_EVERY = 2.0
_NOT_TOO_OFTEN = 1.0
"""Seconds between two looks at tables that are held as a whole."""

_HELD_AT_ONCE = 5
_FREE_AT_ONCE = 200
"""Tasks looked at in one go: a held row takes a second to find out about, a free one some milliseconds."""

_SAME_INCIDENT = 60.0
"""Seconds within which a row that is held again is no news."""

_STILL_WAITS = 180.0
"""Seconds within which whatever could not be had is tried again."""

_SHOWN = 5

_LONGEST_DOUBT = 30.0
"""Seconds for which a task waits that could not be had, though none of the rows looked at is held."""

_SOMETHING = HeldRow("a row that it needs", "another database session")


class LockedTask(Struct):
    """A task that waits for a row; ``held`` tells which and by whom, None before the first look.

    ``times`` counts how often that was found out within a minute.
    """

    pk: TaskPk
    since: datetime
    seen_at: float
    held: HeldRow | None = None
    is_told: bool = False
    times: int = 1

    @property
    def is_doubtful(self) -> bool:
        """Whether it failed again and again although its rows could be had at every look."""
        return self.times > 1

    @property
    def tried_again_after(self) -> float:
        """Seconds after which such a task is tried again."""
        return min(_LONGEST_DOUBT, 2.0**self.times)

    @property
    def words(self) -> str:
        """A sentence for people."""
        what, who = ("one of its rows", "another database session")
        if self.held is not None:
            what, who = self.held.what, self.held.by
        since = self.since.strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"Task {self.pk} waits since {since}: {what} is held by {who}."


class LockedRows:
    """The registry of such tasks, and the job that looks whether their rows can be had again."""

    def __init__(self, database: Database, wakeups: Wakeups, clock: Clock) -> None:
        self._database = database
        self._wakeups = wakeups
        self._clock = clock
        self._tasks: dict[TaskPk, LockedTask] = {}
        self.tasks: frozenset[TaskPk] = frozenset()
        """The tasks that wait: nothing is tried with them meanwhile."""
        self._freed: dict[TaskPk, tuple[float, LockedTask]] = {}
        self._tables: tuple[HeldTables, ...] = ()
        self._held_since: dict[str, float] = {}
        self._met_at = float("-inf")
        self._suspects_tables = False
        self._tables_seen_at = float("-inf")
        self.wake = Wakeup()

    @property
    def problems(self) -> tuple[str, ...]:
        """A sentence for each, a few at most."""
        shown = [locked.words for locked in list(self._tasks.values())[:_SHOWN]]
        more = len(self._tasks) - len(shown)
        others = (f"{more} more tasks wait for rows that are held.",) if more > 0 else ()
        return (*self.tables, *shown, *others)

    @property
    def tables(self) -> tuple[str, ...]:
        """A sentence for each session that holds tables as a whole."""
        return tuple(held.words for held in self._tables)

    @property
    def held_since(self) -> Mapping[str, float]:
        """Since when tables are held as a whole, on the monotonic clock; none where nothing waits for one."""
        is_waited_for = self._tasks or self._clock.monotonic() - self._met_at <= _STILL_WAITS
        return self._held_since if is_waited_for else {}

    def met(self, task: int | None) -> None:
        """A row of this task could not be had; None: a row, or a whole table, for whatever."""
        self._suspects_tables = True
        self._met_at = self._clock.monotonic()
        if task is None:
            self.wake.ring()
            return
        pk = TaskPk(task)
        if pk in self._tasks:
            return
        now = self._clock.monotonic()
        freed_at, before = self._freed.pop(pk, (float("-inf"), None))
        locked = LockedTask(pk, self._clock.now(), now)
        if before is not None and now - freed_at < _SAME_INCIDENT:
            locked.since, locked.is_told, locked.times = before.since, before.is_told, before.times + 1
        self._tasks[pk] = locked
        self.tasks = frozenset(self._tasks)
        self.wake.ring()

    async def step(self) -> float:
        """Look who holds the rows, and which can be had again; seconds until the next look.

        Raises:
            DatabaseError: it cannot be found out now.
        """
        await self._look_at_tables()
        freed: list[LockedTask] = []
        held = 0
        # Those looked at longest ago come first: a round ends at a limit, and the next one goes on from
        # there.
        for locked in sorted(self._tasks.values(), key=lambda each: each.seen_at):
            if held >= _HELD_AT_ONCE or len(freed) >= _FREE_AT_ONCE:
                break
            met_at, locked.seen_at = locked.seen_at, self._clock.monotonic()
            was_held, locked.held = locked.held, await held_row(self._database, locked.pk)
            held += locked.held is not None
            if locked.held is None and not locked.is_doubtful:
                freed.append(locked)
            elif locked.held is None:
                # Another row than those that were looked at, or one that is held now and then.
                if was_held not in (None, _SOMETHING) or locked.seen_at - met_at >= locked.tried_again_after:
                    freed.append(locked)
                else:
                    locked.held, locked.seen_at = _SOMETHING, met_at
            if locked.held is not None and not locked.is_told:
                locked.is_told = True
                log.warning(Event.ROW_LOCKED, task=locked.pk, row=locked.held.what, holder=locked.held.by)
        self._free(freed)
        return _LOOK_EVERY if self._tasks or self._tables or self._suspects_tables else _IDLE

    async def _look_at_tables(self) -> None:
        """Find out whether whole tables are held, when something could not be had; nothing else tells it."""
        now = self._clock.monotonic()
        if not (self._suspects_tables or self._tables) or now - self._tables_seen_at < _NOT_TOO_OFTEN:
            return
        self._tables_seen_at = now
        before, self._tables = self._tables, await held_tables(self._database)
        self._suspects_tables = False
        names = {name for held in self._tables for name in held.tables}
        self._held_since = {name: self._held_since.get(name, now) for name in names}
        known = {held.tables for held in before}
        for held in self._tables:
            if held.tables not in known:
                log.warning(Event.ROW_LOCKED, row=f"whole tables: {', '.join(held.tables)}", holder=held.by)
        if before and not self._tables:
            log.info(Event.ROW_FREED)
            self._wakeups.ring_all()

    def _free(self, freed: Collection[LockedTask]) -> None:
        now = self._clock.monotonic()
        self._freed = {pk: entry for pk, entry in self._freed.items() if now - entry[0] < _SAME_INCIDENT}
        for locked in freed:
            del self._tasks[locked.pk]
            self._freed[locked.pk] = (now, locked)
            if locked.is_told:
                log.info(Event.ROW_FREED, task=locked.pk)
        self.tasks = frozenset(self._tasks)
        if freed:
            # Whichever job left them alone: it is not known here.
            self._wakeups.ring_all()
