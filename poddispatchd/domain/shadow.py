"""Shadow mode: what poddispatchd would do, compared with what Pod then did.

Pod's rows are all that is seen of Pod: not the bytes it posted, nor what a manager answered.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias, assert_never

from msgspec import Struct

from poddispatchd.domain.lifecycle import Decision, row_status
from poddispatchd.domain.task import ManagerId, RunnerTaskId, SiteId, TaskPk, TaskStatus, TaskType


class Intention(StrEnum):
    """What would be done with a task."""

    SUBMIT = "submit"
    IMPORT = "import"
    REQUEUE = "requeue"
    """It would be submitted again: it is lost, or failed for a reason that a new submission can cure."""
    FAIL = "fail"
    TIME_OUT = "time_out"


class Agreement(StrEnum):
    """Pod did the same, or there is nothing to compare."""

    SAME = "same"
    LEFT_TO_POD = "left_to_pod"
    """Pod submitted a task that was not to be touched: too young (``dispatch.grace``), or with an id."""
    UNFORESEEN = "unforeseen"
    """Pod submitted a task whose turn it was, to a runner that was not known to be free."""
    WITHDRAWN = "withdrawn"
    """The row was deleted or restarted."""


class Difference(StrEnum):
    """What Pod did otherwise, or did not do."""

    OTHER_TURN = "other_turn"
    """Another manager of the same priority got the task."""
    OTHER_MANAGER = "other_manager"
    """A manager of another priority got the task."""
    OUT_OF_ORDER = "out_of_order"
    """A task was submitted while others of its type and site stood before it."""
    LEFT_PENDING = "left_pending"
    """A task still waits that could have been submitted, or failed, more than a turn of the CRON ago."""
    SUBMITTED_TWICE = "submitted_twice"
    """A task was submitted while another one of its type and source waited before it, or ran."""
    SUBMITTED_IN_VAIN = "submitted_in_vain"
    """A task was submitted that no runner can do."""
    NOWHERE = "nowhere"
    """A task left the queue without a runner manager."""
    LEFT_RUNNING = "left_running"
    """A task has ended on its manager, or is lost, and its row is as it was."""
    GIVEN_UP = "given_up"
    """A task failed that would have been submitted again."""
    STARTED_AGAIN = "started_again"
    """A task was submitted again that would have been brought to an end."""
    ENDED_OTHERWISE = "ended_otherwise"
    """A task ended in another way."""
    WRONG_RANKS = "wrong_ranks"
    """Ranks are not the places in the queue."""
    NOT_PURGED = "not_purged"
    """Completed tasks are kept after their retention."""


Verdict: TypeAlias = Agreement | Difference | None
"""None: it is too early to tell."""

Place: TypeAlias = tuple[int, float, datetime, TaskPk]
"""Where a task stands in the queue: class of priority, turn (fair share), date, id; less is earlier."""


class Row(Struct, frozen=True):
    """What is compared of a row of ``runner_manager_task``."""

    status: str
    task_id: RunnerTaskId | None
    manager: ManagerId | None
    date_added: datetime

    @property
    def is_pending(self) -> bool:
        """Whether it waits."""
        return self.status == TaskStatus.PENDING


class Standing(Struct, frozen=True):
    """A pending task as it stood in the queue.

    ``site`` is None when no site of its is served. ``is_due``: old enough not to be left to Pod's own
    immediate submission, and without an id under which it may run already. ``is_first``: no other task of its
    type and source waits before it, or runs.
    """

    task: TaskPk
    type: TaskType
    site: SiteId | None
    place: Place
    date_added: datetime
    is_due: bool = True
    is_first: bool = True

    @property
    def could_go(self) -> bool:
        """Whether it waited for nothing but a runner."""
        return self.site is not None and self.is_due and self.is_first


class ExpectedSubmission(Struct, frozen=True):
    """A task that would have left the queue; ``manager`` is None when it would have failed."""

    date_added: datetime
    manager: ManagerId | None


class ExpectedEnd(Struct, frozen=True):
    """A running task of which its manager said something that asks for an action."""

    date_added: datetime
    task_id: RunnerTaskId | None
    intention: Intention


def counted(counts: Mapping[str, int]) -> str:
    """Counts for people: ``same 12, other turn 1``; those of 0 are left out."""
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items() if count) or "none"


def intention_of(decision: Decision) -> Intention | None:
    """What would be done after a report; None for nothing."""
    match decision:
        case Decision.IMPORT:
            return Intention.IMPORT
        case Decision.RETRY:
            return Intention.REQUEUE
        case Decision.FAIL:
            return Intention.FAIL
        case Decision.TIME_OUT:
            return Intention.TIME_OUT
        case Decision.COMPLETE | Decision.WAIT | Decision.IGNORE:
            return None
        case _:
            assert_never(decision)


def compare_submission(
    expected: ExpectedSubmission, row: Row | None, priorities: Mapping[ManagerId, int]
) -> Verdict:
    """What became of a task that would have been submitted or failed.

    Args:
        expected: what would have been done.
        row: as it is now; None when it is gone.
        priorities: of the runner managers that Pod knows.
    """
    if row is None or row.date_added != expected.date_added:
        return Agreement.WITHDRAWN
    if row.is_pending:
        return None
    if expected.manager is None:
        if row.manager is not None:
            return Difference.SUBMITTED_IN_VAIN
        return Agreement.SAME if row.status == TaskStatus.FAILED else Difference.NOWHERE
    if row.manager is None:
        return Difference.NOWHERE
    if row.manager == expected.manager:
        return Agreement.SAME
    same_priority = priorities.get(row.manager) == priorities.get(expected.manager)
    return Difference.OTHER_TURN if same_priority else Difference.OTHER_MANAGER


def compare_surprise(standing: Standing, row: Row | None) -> Verdict:
    """What it means that a task left the queue of which nothing was expected; None when it says nothing."""
    if standing.site is None or row is None or row.is_pending or row.date_added != standing.date_added:
        return None
    if row.manager is None:
        return None
    if not standing.is_due:
        return Agreement.LEFT_TO_POD
    return Agreement.UNFORESEEN if standing.is_first else Difference.SUBMITTED_TWICE


def overtaken(
    submitted: Standing, queue: Iterable[Standing], still_pending: Collection[TaskPk]
) -> list[TaskPk]:
    """The tasks that stood before a submitted one, could have been given to the same runner, and still wait.

    Args:
        submitted: as it stood at the last look; a task that was left to Pod overtakes nobody.
        queue: everybody at that look, in any order.
        still_pending: who waits now that the other one does not any more.
    """
    if not submitted.is_due:
        return []
    passed = [
        standing
        for standing in queue
        if standing.place < submitted.place
        and standing.could_go
        and (standing.type, standing.site) == (submitted.type, submitted.site)
        and standing.task in still_pending
    ]
    return [standing.task for standing in sorted(passed, key=lambda standing: standing.place)]


def compare_end(expected: ExpectedEnd, row: Row | None) -> Verdict:
    """What became of a running task whose manager said something that asks for an action."""
    if row is None or row.date_added != expected.date_added:
        return Agreement.WITHDRAWN
    if row.task_id != expected.task_id:
        return Agreement.SAME if expected.intention is Intention.REQUEUE else Difference.STARTED_AGAIN
    match row_status(row.status):
        case TaskStatus.COMPLETED:
            right: Intention = Intention.IMPORT
        case TaskStatus.FAILED:
            if expected.intention is Intention.REQUEUE:
                return Difference.GIVEN_UP
            right = Intention.FAIL
        case TaskStatus.TIMEOUT:
            right = Intention.TIME_OUT
        case TaskStatus.RUNNING | TaskStatus.PENDING | None:
            return None
        case other:
            assert_never(other)
    return Agreement.SAME if expected.intention is right else Difference.ENDED_OTHERWISE


class ShadowState(Struct, frozen=True):
    """Totals since the start; ``waited`` and ``longest_wait`` are seconds that tasks waited for Pod alone."""

    decisions: Mapping[str, int]
    agreements: Mapping[str, int]
    differences: Mapping[str, int]
    waits: int
    waited: float
    longest_wait: float

    @property
    def agreed(self) -> int:
        """How often Pod did the same."""
        return sum(self.agreements.values())

    @property
    def differed(self) -> int:
        """How often it did not."""
        return sum(self.differences.values())

    @property
    def average_wait(self) -> float:
        """Seconds."""
        return self.waited / self.waits if self.waits else 0.0
