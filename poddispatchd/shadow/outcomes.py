"""What would follow from what runner managers say about running tasks, and what Pod makes of them."""

from collections.abc import Callable, Collection, Mapping

from msgspec import Struct

from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.database.pool import Connection, Database
from poddispatchd.domain.lifecycle import decide, may_submit_again, row_status
from poddispatchd.domain.shadow import (
    Agreement,
    Difference,
    ExpectedEnd,
    Intention,
    Row,
    compare_end,
    intention_of,
)
from poddispatchd.domain.task import Task, TaskPk
from poddispatchd.journal.observations import Sighting, TaskObservation
from poddispatchd.pod import shadow_rows
from poddispatchd.pod.tasks import UnsettledTask
from poddispatchd.shadow.stats import ShadowStats
from poddispatchd.tasks.run_report import RunReport

_TURNS = 5
"""Turns of the CRON for which a row may stay as it is: importing a long film takes its time."""

_MOST = 1000
"""Tasks watched at once, so that memory stays bounded."""


class _Watched(Struct):
    end: ExpectedEnd
    task: Task
    manager: str | None
    reason: str
    since: float
    is_told: bool = False


class ShadowOutcomes:
    """Tells what would be done, once for each task and intention, and compares; it does nothing."""

    def __init__(
        self, database: Database, stats: ShadowStats, settings: Callable[[], Settings], clock: Clock
    ) -> None:
        self._database = database
        self._stats = stats
        self._settings = settings
        self._clock = clock
        self._watched: dict[TaskPk, _Watched] = {}

    @property
    def ended(self) -> frozenset[TaskPk]:
        """The tasks that run only in Pod's rows."""
        return frozenset(self._watched)

    async def importing(self, _connection: Connection) -> Collection[TaskPk]:
        """Nobody sees what Pod is importing."""
        return ()

    async def observe(
        self, _connection: Connection, _unobserved: Mapping[TaskPk, Sighting]
    ) -> Mapping[TaskPk, TaskObservation]:
        """Pod's rows do not say since when a task runs."""
        return {}

    async def forget_except(self, _connection: Connection, running: Collection[TaskPk]) -> None:
        """Nothing is kept of the others."""

    async def runner_missing(self, task: TaskPk, task_id: str, runner: str | None) -> None:
        """Nothing is kept of it."""

    async def stale(self, tasks: Collection[TaskPk]) -> None:
        """Nothing is kept of it."""

    async def reported(self, item: UnsettledTask, report: RunReport) -> None:
        """A manager said how a task is."""
        may_retry = report.is_curable and self._may_submit_again()
        intention = intention_of(decide(row_status(item.task.status), report.status, may_retry=may_retry))
        if intention is None:
            self._watched.pop(item.task.pk, None)
        else:
            words = "" if report.is_success else report.words()
            self._expect(item, intention, words or f"Its manager says: {report.status.value}.")

    async def lost(self, item: UnsettledTask, reason: str) -> None:
        """Nobody works on a task."""
        again = self._settings().reconcile.lost == "requeue" and self._may_submit_again()
        self._expect(item, Intention.REQUEUE if again else Intention.FAIL, reason)

    async def compare(self) -> None:
        """Compare with what became of the rows."""
        rows = await shadow_rows.rows(self._database, self._watched.keys())
        for pk, watched in list(self._watched.items()):
            self._compare(watched, rows.get(pk))

    def _may_submit_again(self) -> bool:
        """As the daemon decides of a row that Pod submitted."""
        return may_submit_again(0, max_attempts=self._settings().reconcile.max_attempts)

    def _expect(self, item: UnsettledTask, intention: Intention, reason: str) -> None:
        task, known = item.task, self._watched.get(item.task.pk)
        end = ExpectedEnd(task.date_added, task.task_id, intention)
        # Since when it is expected must stay as it was: else it would never be late.
        if (known is not None and known.end == end) or (known is None and len(self._watched) >= _MOST):
            return
        manager = None if item.manager is None else item.manager.name
        since = self._clock.monotonic()
        self._watched[task.pk] = _Watched(end, task, manager, reason[:500], since)
        self._stats.expects(intention, task, runner_manager=manager, reason=reason[:500])

    def _compare(self, watched: _Watched, row: Row | None) -> None:
        task, waited = watched.task, self._clock.monotonic() - watched.since
        verdict = compare_end(watched.end, row)
        facts = {
            "task": task.pk,
            "decision": watched.end.intention.value,
            "runner_manager": watched.manager,
            "waited": round(waited, 1),
        }
        match verdict:
            case None:
                longest = _TURNS * self._settings().shadow.cron_interval
                if waited >= longest and not watched.is_told:
                    watched.is_told = True
                    self._stats.differs(Difference.LEFT_RUNNING, _left(watched, waited), **facts)
                return
            case Agreement():
                self._stats.agrees(verdict, **facts)
            case Difference():
                status = "" if row is None else row.status
                self._stats.differs(verdict, _otherwise(watched, verdict, status), **facts)
        del self._watched[task.pk]


_WOULD = {
    Intention.IMPORT: "have imported its result",
    Intention.REQUEUE: "have submitted it again",
    Intention.FAIL: "have failed it",
    Intention.TIME_OUT: "have ended it as timed out",
    Intention.SUBMIT: "have submitted it",
}


def _left(watched: _Watched, waited: float) -> str:
    return (
        f"Its row is {watched.task.status} since {waited:.0f} s at least; poddispatchd would "
        f"{_WOULD[watched.end.intention]}: {watched.reason}"
    )


def _otherwise(watched: _Watched, difference: Difference, status: str) -> str:
    did = "submitted it again" if difference is Difference.STARTED_AGAIN else f"ended it as {status}"
    return f"Pod {did}; poddispatchd would {_WOULD[watched.end.intention]}: {watched.reason}"
