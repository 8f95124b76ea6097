"""What somebody who looks wants to know now: counted when they look, dated, and bounded in what it costs."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from poddispatchd.database import migration
from poddispatchd.domain.task import TaskPk
from poddispatchd.errors import DatabaseError
from poddispatchd.journal import dismissals, ends, scheduling
from poddispatchd.journal.ends import EndedTask, HourOfTasks
from poddispatchd.journal.scheduling import Scheduler, Wait
from poddispatchd.parts import Parts
from poddispatchd.pod import overview
from poddispatchd.pod.overview import PendingRow, TaskFilter, TaskRow
from poddispatchd.pod.queue_order import QueueStats
from poddispatchd.runtime import queues
from poddispatchd.web.expected import Expected

FRESH_FOR = 1.0
"""Seconds for which counts are not made again, however many look."""

LONGEST_AGE = 10.0
"""Seconds after which counts are made again for whoever looks, however long that takes."""

_PATIENCE = 3.0
"""Seconds that a look may take; after that the figures before are shown, with their time."""

_REST = 20.0
"""How many times as long as a count took it is good for."""

_EXPECTED_FRESH_FOR, _EXPECTED_LONGEST_AGE = 10.0, 60.0
"""Seconds for which a forecast is good for the page, and for the metrics."""

_WAITING, _RUNNING, _ENDED, _FAILED = 20, 50, 20, 500
_DAY = 24


@dataclass(frozen=True, slots=True)
class Overview:
    """Tasks one by one, as far as a page shows them; ``as_of`` is when they were read.

    ``titles`` are those of the waiting ones.
    """

    as_of: datetime
    waiting: tuple[PendingRow, ...] = ()
    own_tasks: Mapping[TaskPk, Wait | None] = field(default_factory=dict)
    running: tuple[TaskRow, ...] = ()
    begun: Mapping[TaskPk, datetime] = field(default_factory=dict)
    titles: Mapping[TaskPk, str | None] = field(default_factory=dict)
    ended: tuple[tuple[TaskRow, EndedTask], ...] = ()
    failed: tuple[tuple[TaskRow, EndedTask], ...] = ()
    hours: tuple[HourOfTasks, ...] = ()


class Figures:
    """Counts and lists for the status page, the JSON and the metrics.

    Args:
        parts: the daemon's.
        look: counts the tasks now.
    """

    def __init__(self, parts: Parts, look: Callable[[], Awaitable[QueueStats]]) -> None:
        self._parts = parts
        self._look = look
        self._turn = asyncio.Lock()
        self._next_count = float("-inf")
        self._next_overview = float("-inf")
        self._changes_by_hand = 0
        self.scheduler: Scheduler | None = None
        self.overview: Overview | None = None
        self.expected = Expected(parts)
        self._stats: QueueStats | None = None

    async def refresh(self, *, with_tasks: bool = False) -> None:
        """Count anew unless that was done just now; what cannot be counted stays as it was, with its time.

        Args:
            with_tasks: read the tasks that a page lists as well.
        """
        problems = (self._parts.storage.problem, self._parts.evidence.nothing_can_be_submitted)
        self._parts.metrics.media_usable.set(problems == (None, None))
        if not self._parts.session.is_up:
            return
        try:
            async with asyncio.timeout(_PATIENCE), self._turn:
                self._forget_after_a_change_by_hand()
                await self._count()
                if with_tasks:
                    await self._list()
                if self._stats is not None:
                    age = _EXPECTED_FRESH_FOR if with_tasks else _EXPECTED_LONGEST_AGE
                    await self.expected.refresh(self._stats, within=age)
        except (DatabaseError, TimeoutError):
            return

    def _forget_after_a_change_by_hand(self) -> None:
        """Who has just changed something looks whether it is changed."""
        changes = self._parts.wakeups.administration.rings
        if changes != self._changes_by_hand:
            self._changes_by_hand = changes
            self._next_count = self._next_overview = float("-inf")
            self.expected.forget()

    async def _count(self) -> None:
        clock = self._parts.clock
        begun = clock.monotonic()
        if begun < self._next_count:
            return
        self._stats = await self._look()
        if self._parts.session.term is None and self._parts.has_journal:
            async with self._parts.database.connection() as connection:
                self.scheduler = await scheduling.scheduler(connection)
        else:
            self.scheduler = None
        if self._parts.has_journal:
            await self._measure_backlogs()
        self._next_count = self._rest_after(begun)

    async def _measure_backlogs(self) -> None:
        metrics = self._parts.metrics
        async with self._parts.database.connection() as connection:
            found = await queues.figures(connection)
        for name, queue in found.items():
            metrics.backlog.labels(name).set(queue.open)
            oldest = 0.0 if queue.oldest is None else queue.oldest.timestamp()
            metrics.backlog_oldest.labels(name).set(oldest)
            metrics.set_aside.labels(name).set(queue.set_aside)

    async def _list(self) -> None:
        clock = self._parts.clock
        begun = clock.monotonic()
        if begun < self._next_overview:
            return
        self.overview = await self._read(clock.now())
        self._next_overview = self._rest_after(begun)

    def _rest_after(self, begun: float) -> float:
        now = self._parts.clock.monotonic()
        return now + min(max(FRESH_FOR, _REST * (now - begun)), LONGEST_AGE)

    async def _read(self, as_of: datetime) -> Overview:
        database = self._parts.database
        waiting = await overview.pending_rows(database, limit=_WAITING)
        running = await overview.task_rows(
            database, TaskFilter(statuses=("running", "warning")), limit=_RUNNING
        )
        async with database.connection() as connection:
            if not self._parts.has_journal and await migration.current_version(connection) < migration.LATEST:
                return Overview(as_of, tuple(waiting), running=tuple(running))
            own_tasks = await scheduling.own_tasks(connection)
            begun = await ends.begun(connection, [task.pk for task in running])
            ended = await ends.recent(connection, limit=_ENDED)
            failed = await ends.failed(connection, hours=_DAY, limit=_FAILED)
            hours = await ends.by_hour(connection)
        wanted = {item.pk for item in (*ended, *failed)} | {item.pk for item in waiting}
        rows = {
            row.pk: row
            for row in await overview.task_rows(database, TaskFilter(tasks=wanted), limit=len(wanted) + 1)
        }
        unseen = {item.pk for item in failed} - await self._dismissed(rows)
        return Overview(
            as_of=as_of,
            waiting=tuple(waiting),
            own_tasks=own_tasks,
            running=tuple(sorted(running, key=lambda row: begun.get(row.pk, row.date_added))),
            begun=begun,
            titles={item.pk: rows[item.pk].title for item in waiting if item.pk in rows},
            # A task that was restarted since has not ended.
            ended=tuple((rows[item.pk], item) for item in ended if item.pk in rows),
            failed=tuple(
                (rows[item.pk], item)
                for item in failed
                if item.pk in unseen and item.pk in rows and rows[item.pk].status in ("failed", "timeout")
            ),
            hours=tuple(hours),
        )

    async def _dismissed(self, rows: Mapping[TaskPk, TaskRow]) -> set[TaskPk]:
        """Which of these tasks a person has seen to."""
        if not rows or not self._parts.has_journal:
            return set()
        async with self._parts.database.connection() as connection:
            return await dismissals.dismissed(connection, {pk: row.date_added for pk, row in rows.items()})
