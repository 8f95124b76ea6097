"""Twins: tasks of one type and source. A source is submitted once for all wishes that waited for it.

Pod stores one wish twice when two pages ask at once, or when its CRON and a page meet. What was asked for
after a run had begun is a new wish: the video may have been cut meanwhile.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from poddispatchd.domain.task import Run, TaskPk, TaskStatus


@dataclass(frozen=True, slots=True)
class Taken:
    """A submission of ours that a manager took; of some no id ever became known."""

    pk: TaskPk
    run: Run | None


@dataclass(frozen=True, slots=True)
class EndedTwin:
    """A twin that is over; those that share a ``run`` are one, of the latest ``date_added`` among them."""

    pk: TaskPk
    status: TaskStatus
    date_added: datetime
    run: Run | None


def followed(date_added: datetime, ended: Sequence[EndedTwin], taken: Iterable[Taken]) -> EndedTwin | None:
    """The twin whose end is that of a waiting task as well; None when the task must run itself.

    Args:
        date_added: when the one that waits was added.
        ended: its twins that are over.
        taken: what a runner manager took from us while the task waited, the latest first.
    """
    for submission in taken:
        for twin in ended:
            if twin.pk == submission.pk or (twin.run is not None and twin.run == submission.run):
                return twin
    # Nothing tells when Pod submitted one by itself; certainly not before it was added.
    later = [twin for twin in ended if twin.run is not None and twin.date_added >= date_added]
    return max(later, key=lambda twin: (twin.date_added, twin.pk), default=None)
