"""What the next tasks need is read before their turn comes: a manager that answers gets one at once."""

import asyncio

from msgspec import Struct

from poddispatchd.clock import Clock
from poddispatchd.dispatch.payloads import Payloads, Prepared
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import Task, TaskPk

_FRESH = 2.0
"""Seconds for which what was read of a task's source is good enough; a restarted task is another one."""

_MOST = 256


class _Begun(Struct, frozen=True):
    task: Task
    site: Site
    at: float
    work: "asyncio.Task[Prepared]"


class Preparations:
    """Prepares tasks ahead; whoever needs one that was not prepared, or long ago, prepares it now."""

    def __init__(self, payloads: Payloads, clock: Clock) -> None:
        self._payloads = payloads
        self._clock = clock
        self._begun: dict[TaskPk, _Begun] = {}

    def begin(self, task: Task, site: Site) -> None:
        """Prepare a task whose turn comes soon, unless that is under way."""
        if self.has(task, site):
            return
        if len(self._begun) >= _MOST:
            self._forget_old()
        work = asyncio.create_task(self._payloads.of(task, site), name=f"preparation of task {task.pk}")
        # Perhaps nobody asks for it any more.
        work.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._begun[task.pk] = _Begun(task, site, self._clock.monotonic(), work)

    def has(self, task: Task, site: Site) -> bool:
        """Whether a task is being prepared, or was a moment ago."""
        return self._fresh(task, site) is not None

    async def of(self, task: Task, site: Site) -> Prepared:
        """What is posted for a task.

        Raises:
            UnsubmittableError: as ``Payloads.of``.
            MediaMissingError: as ``Payloads.of``.
        """
        begun = self._fresh(task, site)
        self._begun.pop(task.pk, None)
        return await (self._payloads.of(task, site) if begun is None else begun.work)

    def _fresh(self, task: Task, site: Site) -> _Begun | None:
        begun = self._begun.get(task.pk)
        if begun is None or (begun.task.date_added, begun.site) != (task.date_added, site):
            return None
        return begun if self._clock.monotonic() - begun.at <= _FRESH else None

    def _forget_old(self) -> None:
        now = self._clock.monotonic()
        self._begun = {pk: begun for pk, begun in self._begun.items() if now - begun.at <= _FRESH}
