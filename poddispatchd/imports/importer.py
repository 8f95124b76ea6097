"""Finished tasks into Pod: leases, how many at once, and an orderly stop; the attempts are made elsewhere."""

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial

import structlog
from msgspec import Struct

from poddispatchd.clock import Clock
from poddispatchd.config.model import ImportsSettings
from poddispatchd.database.pool import Database
from poddispatchd.errors import DatabaseError, DatabaseUnavailableError
from poddispatchd.imports import queue
from poddispatchd.imports.attempt import LONGEST_ATTEMPT, ImportAttempt
from poddispatchd.imports.blocked_imports import ImportObstacles
from poddispatchd.imports.queue import ImportJob
from poddispatchd.observability.events import Event
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.runtime.lease_holder import SOONEST, LeaseHolder
from poddispatchd.runtime.lease_queue import Leased
from poddispatchd.runtime.queue_tables import IMPORTS
from poddispatchd.runtime.wakeups import Wakeup

log = structlog.get_logger(__name__)

_AWAY = 1.0
"""Seconds without a new import after one that had no connection to the database, which may answer others."""

_IMPORT = "import"
_WORK = "end of an import"
"""What goes wrong around an attempt, which tells its own failures."""

_IDLE = 40.0
"""Seconds: another daemon may have died with an import that it began since the last look."""

_SLOW = 30.0
"""Seconds after which an import does not keep its slot from a manager of which nothing is being imported."""

_LONGEST_ITEM = LONGEST_ATTEMPT + 3600.0
"""Seconds for an attempt and for what follows from it."""


class _Running(Struct):
    """An import in progress; ``begun_at`` on the monotonic clock.

    ``is_checked``: its result has been fetched and is being put in place, and its slot is another one's.
    """

    job: ImportJob
    work: "asyncio.Task[None]"
    begun_at: float
    is_checked: bool = False


class Importer:
    """Imports results, a few at a time; any number of daemons do it side by side.

    So many results are fetched at once as there are slots. One that has been fetched and checked leaves its
    slot to the next: what is left of it waits for the disk and the database, not for a manager.

    Managers take turns. The slots of imports that take long are given a second time, to managers of which
    nothing is being fetched: one that is slow holds up the results of no other (invariant I12). All in all
    there are never more than twice ``imports.concurrency``.

    Args:
        database: Pod's.
        session: is told when the database does not answer.
        owner: the instance that holds the leases.
        attempts: makes one import.
        obstacles: what imports wait for.
        incidents: is told of what fails again and again.
        settings: the current ones.
        wakeup: of this job.
        clock: of the daemon.
    """

    def __init__(
        self,
        *,
        database: Database,
        session: DatabaseSession,
        owner: str,
        attempts: ImportAttempt,
        obstacles: ImportObstacles,
        incidents: Incidents,
        settings: Callable[[], ImportsSettings],
        wakeup: Wakeup,
        clock: Clock,
    ) -> None:
        self._database = database
        self._session = session
        self._attempts = attempts
        self._obstacles = obstacles
        self._incidents = incidents
        self._settings = settings
        self._wakeup = wakeup
        self._clock = clock
        self._leases = LeaseHolder(IMPORTS, database, owner, clock)
        self._running: dict[object, _Running] = {}
        self._stopping = False
        self._unanswered: set[object] = set()
        """Imports amid which the database was lost, the last time that they were tried."""
        self._rest_until = float("-inf")
        """Until when nothing is begun: the database does not take what an import writes."""

    @property
    def running(self) -> int:
        """Imports in progress."""
        return len(self._running)

    async def step(self) -> float:
        """Lease what is due and begin it; seconds until the next look."""
        if self._stopping:
            return _IDLE
        rest = self._rest_until - self._clock.monotonic()
        if rest > 0:
            return rest
        if ready := self._obstacles.ready():
            async with self._database.connection() as connection:
                await queue.bring_forward(connection, ready)
            self._obstacles.brought_forward(ready)
        slots = self._settings().concurrency
        free, room = slots - len(self._fetching()), 2 * slots - len(self._running)
        if free > 0 and room > 0:
            self._begin(await self._leases.claim(min(free, room), held=self._held()))
        # Slots of slow imports once more, less those that were given so already (``free`` below zero).
        elif (spare := min(room, self._slow() + min(free, 0))) > 0:
            self._begin(await self._leases.claim(spare, held=self._held(), share=1))
        if len(self._running) >= 2 * slots:
            return _IDLE  # the end of an import rings
        is_full = len(self._fetching()) >= slots
        if is_full and not self._slow():
            # One that has been fetched rings; one that is slow by then leaves its slot to another manager.
            return max(self._until_slow(), SOONEST)
        due = await self._leases.next_look(idle=_IDLE)
        return max(due, self._until_slow() if is_full else 0.0)

    async def stop(self, seconds: float) -> None:
        """Take no new import; let those past their commit point finish, hand the others back."""
        self._stopping = True
        self._attempts.stop()
        for running in self._running.values():
            # One that is past its commit point does not end by that: ``ImportAttempt`` shields the commit.
            running.work.cancel()
        if self._running:
            await asyncio.wait([running.work for running in self._running.values()], timeout=seconds)
        try:
            await self._leases.stop()
        except DatabaseError:
            log.warning(Event.IMPORT_RETRIED, reason="The leases run out by themselves: no database.")

    # --- imports in progress -----------------------------------------------------------------------------

    def _fetching(self) -> list[_Running]:
        """The imports that have a slot."""
        return [running for running in self._running.values() if not running.is_checked]

    def _held(self) -> dict[str, int]:
        return dict(Counter(str(each.job.runner_manager_id) for each in self._fetching()))

    def _slow(self) -> int:
        now = self._clock.monotonic()
        return sum(now - running.begun_at >= _SLOW for running in self._fetching())

    def _until_slow(self) -> float:
        """Seconds until the slot of another import counts as slow."""
        now = self._clock.monotonic()
        ages = [now - running.begun_at for running in self._fetching()]
        return min((_SLOW - age for age in ages if age < _SLOW), default=_IDLE)

    def _begin(self, leased: list[Leased]) -> None:
        for item in leased:
            job = ImportJob.of(item)
            # The stop came while they were claimed.
            if self._stopping:
                self._leases.abandon(job.lease)
                continue
            work = asyncio.create_task(self._work(job), name=f"import of task {job.task_pk}")
            self._running[job.lease.key] = _Running(job, work, self._clock.monotonic())
            work.add_done_callback(partial(self._ended, job.lease.key))
            self._incidents.watch(work, _WORK)

    def _checked(self, key: object) -> None:
        if (running := self._running.get(key)) is not None:
            running.is_checked = True
            self._wakeup.ring()

    def _ended(self, key: object, _: "asyncio.Task[None]") -> None:
        self._running.pop(key, None)
        self._wakeup.ring()

    async def _work(self, job: ImportJob) -> None:
        checked = partial(self._checked, job.lease.key)
        is_ours = partial(self._leases.surely_holds, job.lease.key)
        try:
            await self._leases.attempt(
                job.lease,
                lambda: self._attempts.make(job, checked=checked, is_ours=is_ours),
                within=_LONGEST_ITEM,
                task=job.task_pk,
            )
            self._incidents.recovered(_IMPORT, task=job.task_pk)
            self._unanswered.discard(job.lease.key)
        except DatabaseError as error:
            # The attempt was not the result's fault: the lease is given back when the database answers.
            log.warning(Event.IMPORT_RETRIED, task=job.task_pk, reason=str(error))
            self._leases.abandon(job.lease)
            self._session.suspect()
            # It would come again at once: the database lets nobody in, or refuses what an import writes.
            delay = _AWAY
            # A server that answers and takes nothing: told as a failure, with waits that grow.
            if type(error) is not DatabaseUnavailableError:
                delay = self._incidents.failed(_IMPORT, error, task=job.task_pk)
            elif job.lease.key in self._unanswered:
                # It is this result over which the database says nothing: the others are not to wait for it.
                self._incidents.failed(_IMPORT, error, task=job.task_pk)
            else:
                self._unanswered.add(job.lease.key)
            self._rest_until = self._clock.monotonic() + delay
