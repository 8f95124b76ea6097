"""Running rows against what their runner manager says: nothing stays ``running`` for ever."""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence

import structlog

from poddispatchd.clock import Clock
from poddispatchd.config.model import ReconcileSettings
from poddispatchd.database.pool import Database
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import RunnerStatus, StaleTasks, TaskPk, TaskType
from poddispatchd.errors import RunnerTaskUnknownError
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod import duplicates, tasks
from poddispatchd.pod.tasks import UnsettledTask
from poddispatchd.reconcile.failure_recheck import FailureRecheck
from poddispatchd.reconcile.observations import Observations
from poddispatchd.reconcile.online_runners import OnlineRunners
from poddispatchd.reconcile.outcomes import Outcomes
from poddispatchd.reconcile.polling import ManagerPolling
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.tasks.run_report import RunReport

log = structlog.get_logger(__name__)

ASK_AGAIN_AFTER = 10.0
"""Seconds after which a task that was denied is asked about once more."""

_PAGE = 200
_ANSWERED_WITHIN = 2.0
"""Seconds that a look waits for managers; whoever is slower is waited for by nobody."""

_JUST_NOW = 1.0
"""Seconds for which a list of runners is good enough to give a run up by."""

_QUESTION = "question about a running task"
"""What failures that nobody foresaw are counted under."""

_NOWHERE = "recovery of a lost task"
"""Likewise, for tasks that nobody works on."""

_SHOWN = 100
"""Tasks that wait for others, as far as they are told."""


class Reconciler:
    """Asks runner managers about running tasks: only the scheduler does, and first about all of them.

    Args:
        database: Pod's.
        session: whose term it is.
        client: asks.
        registry: learns how the managers answer.
        incidents: is told of what nobody foresaw.
        settings: the current ones.
        outcomes: is told what managers say.
        recheck: which failures are asked about again as well; None: none.
        metrics: of the daemon.
        clock: of the daemon.
    """

    def __init__(
        self,
        *,
        database: Database,
        session: DatabaseSession,
        client: RunnerClient,
        registry: ManagerRegistry,
        incidents: Incidents,
        settings: Callable[[], ReconcileSettings],
        outcomes: Outcomes,
        recheck: FailureRecheck | None,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._database = database
        self._session = session
        self._client = client
        self._registry = registry
        self._settings = settings
        self._outcomes = outcomes
        self._recheck = recheck
        self._metrics = metrics
        self._clock = clock
        self._polling = ManagerPolling(client, registry, clock, incidents, session.suspect)
        self._observations = Observations()
        self._term: int | None = None
        self._online_runners = OnlineRunners(client, registry, clock)
        self.stale = StaleTasks()
        """The tasks that ran for too long at the last look, and who waits for them."""

    @property
    def in_doubt(self) -> bool:
        """Whether some task was denied once: only a second look tells whether it is lost."""
        return self._observations.in_doubt

    async def step(self) -> float:
        """Ask about the tasks whose turn it is; seconds until the next look."""
        interval = self._settings().interval
        term = self._session.term
        if term is None:
            self._term = None
            await self._show_stale([], self._clock.monotonic())
            return interval
        is_first = term != self._term
        if is_first:
            # What another daemon has found out since is in the journal.
            self._observations = Observations()
        unsettled = await self._look(is_first=is_first)
        by_manager: dict[RunnerManager, list[UnsettledTask]] = defaultdict(list)
        for item in self._observations.due(unsettled, self._clock.monotonic()):
            if item.manager is None or not item.task.task_id:
                await self._polling.apart(item, self._nowhere(item), _NOWHERE)
            elif not self._polling.is_busy(item.manager.id):
                by_manager[item.manager].append(item)
        asked = [item.task.pk for items in by_manager.values() for item in items]
        failed: dict[RunnerManager, list[UnsettledTask]] = {}
        if self._recheck is not None:
            failed = await self._recheck.due(exclude=asked, is_busy=self._polling.is_busy)
        for manager in dict.fromkeys((*by_manager, *failed)):
            if not self._polling.is_busy(manager.id):
                self._polling.begin(
                    manager,
                    self._converse(term, manager, by_manager.get(manager, []), failed.get(manager, [])),
                )
        # Whoever takes longer goes on by itself: nobody else's tasks wait for a manager that is slow.
        await self._polling.wait(_ANSWERED_WITHIN)
        # Only now: after a step that failed everything is asked about again.
        self._term = term
        now = self._clock.monotonic()
        await self._show_stale(unsettled, now)
        turn = self._observations.next_turn()
        return interval if turn is None else min(interval, max(turn - now, 1.0))

    async def until_idle(self) -> None:
        """Wait for the questions that go on."""
        await self._polling.wait()

    async def stop(self) -> None:
        """Break off the questions that go on."""
        await self._polling.stop()

    async def _look(self, *, is_first: bool) -> list[UnsettledTask]:
        """Every unsettled task, watched. Those whose result is being imported have answered already."""
        found: list[UnsettledTask] = []
        async with self._database.connection() as connection:
            while True:
                after = found[-1].task.pk if found else TaskPk(0)
                page = await tasks.unsettled_tasks(connection, after=after, limit=_PAGE)
                found.extend(page)
                if len(page) < _PAGE:
                    break
            importing = await self._outcomes.importing(connection) if found else ()
            if is_first or self._observations.misses(found):
                await self._outcomes.forget_except(connection, running=[item.task.pk for item in found])
            unobserved = self._observations.unobserved(found)
            known = await self._outcomes.observe(connection, unobserved) if unobserved else {}
        now, settings = self._clock.monotonic(), self._settings()
        self._observations.renew(
            found, known, now=now, running_after=settings.running_after, ask_all=is_first
        )
        self._observations.postpone(importing, now + settings.interval)
        return found

    # --- questions ---------------------------------------------------------------------------------------

    async def _converse(
        self, term: int, manager: RunnerManager, items: list[UnsettledTask], failed: list[UnsettledTask]
    ) -> None:
        """Ask one manager about its tasks, look for the runners that work on them, then about its failures.

        Nothing more is asked once the scheduler's term is over: another daemon asks.

        Raises:
            DatabaseUnavailableError: what it says cannot be stored.
        """
        # Else a look would be due again and again while they are asked about.
        regular = self._clock.monotonic() + self._settings().interval
        self._observations.postpone((item.task.pk for item in items), regular)

        async def ask(item: UnsettledTask) -> None:
            if self._session.term == term:
                await self._ask_about(manager, item)

        done = await self._polling.in_turn(manager, items, ask, _QUESTION)
        if done.until is not None:
            self._observations.ask_at((item.task.pk for item in done.rest), done.until)
        if self._session.term != term or (done.rest and not done.answered):
            return  # another daemon asks, or this manager is silent
        if done.answered:
            await self._look_for_runners(manager, done.answered)
            await self._note_runners(done.answered)
        if failed and self._recheck is not None:
            await self._recheck.ask(self._polling, manager, failed)

    async def _ask_about(self, manager: RunnerManager, item: UnsettledTask) -> None:
        seen = self._observations.get(item)
        if seen is None or item.task.task_id is None:
            return  # it has ended meanwhile
        seen.ask_at = self._clock.monotonic() + self._settings().interval
        seen.unanswered += 1
        try:
            record = await self._client.status(manager, item.task.task_id)
        except RunnerTaskUnknownError as error:
            # The manager itself says 404: an answer like any other.
            seen.unanswered = 0
            self._registry.learn(manager, None)
            await self._denied(item, str(error))
            return
        self._registry.learn(manager, None)
        seen.unanswered = 0
        if seen.has_no_order(record, self._clock.monotonic()):
            reason = f"Runner manager {manager.name!r} took it, and went down before any runner got it."
            await self._denied(item, reason)
            return
        seen.denials = 0
        seen.runs_on(record.runner_id if record.status is RunnerStatus.RUNNING else None)
        if record.status is not None:
            has_ended = record.status not in (RunnerStatus.RUNNING, RunnerStatus.PENDING)
            words = (record.error, record.script_output) if has_ended else ()
            await self._outcomes.reported(item, RunReport(record.status, *words))
        elif seen.odd_status != record.raw_status:
            seen.odd_status = record.raw_status
            log.warning(
                Event.RECONCILE_ASKED, task=item.task.pk, status=record.raw_status, decision="unknown"
            )

    async def _look_for_runners(self, manager: RunnerManager, items: Sequence[UnsettledTask]) -> None:
        """Find tasks that their manager calls running although their runner is gone."""
        gone_for, now = self._settings().running_after, self._clock.monotonic()
        suspects = self._observations.suspects(items, now, after=gone_for)
        # The first list may be of minutes ago, read for others: whoever is back since is not gone.
        for not_before in (now - gone_for, now - _JUST_NOW):
            online = await self._online_runners.online(manager, not_before=not_before) if suspects else None
            if online is None:
                return
            moment = self._clock.monotonic()
            suspects = [each for each in suspects if each[1].is_gone(online, moment, after=gone_for)]
        for item, seen in suspects:
            reason = (
                f"Runner {seen.runner!r}, which worked on it, is not online at runner manager "
                f"{manager.name!r} any more."
            )
            await self._polling.apart(item, self._outcomes.lost(item, reason), _NOWHERE)

    async def _note_runners(self, items: Sequence[UnsettledTask]) -> None:
        """Tell of the runners that are missing since this look, or are back."""
        for item in items:
            seen = self._observations.get(item)
            if seen is None:
                continue
            if seen.missing != seen.noted and item.task.task_id is not None:
                await self._outcomes.runner_missing(item.task.pk, item.task.task_id, seen.missing)
                seen.noted = seen.missing

    # --- tasks that nobody works on ----------------------------------------------------------------------

    async def _nowhere(self, item: UnsettledTask) -> None:
        """The row names nobody to ask: a moment of Pod's, or for good."""
        await self._denied(item, "It runs nowhere: the row has no runner manager or no task id.")

    async def _denied(self, item: UnsettledTask, reason: str) -> None:
        seen = self._observations.get(item)
        if seen is None:
            return
        seen.ask_at = self._clock.monotonic() + ASK_AGAIN_AFTER
        if seen.denied():
            seen.ask_at = self._clock.monotonic() + self._settings().interval
            await self._outcomes.lost(item, reason)

    async def _waiting_behind(self, running: Collection[TaskPk]) -> tuple[TaskPk, ...]:
        """The first tasks that wait for these: who looks at them may end either."""
        if not running:
            return ()
        async with self._database.connection() as connection:
            return tuple(await duplicates.waiting_behind(connection, running, limit=_SHOWN))

    async def _show_stale(self, unsettled: list[UnsettledTask], now: float) -> None:
        """Count the tasks that run for too long, and tell of each once."""
        found = list(self._observations.stale(unsettled, now, after=self._settings().stale_after))
        late = tuple(item.task.pk for item, _ in found)
        self.stale = StaleTasks(late, await self._waiting_behind(late))
        for kind in TaskType:
            count = sum(item.task.type is kind for item, _ in found)
            self._metrics.stale_tasks.labels(kind).set(count)
        news = [item for item, is_news in found if is_news]
        for item in news:
            log.error(
                Event.TASK_STALE,
                task=item.task.pk,
                runner_manager=None if item.manager is None else item.manager.name,
                task_id=item.task.task_id,
            )
        if news:
            await self._outcomes.stale([item.task.pk for item in news])
