"""The failures of a day by their reasons, for the page and the JSON."""

from datetime import datetime

from msgspec import Struct

from poddispatchd.domain.failure_groups import FailureGroup, grouped
from poddispatchd.domain.task import TaskPk
from poddispatchd.tasks.failure_listing import failed_task
from poddispatchd.web.overviews import Overview

_TOLD = 20
_TASKS = 20


class FailureState(Struct, frozen=True):
    """Failures of one reason: how many, when, examples of their words, and the latest tasks."""

    group: str
    reason: str
    count: int
    first: datetime
    last: datetime
    examples: tuple[str, ...]
    tasks: tuple[TaskPk, ...]


def failure_groups(overview: Overview) -> list[FailureGroup]:
    """The failures of a day that nobody has restarted or dismissed, the most frequent reason first."""
    return grouped(failed_task(row, end.at) for row, end in overview.failed)


def failure_states(overview: Overview | None) -> tuple[FailureState, ...]:
    """The same for programs, bounded; empty before anybody has looked."""
    if overview is None:
        return ()
    return tuple(
        FailureState(
            group.key,
            group.reason,
            len(group.failures),
            group.first,
            group.last,
            group.examples,
            tuple(task.pk for task in group.failures[:_TASKS]),
        )
        for group in failure_groups(overview)[:_TOLD]
    )
