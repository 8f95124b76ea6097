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

_ABOUT_EVERYTHING = (DatabaseStateError, SchemaError)
"""Errors of the database that meet every statement of the kind."""

_IN_WORDS = (DatabaseUnavailableError, RowLockedError, SchemaError, SessionEndedError, RunnerManagerError)
"""Errors that are no bugs of ours: a sentence says all."""


class _Failures(Struct):
    """Failures in a row of one task, or of a job that works for none; the times are monotonic."""

    times: int
    first_at: float
    last_at: float


class Incident(Struct):
    """A job that fails, for one task or several.

    ``times`` counts its failures since it last went well. ``kinds`` are those of the errors that were told in
    full.
    """

    job: str
    error: Exception
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

    def failed(self, job: str, error: Exception, *, task: int | None = None) -> float:
        """Something failed; to be called where the error is handled.

        Args:
            job: what failed; one line of the log tells of it, for however many tasks.
            error: what happened.
            task: the primary key of the task that it was done for; each waits by its own count.

        Returns:
            Seconds to wait before the next try: growing, at random.
        """
        now = self._clock.monotonic()
        incident = self._by_job.setdefault(job, Incident(job, error))
        failures = incident.by_task.setdefault(task, _Failures(0, now, now))
        incident.times, incident.error = incident.times + 1, error
        failures.times, failures.last_at = failures.times + 1, now
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
        if wrote:
            self._written_at[job] = self._clock.monotonic()
        incident = self._by_job.get(job)
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

        A statement that is refused for one task, while the same job could write for another one since, says
        nothing about what else can be written (invariant I12).
        """
        return not any(self._keeps_from_writing(incident) for incident in self.active)

    def _keeps_from_writing(self, incident: Incident) -> bool:
        if not isinstance(incident.error, DatabaseError) or isinstance(incident.error, _ABOUT_ONE_ITEM):
            return False
        if isinstance(incident.error, _ABOUT_EVERYTHING):
            return True
        if isinstance(incident.error, DatabaseUnavailableError):
            # The session tells of a lost one. Here a job met it while others are answered, or one item did.
            return None in incident.by_task
        # A job that only asks proves nothing by itself: any write for another task does for it.
        proof = self._written_at.get(incident.job, max(self._written_at.values(), default=float("-inf")))
        return any(failures.first_at >= proof for failures in incident.by_task.values())

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


def _kind(error: Exception) -> str:
    """What tells two errors apart: their class, PostgreSQL's code, and the line of code that raised them."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__} {getattr(error, 'sqlstate', '')} {place}"
