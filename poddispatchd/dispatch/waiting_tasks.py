"""What is remembered of single tasks while they wait."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from msgspec import Struct, field

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.domain.lifecycle import is_last_run
from poddispatchd.domain.routing import Offer
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import ManagerId, Task, TaskPk
from poddispatchd.journal import scheduling
from poddispatchd.journal.scheduling import Loss, OwnTask
from poddispatchd.managers.rows import PodSites
from poddispatchd.pod.queue_order import PendingTask

_MOST_REMEMBERED = 10_000

_CLOCKS_APART = 60.0
"""Seconds by which the clocks of machines may differ, generously."""

_REFUSAL_LASTS = 3600.0
"""Seconds after which a manager that refused a task is asked again, should it wait still: it may have been
upgraded or set up anew meanwhile, and nothing else would ever find out."""

_OTHERS_FOR = 3600.0
"""Seconds for which the last run of a task is kept for managers that have not lost it."""


class TaskMemory(Struct):
    """What is remembered of a pending task while it waits. Times are of the monotonic clock.

    ``refusals``: why managers refused its payload, ``refused_at`` when the last one did. ``held_until``:
    until when it is left alone. ``lost_by``: managers at which its runs came to nothing, ``others_until``:
    until when it is for others alone.
    """

    since: float
    date_added: datetime
    refusals: dict[ManagerId, str] = field(default_factory=dict)
    refused_at: float = 0.0
    held_until: float = 0.0
    lost_by: frozenset[ManagerId] = frozenset()
    others_until: float = 0.0

    def lost(self, lost_by: Collection[ManagerId], *, due_at: float, max_attempts: int) -> None:
        """Runs of it came to nothing at these managers, one for each run.

        ``due_at``: when it might be submitted again, by the database's clock. Should that have been set back,
        it is since this daemon has seen it.
        """
        self.lost_by = frozenset(lost_by)
        is_last = is_last_run(len(lost_by), max_attempts=max_attempts)
        self.others_until = min(self.since, due_at) + _OTHERS_FOR if is_last else 0.0

    def refused(self, manager: ManagerId, words: str, now: float) -> None:
        """A manager does not take its payload."""
        self.refusals[manager] = words
        self.refused_at = now

    def reconsider(self, able: Collection[ManagerId], now: float) -> None:
        """Have those asked again that refused it: after a while, or when nobody else is left.

        ``able`` are the managers that could take it. Should all of them refuse it, it fails in their words.
        """
        if able and (self._is_old(now) or self.is_refused_by(able)):
            self.refusals.clear()

    def is_refused_by(self, able: Collection[ManagerId]) -> bool:
        """Whether all of the managers that could take it refuse its payload.

        There may be none, as while no manager of the site is active: that proves nothing.
        """
        return bool(able) and self.refusals.keys() >= {*able}

    def matters(self, now: float) -> bool:
        """Whether it would be treated otherwise if nothing were remembered of it."""
        is_refused = bool(self.refusals) and not self._is_old(now)
        return self.held_until > now or self.others_until > now or is_refused

    def _is_old(self, now: float) -> bool:
        return now - self.refused_at >= _REFUSAL_LASTS


class TaskMemories:
    """What is remembered of all of them; times are of the monotonic clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[TaskPk, TaskMemory] = {}
        self.forgotten: set[TaskPk] = set()
        """Tasks that do not wait any more, since somebody has emptied this."""

    def get(self, pk: TaskPk) -> TaskMemory | None:
        """What is remembered of a task, if anything is."""
        return self._known.get(pk)

    def of(self, item: PendingTask) -> TaskMemory:
        """What is remembered of a task; a restarted one begins anew."""
        known = self._known.get(item.task.pk)
        # A restart in Pod's administration sets a new date_added: what was refused was another request.
        if known is None or known.date_added != item.task.date_added:
            known = TaskMemory(self._clock.monotonic(), item.task.date_added)
            self._known[item.task.pk] = known
        return known

    def is_free(self, waiting: "Waiting", now: float) -> bool:
        """Whether a task still waits since it was read, and is not left alone."""
        # The very same memory: that of a task which has left the queue since, or was begun again, is gone.
        return waiting.memory.held_until <= now and self._known.get(waiting.item.task.pk) is waiting.memory

    def held_after(self, now: float) -> list[float]:
        """Until when tasks are left alone, as far as that is to come."""
        return [memory.held_until for memory in self._known.values() if memory.held_until > now]

    def hold(self, item: PendingTask, seconds: float) -> None:
        """Leave a task alone for a while."""
        self.of(item).held_until = self._clock.monotonic() + seconds

    def hold_pk(self, pk: TaskPk, seconds: float) -> None:
        """Leave a task alone for a while, if it has been seen."""
        if (known := self._known.get(pk)) is not None:
            known.held_until = self._clock.monotonic() + seconds

    def forget(self, pk: TaskPk) -> None:
        """The task does not wait any more."""
        self._known.pop(pk, None)
        # A look at the queue that is under way may have read it as pending: its answer is corrected by this.
        self.forgotten.add(pk)

    def forget_some(self, seen: Collection[TaskPk]) -> None:
        """Tasks may vanish without a word, and a queue may be long: what is remembered stays bounded."""
        if len(self._known) > _MOST_REMEMBERED:
            now = self._clock.monotonic()
            self._known = {
                pk: memory for pk, memory in self._known.items() if pk in seen or memory.matters(now)
            }


class OwnTasks:
    """The tasks that Pod is not submitting itself: new ones need no grace, and some are to wait."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.known: Mapping[TaskPk, OwnTask] = {}
        self._read_at = float("-inf")
        self._some_put_back = False
        self._losses: Mapping[TaskPk, Loss] = {}
        self._losses_at = 0.0

    async def read(self, *, within: float, grace: float) -> None:
        """Read them again, unless that was done within so many seconds; ``grace``: of Pod's new tasks."""
        now = self._clock.monotonic()
        if now - self._read_at >= within:
            async with self._database.connection() as connection:
                # Who is older needs none; the clock that dates tasks may be a little ahead.
                self.known, self._some_put_back = await scheduling.new_own_tasks(
                    connection, within=grace + _CLOCKS_APART
                )
            self._read_at = now

    def waiting(self, now: float) -> list[tuple[TaskPk, datetime, float]]:
        """Those that were put back into the queue to wait there: which, added when, and until when."""
        read_at, own = self._read_at, self.known.items()
        found = [(pk, task.wait) for pk, task in own if task.wait is not None]
        waits = [(pk, wait.date_added, read_at + wait.seconds) for pk, wait in found]
        return [(pk, date_added, until) for pk, date_added, until in waits if until > now]

    async def read_losses(self, page: Iterable[PendingTask]) -> None:
        """Find out which of these tasks were lost before."""
        self._losses = {}
        if self._some_put_back:
            self._losses_at = self._clock.monotonic()
            async with self._database.connection() as connection:
                self._losses = await scheduling.losses(connection, [item.task.pk for item in page])

    def losses(self, task: Task) -> tuple[tuple[ManagerId, ...], float]:
        """The managers that runs of a task of that page came to nothing at, and when it was due again."""
        known = self._losses.get(task.pk)
        if known is None or known.date_added != task.date_added:
            return (), 0.0
        return known.lost_by, self._losses_at + known.seconds


class Waiting(Struct, frozen=True):
    """A task that may be submitted now, for one of its sites: ``chosen`` as it was at the look."""

    item: PendingTask
    sites: PodSites
    chosen: Site
    memory: TaskMemory

    @property
    def site(self) -> Site:
        """Its site as it is now: sites are read again between the look and the submission."""
        return self.sites.known.get(self.chosen.id, self.chosen)

    @property
    def offer(self) -> Offer:
        """As routing sees it."""
        task = self.item.task
        return Offer(
            task.pk,
            task.type,
            self.chosen.id,
            refused_by=frozenset(self.memory.refusals),
            lost_by=self.memory.lost_by,
            others_until=self.memory.others_until,
        )
