"""Finished tasks into Pod: leases, how many at once, and an orderly stop; the attempts are made elsewhere."""

import asyncio

import structlog

from poddispatchd.errors import DatabaseError
from poddispatchd.imports import cleanup
from poddispatchd.imports.attempt import ImportAttempt
from poddispatchd.journal import imports
from poddispatchd.journal.imports import LEASE_SECONDS, ImportId, ImportJob
from poddispatchd.observability.events import Event
from poddispatchd.parts import Parts
from poddispatchd.runtime.instances import is_dead

log = structlog.get_logger(__name__)

_IDLE = 120.0
_SOONEST = 0.1


class Importer:
    """Imports results, a few at a time; any number of daemons do it side by side."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._running: dict[ImportId, asyncio.Task[None]] = {}
        self._abandoned: set[ImportId] = set()
        self._renewing: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def running(self) -> int:
        """Imports in progress."""
        return len(self._running)

    async def step(self) -> float:
        """Lease what is due and begin it; seconds until the next look."""
        parts = self._parts
        await self._hand_back()
        room = parts.settings.imports.concurrency - len(self._running)
        if room <= 0 or self._stopping:
            return _IDLE  # the end of an import rings
        async with parts.database.connection() as connection:
            jobs = await imports.claim_due(connection, parts.instance, room)
        for job in jobs:
            self._begin(job)
        async with parts.database.connection() as connection:
            due = await imports.next_due(connection)
        return _IDLE if due.seconds is None else min(_IDLE, max(due.seconds, _SOONEST))

    async def release_dead(self) -> None:
        """Give back what daemons of this host held that ended without a word."""
        async with self._parts.database.connection() as connection:
            for owner in await imports.lease_owners(connection):
                if is_dead(owner):
                    await imports.release_owner(connection, owner)
        await cleanup.release_dead_claims(self._parts)

    async def stop(self, seconds: float) -> None:
        """Take no new import; let those past their commit point finish, hand the others back."""
        self._stopping = True
        for work in self._running.values():
            work.cancel()
        if self._running:
            await asyncio.wait(self._running.values(), timeout=seconds)
        try:
            async with self._parts.database.connection() as connection:
                await imports.release_owner(connection, self._parts.instance)
        except DatabaseError:
            log.warning(Event.IMPORT_RETRIED, reason="The leases run out by themselves: no database.")

    # --- imports in progress -----------------------------------------------------------------------------

    def _begin(self, job: ImportJob) -> None:
        if self._stopping:
            self._abandoned.add(job.id)
            return
        work = asyncio.create_task(self._work(job), name=f"import of task {job.task_pk}")
        self._running[job.id] = work
        work.add_done_callback(lambda _: self._ended(job))
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew(), name="leases of imports")

    def _ended(self, job: ImportJob) -> None:
        self._running.pop(job.id, None)
        if not self._running and self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
        self._parts.wakeups.importer.ring()

    async def _work(self, job: ImportJob) -> None:
        try:
            await ImportAttempt(self._parts, job).make()
        except DatabaseError as error:
            # The attempt was not the result's fault. Without the database it can only be given back later.
            log.warning(Event.IMPORT_RETRIED, task=job.task_pk, reason=str(error))
            self._abandoned.add(job.id)
            self._parts.session.suspect()
        except Exception:  # a bug in one import must not stop the others
            log.exception(Event.SERVICE_CRASHED, job="import", task=job.task_pk)
            self._abandoned.add(job.id)

    async def _hand_back(self) -> None:
        """Give back what a lost database ended: nobody is at it, and nobody renews it."""
        abandoned = set(self._abandoned)
        if abandoned:
            async with self._parts.database.connection() as connection:
                await imports.release(connection, self._parts.instance, abandoned)
            self._abandoned -= abandoned

    async def _renew(self) -> None:
        """Keep the leases of what is in progress, however long it takes and whatever else waits.

        Real seconds: a lease runs out by the database's clock.
        """
        while True:
            await asyncio.sleep(LEASE_SECONDS / 4)
            try:
                async with self._parts.database.connection() as connection:
                    await imports.renew(connection, self._parts.instance, self._running.keys())
            except DatabaseError:
                self._parts.session.suspect()
