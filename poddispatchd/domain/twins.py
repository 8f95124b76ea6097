"""Twins: tasks of one type and source. A source is submitted once for all wishes that waited for it.

Pod stores one wish twice when two pages ask at once, or when its CRON and a page meet. What was asked for
after a run had begun is a new wish: the video may have been cut meanwhile.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from poddispatchd.domain.task import Task, TaskPk, TaskStatus


@dataclass(frozen=True, slots=True)
class EndedTwin:
    """A twin that is over. ``has_id``: it carries the id of a run, its own or one that it shared."""

    pk: TaskPk
    status: TaskStatus
    date_added: datetime
    has_id: bool


def followed(task: Task, ended: Iterable[EndedTwin], taken: Sequence[TaskPk]) -> EndedTwin | None:
    """The twin whose end is that of a waiting task as well; None when the task must run itself.

    Args:
        task: the one that waits.
        ended: its twins that are over.
        taken: those that a runner manager took from us after the task was added, the latest first.
    """
    by_pk = {twin.pk: twin for twin in ended}
    for pk in taken:
        if pk in by_pk:
            return by_pk[pk]
    # Nothing tells when Pod submitted one by itself; certainly not before it was added.
    later = [twin for twin in by_pk.values() if twin.has_id and twin.date_added >= task.date_added]
    return max(later, key=lambda twin: (twin.date_added, twin.pk), default=None)
