"""Running rows against what their runner manager says: nothing stays ``running`` for ever."""

import asyncio
from collections import defaultdict

import structlog

from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import RunnerStatus, TaskPk, TaskType
from poddispatchd.errors import (
    OF_THE_MANAGER,
    DatabaseUnavailableError,
    RunnerManagerError,
    RunnerTaskUnknownError,
)
from poddispatchd.observability.events import Event
from poddispatchd.parts import Parts
from poddispatchd.pod import tasks
from poddispatchd.pod.tasks import UnsettledTask
from poddispatchd.reconcile.observations import Observations
from poddispatchd.reconcile.online_runners import OnlineRunners
from poddispatchd.reconcile.outcomes import Settlement, Settling
from poddispatchd.tasks.transitions import Report

log = structlog.get_logger(__name__)

ASK_AGAIN_AFTER = 10.0
"""Seconds after which a task that was denied is asked about once more."""

_PAGE = 200
_PACE = 0.02
"""Seconds between two questions to one manager."""

_NONSENSE = 3
"""Unusable answers in a row after which a manager is left alone for now."""


class Reconciler:
    """Asks runner managers about running tasks: only the scheduler does, and first about all of them.

    ``settling`` is told what they say; by default it is carried out.
    """

    def __init__(self, parts: Parts, settling: Settling | None = None) -> None:
        self._parts = parts
        self._settling: Settling = settling or Settlement(parts)
        self._observations = Observations()
        self._term: int | None = None
        self._online_runners = OnlineRunners(parts)
        self.stale: tuple[TaskPk, ...] = ()
        """The tasks that ran for too long at the last look."""

    @property
    def in_doubt(self) -> bool:
        """Whether some task was denied once: only a second look tells whether it is lost."""
        return self._observations.in_doubt

    async def step(self) -> float:
        """Ask about the tasks whose turn it is; seconds until the next look."""
        parts = self._parts
        interval = parts.settings.reconcile.interval
        term = parts.session.term
        if term is None:
            self._term = None
            await self._show_stale([], parts.clock.monotonic())
            return interval
        is_first = term != self._term
        if is_first:
            # What another daemon has found out since is in the journal.
            self._observations = Observations()
        unsettled = await self._look(is_first=is_first)
        by_manager: dict[RunnerManager, list[UnsettledTask]] = defaultdict(list)
        for item in self._observations.due(unsettled, parts.clock.monotonic()):
            if item.manager is None or not item.task.task_id:
                await self._nowhere(item)
            else:
                by_manager[item.manager].append(item)
        async with asyncio.TaskGroup() as group:
            for manager, items in by_manager.items():
                group.create_task(self._ask(manager, items))
        await self._settling.look_again([item.task.pk for items in by_manager.values() for item in items])
        self._term = term
        now = parts.clock.monotonic()
        await self._show_stale(unsettled, now)
        turn = self._observations.next_turn()
        return interval if turn is None else min(interval, max(turn - now, 1.0))

    async def _look(self, *, is_first: bool) -> list[UnsettledTask]:
        """Every unsettled task, watched. Those whose result is being imported have answered already."""
        parts = self._parts
        found: list[UnsettledTask] = []
        async with parts.database.connection() as connection:
            while True:
                after = found[-1].task.pk if found else TaskPk(0)
                page = await tasks.unsettled_tasks(connection, after=after, limit=_PAGE)
                found.extend(page)
                if len(page) < _PAGE:
                    break
            importing = await self._settling.importing(connection) if found else ()
            if is_first or self._observations.misses(found):
                await self._settling.over(connection, but=[item.task.pk for item in found])
            strangers = self._observations.strangers(found)
            known = await self._settling.seen(connection, strangers) if strangers else {}
        now, settings = parts.clock.monotonic(), parts.settings.reconcile
        self._observations.renew(
            found, known, now=now, running_after=settings.running_after, ask_all=is_first
        )
        self._observations.postpone(importing, now + settings.interval)
        return found

    # --- questions ---------------------------------------------------------------------------------------

    async def _ask(self, manager: RunnerManager, items: list[UnsettledTask]) -> None:
        """Ask one manager about its tasks, and look for the runners that work on them."""
        try:
            if await self._ask_in_turn(manager, items):
                await self._look_for_runners(manager, items)
                await self._note_runners(items)
        except DatabaseUnavailableError:
            self._parts.session.suspect()

    async def _ask_in_turn(self, manager: RunnerManager, items: list[UnsettledTask]) -> bool:
        """Ask about each task; False when the manager did not answer, and is left alone for now."""
        parts, nonsense = self._parts, 0
        opening = parts.registry.opening_of(manager.id)
        if opening > parts.clock.monotonic():
            self._observations.postpone((item.task.pk for item in items), opening)
            return False
        for position, item in enumerate(items):
            if position:
                await parts.clock.sleep(_PACE)
            try:
                await self._ask_about(manager, item)
                nonsense = 0
            except DatabaseUnavailableError:
                raise
            except RunnerManagerError as error:
                nonsense += 1
                if isinstance(error, OF_THE_MANAGER) or nonsense >= _NONSENSE:
                    parts.registry.learn(manager.id, error)
                    until = parts.clock.monotonic() + parts.settings.reconcile.interval
                    self._observations.postpone((rest.task.pk for rest in items[position:]), until)
                    return False
                log.warning(Event.RECONCILE_ASKED, task=item.task.pk, decision="unknown", reason=str(error))
            except Exception:  # one odd row must not keep the others from being asked about
                log.exception(Event.SERVICE_CRASHED, job="reconciler", task=item.task.pk)
        return True

    async def _ask_about(self, manager: RunnerManager, item: UnsettledTask) -> None:
        parts, seen = self._parts, self._observations[item.task.pk]
        seen.ask_at = parts.clock.monotonic() + parts.settings.reconcile.interval
        assert item.task.task_id is not None  # noqa: S101 - the caller sorted those out
        try:
            record = await parts.client.status(manager, item.task.task_id)
        except RunnerTaskUnknownError as error:
            parts.registry.learn(manager.id, None)
            await self._denied(item, str(error))
            return
        parts.registry.learn(manager.id, None)
        seen.denials = 0
        seen.runs_on(record.runner_id if record.status is RunnerStatus.RUNNING else None)
        if record.status is not None:
            has_ended = record.status not in (RunnerStatus.RUNNING, RunnerStatus.PENDING)
            words = (record.error, record.script_output) if has_ended else ()
            await self._settling.told(item, Report(record.status, *words))
        elif seen.odd_status != record.raw_status:
            seen.odd_status = record.raw_status
            log.warning(
                Event.RECONCILE_ASKED, task=item.task.pk, status=record.raw_status, decision="unknown"
            )

    async def _look_for_runners(self, manager: RunnerManager, items: list[UnsettledTask]) -> None:
        """Find tasks that their manager calls running although their runner is gone."""
        parts, patience = self._parts, self._parts.settings.reconcile.running_after
        now = parts.clock.monotonic()
        suspects = [
            (item, seen)
            for item in items
            if (seen := self._observations[item.task.pk]).runner is not None and now - seen.since >= patience
        ]
        online = await self._online_runners.online(manager, not_before=now - patience) if suspects else None
        if online is None:
            return
        for item, seen in suspects:
            if seen.is_gone(online, parts.clock.monotonic(), after=patience):
                await self._settling.lost(
                    item,
                    f"Runner {seen.runner!r}, which worked on it, is not online at runner manager "
                    f"{manager.name!r} any more.",
                )

    async def _note_runners(self, items: list[UnsettledTask]) -> None:
        """Tell of the runners that are missing since this look, or are back."""
        for item in items:
            seen = self._observations[item.task.pk]
            if seen.missing != seen.noted and item.task.task_id is not None:
                await self._settling.missing(item.task.pk, item.task.task_id, seen.missing)
                seen.noted = seen.missing

    # --- tasks that nobody works on ----------------------------------------------------------------------

    async def _nowhere(self, item: UnsettledTask) -> None:
        """The row names nobody to ask: a moment of Pod's, or for good."""
        self._observations[item.task.pk].ask_at = self._parts.clock.monotonic()
        await self._denied(item, "It runs nowhere: the row has no runner manager or no task id.")

    async def _denied(self, item: UnsettledTask, reason: str) -> None:
        parts, seen = self._parts, self._observations[item.task.pk]
        seen.ask_at = parts.clock.monotonic() + ASK_AGAIN_AFTER
        if seen.denied():
            seen.ask_at = parts.clock.monotonic() + parts.settings.reconcile.interval
            await self._settling.lost(item, reason)

    async def _show_stale(self, unsettled: list[UnsettledTask], now: float) -> None:
        """Count the tasks that run for too long, and tell of each once."""
        parts = self._parts
        found = list(self._observations.stale(unsettled, now, after=parts.settings.reconcile.stale_after))
        self.stale = tuple(item.task.pk for item, _ in found)
        for kind in TaskType:
            count = sum(item.task.type is kind for item, _ in found)
            parts.metrics.stale_tasks.labels(kind).set(count)
        news = [item for item, is_news in found if is_news]
        for item in news:
            log.error(
                Event.TASK_STALE,
                task=item.task.pk,
                runner_manager=None if item.manager is None else item.manager.name,
                task_id=item.task.task_id,
            )
        if news:
            await self._settling.stale([item.task.pk for item in news])
