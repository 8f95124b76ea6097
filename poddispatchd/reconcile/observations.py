"""What is remembered of running tasks from one look to the next: when to ask, and what is suspicious."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from msgspec import Struct, field

from poddispatchd.domain.lifecycle import row_status
from poddispatchd.domain.task import TaskPk, TaskStatus
from poddispatchd.journal.observations import Sighting, TaskObservation
from poddispatchd.pod.tasks import UnsettledTask
from poddispatchd.runner.records import RunnerTask

_FORGOTTEN_AFTER = 2
"""How often in a row a task must be denied before it is taken for lost."""

_ORDERED_WITHIN = 60.0
"""Seconds after which its manager has told a runner of a task, or given up: it waits for 30 s."""

_NEVER_SEEN = TaskObservation(0.0)


class Observation(Struct):
    """What is remembered of one task under one id. Times are of the monotonic clock.

    ``since`` is when the task was submitted, or first seen where Pod submitted it itself. ``denials`` counts
    how often in a row nobody knew the task, ``unanswered`` how often in a row its manager gave no answer that
    can be used. ``runner`` is the runner that it runs on, ``gone_since`` is
    since when that one is missing, ``noted`` the runner that the journal calls missing. ``odd_status`` is a
    word that nobody knows.
    """

    task_id: str | None
    since: float
    ask_at: float
    denials: int = 0
    unanswered: int = 0
    is_stale: bool = False
    runner: str | None = None
    gone_since: float | None = None
    noted: str | None = None
    odd_status: str | None = None

    @classmethod
    def of(
        cls, item: UnsettledTask, known: TaskObservation, *, now: float, running_after: float
    ) -> "Observation":
        """Begin to watch a task of which the journal knows this."""
        # Below zero where the database's clock was set back.
        since = now - max(known.age, 0.0)
        # One that waits with an id is not submitted before it is known whether it runs.
        delay = 0.0 if item.task.status == TaskStatus.PENDING else running_after
        seen = cls(item.task.task_id, since, max(since + delay, now), is_stale=known.is_stale)
        if known.missing_runner is not None:
            seen.runner = seen.noted = known.missing_runner
            seen.gone_since = now - max(known.missing_for, 0.0)
        return seen

    def runs_on(self, runner: str | None) -> None:
        """Its manager names the runner that works on it, or none."""
        if runner != self.runner:
            self.runner, self.gone_since = runner, None

    def has_no_order(self, record: RunnerTask, now: float) -> bool:
        """Whether its manager took it long ago, and shows no sign that any runner was told."""
        return record.is_without_order and now - self.since >= _ORDERED_WITHIN

    @property
    def missing(self) -> str | None:
        """The runner that works on it, if that one is missing."""
        return None if self.gone_since is None else self.runner

    def denied(self) -> bool:
        """Nobody knows the task; whether that was said often enough."""
        self.denials += 1
        return self.denials >= _FORGOTTEN_AFTER

    def is_gone(self, online: Collection[str], now: float, *, after: float) -> bool:
        """Take over which runners are online; whether the task's has been missing for so many seconds."""
        if self.runner is None or self.runner in online:
            self.gone_since = None
            return False
        if self.gone_since is None:
            self.gone_since = now
            return False
        return now - self.gone_since >= after


class Observations(Struct):
    """The memory of all running tasks."""

    _by_task: dict[TaskPk, Observation] = field(default_factory=dict)

    def get(self, item: UnsettledTask) -> Observation | None:
        """What is remembered of a task under this id; None when it is not there any more."""
        seen = self._by_task.get(item.task.pk)
        return seen if seen is not None and seen.task_id == item.task.task_id else None

    def ask_at(self, tasks: Iterable[TaskPk], moment: float) -> None:
        """Ask about these tasks then."""
        for task in tasks:
            if (seen := self._by_task.get(task)) is not None:
                seen.ask_at = moment

    def __getitem__(self, task: TaskPk) -> Observation:
        """What is remembered of a task that ``renew`` has seen."""
        return self._by_task[task]

    def unobserved(self, unsettled: Iterable[UnsettledTask]) -> dict[TaskPk, Sighting]:
        """The tasks that nothing is remembered of, with their runs."""
        tasks = (item.task for item in unsettled if not self._knows(item))
        return {task.pk: Sighting(task.task_id, task.runner_manager_id) for task in tasks}

    def misses(self, unsettled: Iterable[UnsettledTask]) -> bool:
        """Whether a task that is remembered is not among these."""
        return not self._by_task.keys() <= {item.task.pk for item in unsettled}

    def _knows(self, item: UnsettledTask) -> bool:
        seen = self._by_task.get(item.task.pk)
        return seen is not None and seen.task_id == item.task.task_id

    def renew(
        self,
        unsettled: Iterable[UnsettledTask],
        known: Mapping[TaskPk, TaskObservation],
        *,
        now: float,
        running_after: float,
        ask_all: bool,
    ) -> None:
        """Begin to watch new tasks, forget those that are gone.

        Args:
            unsettled: every task to watch.
            known: what the journal knows of new ones.
            now: the moment.
            running_after: seconds until a task is asked about for the first time.
            ask_all: ask about every task now: callbacks may have been lost.
        """
        fresh: dict[TaskPk, Observation] = {}
        for item in unsettled:
            pk = item.task.pk
            if self._knows(item):
                seen = self._by_task[pk]
            else:
                seen = Observation.of(item, known.get(pk, _NEVER_SEEN), now=now, running_after=running_after)
            if ask_all:
                seen.ask_at = now
            fresh[pk] = seen
        self._by_task = fresh

    def suspects(
        self, items: Iterable[UnsettledTask], now: float, *, after: float
    ) -> list[tuple[UnsettledTask, Observation]]:
        """Those of these tasks that have been on a runner for so many seconds: it may be gone."""
        seen = [(item, seen) for item in items if (seen := self.get(item)) is not None]
        return [(item, of) for item, of in seen if of.runner is not None and now - of.since >= after]

    def postpone(self, tasks: Iterable[TaskPk], until: float) -> None:
        """Ask about these tasks no earlier."""
        for task in tasks:
            if (seen := self._by_task.get(task)) is not None:
                seen.ask_at = max(seen.ask_at, until)

    def due(self, unsettled: Iterable[UnsettledTask], now: float) -> list[UnsettledTask]:
        """The tasks whose turn it is; last those that their manager did not answer for, which takes time."""
        turns = [item for item in unsettled if self._by_task[item.task.pk].ask_at <= now]
        return sorted(turns, key=lambda item: self._by_task[item.task.pk].unanswered)

    def next_turn(self) -> float | None:
        """When the next task is to be asked about; None when there is none."""
        return min((seen.ask_at for seen in self._by_task.values()), default=None)

    @property
    def in_doubt(self) -> bool:
        """Whether some task was denied once, and is to be asked about again."""
        return any(seen.denials for seen in self._by_task.values())

    def stale(
        self, unsettled: Iterable[UnsettledTask], now: float, *, after: float
    ) -> Iterator[tuple[UnsettledTask, bool]]:
        """The tasks that run for too long, each with whether that is news."""
        for item in unsettled:
            seen = self._by_task[item.task.pk]
            if row_status(item.task.status) is TaskStatus.RUNNING and now - seen.since >= after:
                yield item, not seen.is_stale
                seen.is_stale = True
