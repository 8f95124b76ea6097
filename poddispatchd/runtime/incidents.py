"""What fails again and again: told once in full, then counted, with growing waits in between (I12)."""

import asyncio
import traceback

import structlog
from msgspec import Struct, field

from poddispatchd.clock import Clock
from poddispatchd.errors import (
    DatabaseError,
    DatabaseStateError,
    DatabaseUnavailableError,
    RowLockedError,
    RunnerManagerError,
    SchemaError,
    SessionEndedError,
    StatementEndedError,
    ValuesRefusedError,
)
from poddispatchd.observability.events import Event
from poddispatchd.runtime.item_errors import words_of

log = structlog.get_logger(__name__)

_FIRST_WAIT = 2.0
_LONGEST_WAIT = 60.0
_TELL_EVERY = 600.0
"""Seconds after which a failure that goes on is told again, in one line."""

_FORGOTTEN_AFTER = 1200.0
"""Seconds without another failure after which one is over although nobody said so: its task may be gone. An
import is tried again every 15 minutes, at the latest."""

_MANY = 1000
"""Tasks of one incident beyond which those that are over are looked for at each failure."""

_ABOUT_ONE_ITEM = (RowLockedError, ValuesRefusedError, SessionEndedError)
"""Errors of the database that say nothing about what else can be written."""

_SEVERAL = 2
"""So many tasks are refused, with none written since, before that is taken for more than their own fault."""

_FOR_MINUTES = 180.0
"""Seconds for which everything must have been refused before nothing is said to move."""

_IN_WORDS = (
    DatabaseUnavailableError,
    RowLockedError,
    SchemaError,
    SessionEndedError,
    StatementEndedError,
    RunnerManagerError,
)
"""Errors that are no bugs of ours: a sentence says all."""


class _Failures(Struct):
    """Failures in a row of one task, or of a job that works for none; the times are monotonic.

    ``error`` is the last one. ``is_aside``, ``writes_tasks``: see ``Incidents.failed``.
    """

    times: int
    first_at: float
    last_at: float
    error: Exception
    is_aside: bool
    writes_tasks: bool


class Incident(Struct):
    """A job that fails, for one task or several.

    ``since`` is when it began, or when the job last wrote something amid it; on the monotonic clock.
    ``times`` counts its failures since it last went well. ``kinds`` are those of the errors that were told in
    full.
    """

    job: str
    error: Exception
    since: float
    times: int = 0
    told_at: float = float("-inf")
    kinds: set[str] = field(default_factory=set)
    by_task: dict[int | None, _Failures] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """A sentence for people; it holds no text of another system."""
        tasks = [str(task) for task in self.by_task if task is not None]
        shown = (
            f" (task {tasks[0]}{f' and {len(tasks) - 1} more' if len(tasks) > 1 else ''})" if tasks else ""
        )
        what = f"The {self.job} fails{shown}, {self.times} times by now"
        if isinstance(self.error, DatabaseError | RunnerManagerError):
            return f"{what}: {self.error}"
        return f"{what}, by an unforeseen error ({type(self.error).__name__}): the log has its traceback."


class Incidents:
    """The failures of jobs that have not ended yet."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_job: dict[str, Incident] = {}
        self._written_at: dict[str, float] = {}
        """When each job last wrote something for a task; on the monotonic clock."""

    def failed(
        self,
        job: str,
        error: Exception,
        *,
        task: int | None = None,
        is_aside: bool = False,
        writes_tasks: bool = False,
    ) -> float:
        """Something failed; to be called where the error is handled.

        Args:
            job: what failed; one line of the log tells of it, for however many tasks.
            error: what happened.
            task: the primary key of the task that it was done for; each waits by its own count.
            is_aside: tasks are submitted and results imported without it, as without a purge.
            writes_tasks: it writes rows of tasks all the same, as ranks: it may be refused what tasks are.

        Returns:
            Seconds to wait before the next try: growing, at random.
        """
        now = self._clock.monotonic()
        incident = self._by_job.setdefault(job, Incident(job, error, now))
        none = _Failures(0, now, now, error, is_aside, writes_tasks or not is_aside)
        failures = incident.by_task.setdefault(task, none)
        incident.times, incident.error = incident.times + 1, error
        failures.times, failures.last_at, failures.error = failures.times + 1, now, error
        if len(incident.by_task) >= _MANY:
            self._forget_old(incident)  # also where nobody ever looks at what fails
        self._tell(incident, task)
        # The power is bounded: after a thousand failures no float would hold it.
        wait: float = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(failures.times - 1, 10))
        return wait * (0.5 + 0.5 * self._clock.random())

    def recovered(self, job: str, *, task: int | None = None, wrote: bool = False) -> None:
        """It went well.

        Args:
            job: what went well.
            task: the task that it was done for.
            wrote: rows of Pod's were written: what is refused for an older failure is refused for it alone.
        """
        incident = self._by_job.get(job)
        if wrote:
            self._written_at[job] = self._clock.monotonic()
        if incident is not None and wrote:
            incident.since = self._written_at[job]
        if incident is not None:
            incident.by_task.pop(task, None)
            self._close_if_recovered(incident)

    def watch(self, work: "asyncio.Task[None]", job: str, *, task: int | None = None) -> None:
        """Tell how a task of the process ends that nobody waits for: its error would be told by nobody."""

        def ended(done: "asyncio.Task[None]") -> None:
            if done.cancelled():
                return
            # Asked for, the error is ours to tell; else asyncio logs it when the task is collected.
            if (error := done.exception()) is None:
                self.recovered(job, task=task)
            elif isinstance(error, Exception):
                self.failed(job, error, task=task)

        work.add_done_callback(ended)

    @property
    def active(self) -> tuple[Incident, ...]:
        """What fails now."""
        for incident in list(self._by_job.values()):
            self._forget_old(incident)
            self._close_if_recovered(incident)
        return tuple(self._by_job.values())

    @property
    def can_write(self) -> bool:
        """Whether statements are taken, and none refused by the server's state, its schema or the site.

        A statement that is refused for one task says nothing about what else can be written (invariant I12):
        a site's trigger may refuse its rows for good. It takes several, and none written since, or a job.
        """
        refused: set[int] = set()
        for incident in self.active:
            proof = self._last_write(incident.job)
            for task, failures in incident.by_task.items():
                if _is_about_everything(failures, is_of_item=task is not None):
                    return False
                if failures.first_at < proof or not _may_be_about_others(failures):
                    continue
                if task is None:
                    return False
                refused.add(task)
        return len(refused) < _SEVERAL

    @property
    def refused_since(self) -> float | None:
        """Since when all that is written for tasks is refused, on the monotonic clock; None: not for minutes.

        Values, too: those of one task may be odd for good, but a trigger of a site's may refuse any. It takes
        several tasks, or one and other work that writes of tasks, and none written by the same job since.
        """
        met: dict[int | str, float] = {}
        since = float("inf")
        for incident in self.active:
            proof = self._last_write(incident.job)
            for task, failures in incident.by_task.items():
                is_about_tasks = task is not None or failures.writes_tasks
                if is_about_tasks and failures.first_at >= proof and _is_refused(failures.error):
                    who = incident.job if task is None else task
                    met[who] = min(failures.first_at, met.get(who, failures.first_at))
                    since = min(since, incident.since)
        if len(met) < _SEVERAL or not any(isinstance(who, int) for who in met):
            return None
        # Not since the first: beside one that is odd for good another one may be refused for a moment.
        several_since = sorted(met.values())[_SEVERAL - 1]
        return since if self._clock.monotonic() - several_since >= _FOR_MINUTES else None

    @property
    def last_write(self) -> float:
        """When something was last written for a task, on the monotonic clock; minus infinity: never."""
        return max(self._written_at.values(), default=float("-inf"))

    @property
    def meet_the_schema(self) -> bool:
        """Whether work that others wait for meets tables, or rights on them, that are not as they must be."""
        return any(
            isinstance(failures.error, SchemaError) and not failures.is_aside
            for incident in self.active
            for failures in incident.by_task.values()
        )

    def _last_write(self, job: str) -> float:
        """A job that only asks proves nothing by itself: any write for another task does for it."""
        return self._written_at.get(job, self.last_write)

    def _forget_old(self, incident: Incident) -> None:
        now = self._clock.monotonic()
        for task, failures in list(incident.by_task.items()):
            if now - failures.last_at > _FORGOTTEN_AFTER:
                del incident.by_task[task]

    def _close_if_recovered(self, incident: Incident) -> None:
        if not incident.by_task:
            del self._by_job[incident.job]
            log.info(Event.SERVICE_RECOVERED, job=incident.job, times=incident.times)

    def _tell(self, incident: Incident, task: int | None) -> None:
        """One traceback for each kind of error, then a line now and then."""
        now, kind = self._clock.monotonic(), _kind(incident.error)
        facts = {"job": incident.job} if task is None else {"job": incident.job, "task": task}
        if kind not in incident.kinds:
            incident.kinds.add(kind)
            if isinstance(incident.error, _IN_WORDS):
                log.error(Event.SERVICE_FAILED, **facts, reason=str(incident.error))
            else:
                log.error(Event.SERVICE_CRASHED, **facts, exc_info=incident.error)
        elif now - incident.told_at >= _TELL_EVERY:
            log.error(Event.SERVICE_FAILED, **facts, times=incident.times, reason=words_of(incident.error))
        else:
            return
        incident.told_at = now


def _is_about_everything(failures: _Failures, *, is_of_item: bool) -> bool:
    """Whether an error is about the database itself, whatever else was written."""
    error = failures.error
    if isinstance(error, DatabaseStateError):
        return True
    # The session tells of a lost one. Here a job met it while others are answered, or one item did; and the
    # trigger of one item's row may name a column that is gone.
    is_about_a_job = isinstance(error, DatabaseUnavailableError | SchemaError | StatementEndedError)
    return is_about_a_job and not is_of_item and not failures.is_aside


def _is_refused(error: Exception) -> bool:
    """Whether the database refused a statement, other than for being away or because of a held row."""
    if isinstance(error, RowLockedError) or not isinstance(error, DatabaseError):
        return False
    return isinstance(error, DatabaseStateError) or not isinstance(error, DatabaseUnavailableError)


def _may_be_about_others(failures: _Failures) -> bool:
    """Whether an error of one item, or of a job, may meet others as well."""
    error = failures.error
    return _is_refused(error) and not (failures.is_aside or isinstance(error, _ABOUT_ONE_ITEM))


def _kind(error: Exception) -> str:
    """What tells two errors apart: class, PostgreSQL's code, and the place; the source there is not read."""
    frames = list(traceback.walk_tb(error.__traceback__))
    place = f"{frames[-1][0].f_code.co_filename}:{frames[-1][1]}" if frames else ""
    return f"{type(error).__name__} {getattr(error, 'sqlstate', '')} {place}"
