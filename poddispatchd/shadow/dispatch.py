"""Which task would be submitted to which runner manager, and what Pod does with it instead."""

from collections import Counter
from collections.abc import Callable, Mapping

from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.database.pool import Database
from poddispatchd.dispatch.candidates import Candidates
from poddispatchd.dispatch.payloads import Payloads
from poddispatchd.dispatch.waiting_tasks import Waiting
from poddispatchd.domain.routing import Lane, assign
from poddispatchd.domain.shadow import (
    Agreement,
    Difference,
    ExpectedSubmission,
    Intention,
    Row,
    Standing,
    Verdict,
    compare_submission,
    compare_surprise,
    overtaken,
)
from poddispatchd.domain.task import SUBMITTABLE, ManagerId, Task, TaskPk
from poddispatchd.errors import MediaMissingError, PoddispatchdError, UnsubmittableError
from poddispatchd.managers.rows import ManagerRows, PodSites
from poddispatchd.pod import queue_order, shadow_rows
from poddispatchd.pod.catalogue import Catalogue
from poddispatchd.pod.queue_order import PendingTask
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.shadow.capacity import ObservedCapacity
from poddispatchd.shadow.expected import ExpectedTask
from poddispatchd.shadow.outcomes import ShadowOutcomes
from poddispatchd.shadow.stats import ShadowStats

_HEAD = 1000
"""Pending tasks whose order is watched: the first ones."""

_MOST = 1000
"""Expectations held at once."""

_PAGES = 20
"""Pages of tasks that are decided about in one look."""

_SOON = 1.0
_REST = 20.0
"""How many times as long as a look took the next one waits: its share of the database stays below 5 %."""

_NAMED = 5
"""Overtaken tasks that are named."""

_LEFT_FOR = 60.0
"""Seconds for which a task is left alone about which nothing can be decided: its directory may hang."""

_DECISION = "decision about a task"

_SILENT = 3
"""So many tasks whose files cannot be looked at end a look: each takes seconds, or the tree is away."""


class ShadowDispatcher:
    """Looks, decides as the dispatcher does, and compares with what became of the tasks since the last look.

    An expectation holds a runner of its manager until Pod has done something with its task: what is expected
    is what poddispatchd would do next to what Pod really has running.
    """

    def __init__(
        self,
        *,
        database: Database,
        catalogue: Catalogue,
        managers: ManagerRows,
        sites: PodSites,
        payloads: Payloads,
        candidates: Candidates,
        capacity: ObservedCapacity,
        outcomes: ShadowOutcomes,
        stats: ShadowStats,
        settings: Callable[[], Settings],
        incidents: Incidents,
        clock: Clock,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._managers = managers
        self._registry = managers.registry
        self._sites = sites
        self._payloads = payloads
        self._candidates = candidates
        self._capacity = capacity
        self._outcomes = outcomes
        self._stats = stats
        self._settings = settings
        self._incidents = incidents
        self._clock = clock
        self._expected: dict[TaskPk, ExpectedTask] = {}
        self._queue: dict[TaskPk, Standing] = {}
        self._left_until: dict[TaskPk, float] = {}
        self._silent = 0

    async def step(self) -> float:
        """One look; seconds until the next one."""
        begun = self._clock.monotonic()
        await self._managers.refresh()
        head = await queue_order.pending_tasks(
            self._database, self._catalogue.capabilities, queue_order.CandidateQuery(_HEAD)
        )
        await self._compare(head)
        self._queue = {standing.task: standing for standing in self._standings(head)}
        waiting = [standing for standing in self._queue.values() if standing.could_go]
        is_done = True
        if len(head) == _HEAD or any(standing.task not in self._expected for standing in waiting):
            is_done = await self._decide({item.task.pk: place for place, item in enumerate(head, start=1)})
        spent = self._clock.monotonic() - begun
        return max(self._settings().dispatch.poll_interval if is_done else _SOON, _REST * spent)

    def _standings(self, head: list[PendingTask]) -> list[Standing]:
        grace, choose = self._settings().dispatch.grace, self._sites.chooser()
        return [
            Standing(
                task=item.task.pk,
                type=item.task.type,
                site=choose(item.site_ids),
                place=item.place,
                date_added=item.task.date_added,
                is_due=item.age >= grace and not item.task.task_id,
                is_first=item.is_first,
            )
            for item in head
        ]

    # --- what would be done ------------------------------------------------------------------------------

    def _lanes(self) -> list[Lane]:
        managers = (expected.submission.manager for expected in self._expected.values())
        return self._capacity.lanes(Counter(manager for manager in managers if manager is not None))

    async def _decide(self, ranks: Mapping[TaskPk, int]) -> bool:
        """Decide about as many tasks as there are free runners for; whether that is all for now."""
        await self._capacity.look(ended=self._outcomes.ended)
        now, self._silent = self._clock.monotonic(), 0
        self._left_until = {pk: until for pk, until in self._left_until.items() if until > now}
        for _ in range(_PAGES):
            skip = frozenset((*self._expected, *self._left_until))
            waiting = await self._candidates.look(self._lanes(), skip=skip, types=SUBMITTABLE)
            if not await self._place(waiting, ranks) or self._silent >= _SILENT:
                return True
        return False

    async def _place(self, waiting: list[Waiting], ranks: Mapping[TaskPk, int]) -> bool:
        """Place tasks, one on each manager at a time, until nobody has room; whether any was."""
        left = {entry.item.task.pk: entry for entry in waiting}
        while len(self._expected) < _MOST and self._silent < _SILENT:
            offers = [entry.offer for entry in left.values()]
            placed = assign(offers, self._lanes(), self._clock.monotonic())
            if not placed:
                break
            for assignment in placed:
                entry = left.pop(assignment.task)
                await self._expect(entry, assignment.manager, ranks.get(assignment.task))
        return len(left) < len(waiting)

    async def _expect(self, entry: Waiting, manager: ManagerId, rank: int | None) -> None:
        """Take over that a task would be submitted to this manager, or would fail; or leave it alone."""
        task, now = entry.item.task, self._clock.monotonic()
        try:
            await self._payloads.of(task, entry.site)
        except UnsubmittableError as error:
            submission = ExpectedSubmission(task.date_added, None)
            self._expected[task.pk] = ExpectedTask(submission, task, now, str(error))
            self._stats.expects(Intention.FAIL, task, reason=str(error))
            return
        except MediaMissingError:
            self._left_until[task.pk] = now + _LEFT_FOR
            self._silent += 1
            return
        except PoddispatchdError:
            raise
        except Exception as error:  # noqa: BLE001 - one task's surprise must not stop the others (invariant I12)
            self._incidents.failed(_DECISION, error, task=task.pk)
            self._left_until[task.pk] = now + _LEFT_FOR
            return
        self._incidents.recovered(_DECISION, task=task.pk)
        submission = ExpectedSubmission(task.date_added, manager)
        self._expected[task.pk] = ExpectedTask(submission, task, now)
        # Its turn is over, as if it had taken the task.
        turn = self._registry.begin(manager)
        self._registry.accepted(manager, task.type)
        self._registry.end(manager, turn)
        self._stats.expects(
            Intention.SUBMIT, task, runner_manager=self._name(manager), rank=rank, rank_in_pod=task.rank
        )

    # --- what Pod did ------------------------------------------------------------------------------------

    async def _compare(self, head: list[PendingTask]) -> None:
        """Compare with the rows as they are now.

        Whoever left the queue did so before it was read: tasks that still stand in it were passed over.
        """
        here = {item.task.pk: item.task for item in head}
        gone = (self._queue.keys() | self._expected.keys()) - here.keys()
        rows = await shadow_rows.rows(self._database, gone)
        for pk in sorted(gone & self._queue.keys()):
            if (row := rows.get(pk)) is not None:
                self._tell_overtaken(self._queue[pk], row, here)
        for pk, expected in list(self._expected.items()):
            self._settle(expected, _row_of(here[pk]) if pk in here else rows.get(pk))
        for pk in sorted(gone & self._queue.keys()):
            if pk not in self._expected:
                self._tell_surprise(self._queue[pk], rows.get(pk))

    def _settle(self, expected: ExpectedTask, row: Row | None) -> None:
        task, now = expected.task, self._clock.monotonic()
        priorities = {manager.id: manager.priority for manager in self._registry.all()}
        verdict = compare_submission(expected.submission, row, priorities)
        waited = now - expected.since
        if verdict is None:
            self._tell_late(expected, waited)
            return
        del self._expected[task.pk]
        self._candidates.memories.forget(task.pk)
        self._queue.pop(task.pk, None)
        facts = {"task": task.pk, **self._asked(expected, row), "waited": round(waited, 1)}
        if expected.submission.manager is not None and row is not None and row.manager is not None:
            self._stats.waited(waited)
        match verdict:
            case Agreement():
                self._stats.agrees(verdict, **facts)
            case Difference():
                self._stats.differs(verdict, expected.otherwise(verdict, row, self._name), **facts)

    def _tell_late(self, expected: ExpectedTask, waited: float) -> None:
        if expected.is_told or waited < self._settings().shadow.cron_interval:
            return
        expected.is_told = True
        manager = expected.submission.manager
        if manager is None:
            words = f"It waits; poddispatchd would have failed it {waited:.0f} s ago: {expected.reason}"
        else:
            free = max(self._capacity.free(manager), 0)
            words = (
                f"It waits; poddispatchd would have offered it {waited:.0f} s ago to {self._name(manager)}, "
                f"where {free} {'runner is' if free == 1 else 'runners are'} taken to be free by now."
            )
        self._stats.differs(
            Difference.LEFT_PENDING, words, task=expected.task.pk, runner_manager=self._name(manager)
        )

    def _tell_surprise(self, standing: Standing, row: Row | None) -> None:
        """A task left the queue of which nothing was expected."""
        verdict: Verdict = compare_surprise(standing, row)
        facts = {"task": standing.task, "in_pod": None if row is None else self._name(row.manager)}
        match verdict:
            case Agreement():
                self._stats.agrees(verdict, **facts)
            case Difference():
                words = "Pod submitted it while another task of its type and source waited before it, or ran."
                self._stats.differs(verdict, words, **facts)
            case None:
                pass

    def _tell_overtaken(self, submitted: Standing, row: Row, here: Mapping[TaskPk, Task]) -> None:
        if row.is_pending or row.manager is None or row.date_added != submitted.date_added:
            return
        still = {
            pk
            for pk, task in here.items()
            if (known := self._queue.get(pk)) is not None and known.date_added == task.date_added
        }
        doomed = {pk for pk, expected in self._expected.items() if expected.submission.manager is None}
        passed = overtaken(submitted, self._queue.values(), still - doomed)
        if passed:
            named = ", ".join(str(pk) for pk in passed[:_NAMED]) + (", …" if len(passed) > _NAMED else "")
            self._stats.differs(
                Difference.OUT_OF_ORDER,
                f"Pod submitted it while {len(passed)} of its type and site stood before it: {named}.",
                task=submitted.task,
                in_pod=self._name(row.manager),
            )

    # --- words -------------------------------------------------------------------------------------------

    def _name(self, manager: ManagerId | None) -> str | None:
        if manager is None:
            return None
        known = self._registry.get(manager)
        return f"manager {manager}" if known is None else known.name

    def _asked(self, expected: ExpectedTask, row: Row | None) -> dict[str, str | None]:
        in_pod = None if row is None else self._name(row.manager)
        return {"runner_manager": self._name(expected.submission.manager), "in_pod": in_pod}


def _row_of(task: Task) -> Row:
    return Row(task.status, task.task_id, task.runner_manager_id, task.date_added)
