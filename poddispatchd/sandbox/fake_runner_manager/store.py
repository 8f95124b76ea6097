"""The manager's memory: its tasks, its runners, and what it received."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from poddispatchd.domain.task import RunnerTaskId
from poddispatchd.sandbox.fake_runner_manager.clock import ManagerClock
from poddispatchd.sandbox.fake_runner_manager.faults import Faults
from poddispatchd.sandbox.fake_runner_manager.records import AcceptedTask, Received, Runner, TaskRecord

HEARTBEAT = 15
DROPPED_AFTER = 60
"""Seconds of the manager after the last heartbeat until a runner leaves the list."""


class Store:
    """Everything that survives a restart of the manager.

    Args:
        clock: the manager's time.
        runners: its runner instances; the ones without an id get one.
        faults: the switches.
        retention_days: task records older than that are gone.
    """

    def __init__(
        self, clock: ManagerClock, runners: list[Runner], faults: Faults, *, retention_days: int
    ) -> None:
        self.clock = clock
        self.runners = runners
        self.faults = faults
        self.tasks: dict[RunnerTaskId, TaskRecord] = {}
        self.requests: list[Received] = []
        self.submissions: list[AcceptedTask] = []
        self._in_flight: dict[RunnerTaskId, TaskRecord] = {}
        self._retention = timedelta(days=retention_days)
        self._changed = asyncio.Event()
        for number, runner in enumerate(runners):
            runner.id = runner.id or f"sandbox-runner.test-{8082 + number}"

    def changed(self) -> None:
        """Wakeup everyone who waits for something to become true."""
        event, self._changed = self._changed, asyncio.Event()
        event.set()

    async def wait_for(self, predicate: Callable[[], bool], timeout: float) -> None:  # noqa: ASYNC109 - real seconds, as a test waits
        """Wait until the predicate holds; it is asked again at every change.

        Raises:
            TimeoutError: it did not within ``timeout`` real seconds.
        """
        async with asyncio.timeout(timeout):
            while not predicate():
                await self._changed.wait()

    def task(self, task_id: str) -> TaskRecord | None:
        """One task, None when it is unknown or older than the retention."""
        record = self.tasks.get(RunnerTaskId(task_id))
        if record is not None and self.clock.wall() - record.created_at > self._retention:
            del self.tasks[record.task_id]
            return None
        return record

    def stored(self) -> list[TaskRecord]:
        """All tasks within the retention, oldest first."""
        return [record for task_id in list(self.tasks) if (record := self.task(task_id)) is not None]

    def running(self) -> list[TaskRecord]:
        """The tasks in flight as far as the manager knows; cheap, however many have ended."""
        for record in list(self._in_flight.values()):
            if not record.in_flight or self.task(record.task_id) is None:
                del self._in_flight[record.task_id]
        return list(self._in_flight.values())

    def runs(self, record: TaskRecord) -> None:
        """A task begins, or begins again."""
        self.tasks[record.task_id] = record
        self._in_flight[record.task_id] = record
        self.changed()

    def duplicate(self, submission: AcceptedTask) -> TaskRecord | None:
        """The task in flight that an identical submission is answered with."""
        fingerprint = submission.fingerprint
        return next(
            (record for record in self.running() if record.submission.fingerprint == fingerprint), None
        )

    def heartbeat_age(self, runner: Runner) -> float:
        """Seconds since the runner's last heartbeat."""
        now = self.clock.time()
        last_alive = now if runner.alive or runner.died_at is None else runner.died_at
        return now - last_alive + last_alive % HEARTBEAT

    def listed(self) -> list[Runner]:
        """The registered runners: a dead one stays until its heartbeat is too old."""
        return [runner for runner in self.runners if self.heartbeat_age(runner) <= DROPPED_AFTER]

    def runner(self, runner_id: str) -> Runner | None:
        """A listed runner by its id."""
        return next((runner for runner in self.listed() if runner.id == runner_id), None)
