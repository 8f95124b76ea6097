"""Runs that nobody wants any more are asked to stop until they are: a runner works on each of them in vain.

A run cannot be stopped while its source is fetched, nor while its manager or its runner is away. And nobody
is told when its task is restarted in Pod's administration, or deleted.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

import structlog

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import ManagerId
from poddispatchd.errors import OF_THE_MANAGER, RecordUnavailableError
from poddispatchd.journal import unwanted_runs
from poddispatchd.journal.unwanted_runs import UnwantedRun
from poddispatchd.managers.record_errors import narrowed
from poddispatchd.managers.rows import ManagerRows
from poddispatchd.observability.events import Event
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runtime.supervisor import cancel_surely
from poddispatchd.tasks.stopping import stop_run

log = structlog.get_logger(__name__)

_IDLE = 60.0
_LEAST = 1.0
_AT_ONCE = 50
_LONGEST = 60.0
"""Seconds that one look takes at most: whoever has not answered by then is asked another time."""


class Stops:
    """Asks for the stops that are due.

    Args:
        database: Pod's.
        client: asks.
        managers: which ones can be asked.
        schedules: whether this daemon schedules: only that one asks.
        clock: of the daemon.
    """

    def __init__(
        self,
        *,
        database: Database,
        client: RunnerClient,
        managers: ManagerRows,
        schedules: Callable[[], bool],
        clock: Clock,
    ) -> None:
        self._database = database
        self._client = client
        self._managers = managers
        self._registry = managers.registry
        self._schedules = schedules
        self._clock = clock

    async def step(self) -> float:
        """Ask once; seconds until the next look.

        Raises:
            DatabaseUnavailableError: the database cannot be reached.
        """
        if not self._schedules():
            return _IDLE
        async with self._database.connection() as connection:
            await unwanted_runs.add_let_go(connection)
            given_up = await unwanted_runs.forget_old(connection, ours=self._clock.now())
            # Their next requests are set with that: whatever comes of these, nobody is asked again at once.
            due = await unwanted_runs.take_due(connection, limit=_AT_ONCE)
        for item in given_up:
            self._tell(Event.RUN_NOT_STOPPED, item)
        by_manager: dict[ManagerId, list[UnwantedRun]] = defaultdict(list)
        for item in due:
            by_manager[item.run.runner_manager_id].append(item)
        if any(self._registry.get(manager) is None for manager in by_manager):
            # It may be new in Pod; about the runs of one that is gone nobody is asked any more.
            await self._managers.refresh(within=0)
        over: list[UnwantedRun] = []
        failure = await self._ask_all(by_manager, over)
        async with self._database.connection() as connection:
            for item in over:
                await unwanted_runs.settle(connection, item.run)
            soonest = await unwanted_runs.next_in(connection)
        if failure is not None:
            # What the other managers said is written down by now.
            raise failure
        return _IDLE if soonest is None else min(_IDLE, max(_LEAST, soonest))

    async def _ask_all(
        self, by_manager: dict[ManagerId, list[UnwantedRun]], over: list[UnwantedRun]
    ) -> Exception | None:
        """Ask the managers side by side; to ``over`` go the runs about which there is nothing more to ask.

        Returns:
            What nobody foresaw about one of them: it keeps nothing from the others.
        """
        asking = []
        for manager_id, items in by_manager.items():
            manager = self._registry.get(manager_id)
            if manager is None:
                # Pod has no such manager any more: nobody can be asked.
                over += items
            # Of one that is down all are asked again later: the wait of each has grown already.
            elif not self._registry.is_down(manager_id):
                asking.append(asyncio.create_task(self._ask(manager, items, over)))
        if not asking:
            return None
        try:
            await asyncio.wait(asking, timeout=_LONGEST)
        finally:
            # Also when we are cancelled: nobody else waits for them.
            await cancel_surely(*asking)
        errors = (task.exception() for task in asking if not task.cancelled())
        return next((error for error in errors if isinstance(error, Exception)), None)

    async def _ask(
        self, manager: RunnerManager, items: Sequence[UnwantedRun], over: list[UnwantedRun]
    ) -> None:
        for item in items:
            stop = await stop_run(self._database, self._client, manager, item.run)
            if isinstance(stop.error, OF_THE_MANAGER):
                found = await narrowed(self._client, manager, stop.error)
                self._registry.learn(manager, found)
                if not isinstance(found, RecordUnavailableError):
                    return
            if stop.is_over:
                over.append(item)
                self._tell(Event.RUN_STOPPED, item, reason=stop.words)

    def _tell(self, event: Event, item: UnwantedRun, **facts: str) -> None:
        manager = self._registry.get(item.run.runner_manager_id)
        log.info(
            event,
            task=item.task,
            runner_manager=None if manager is None else manager.name,
            task_id=item.run.task_id,
            **facts,
        )
