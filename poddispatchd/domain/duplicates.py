"""Duplicates: tasks of one type and source. A source is submitted once for all requests that waited for it.

Pod stores one request twice when two pages ask at once, or when its CRON and a page do. What was asked for
after a run had begun is a new request: the video may have been cut meanwhile.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from msgspec import Struct

from poddispatchd.domain.task import Run, TaskPk, TaskStatus


class Taken(Struct, frozen=True):
    """A submission of ours that a manager took; of some no id ever became known."""

    pk: TaskPk
    run: Run | None


class EndedDuplicate(Struct, frozen=True):
    """A duplicate that has ended; those that share a ``run`` count as one, with their latest date."""

    pk: TaskPk
    status: TaskStatus
    date_added: datetime
    run: Run | None


def followed(
    date_added: datetime, ended: Sequence[EndedDuplicate], taken: Iterable[Taken], own: Collection[Run] = ()
) -> EndedDuplicate | None:
    """The duplicate whose end is that of a waiting task as well; None when the task must run itself.

    Args:
        date_added: when the one that waits was added.
        ended: its duplicates that are over.
        taken: what a runner manager took from us while the task waited, the latest first.
        own: runs that the task itself was submitted as. It waits because they came to nothing: those of them
            that failed are not to end it after all.
    """
    ended = [each for each in ended if each.status is TaskStatus.COMPLETED or each.run not in own]
    for submission in taken:
        for duplicate in ended:
            if duplicate.pk == submission.pk or (
                duplicate.run is not None and duplicate.run == submission.run
            ):
                return duplicate
    # Nothing tells when Pod submitted one by itself; certainly not before it was added.
    later = [
        duplicate for duplicate in ended if duplicate.run is not None and duplicate.date_added >= date_added
    ]
    return max(later, key=lambda duplicate: (duplicate.date_added, duplicate.pk), default=None)
