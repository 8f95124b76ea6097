"""What is known of pending tasks when somebody asks why they wait."""

from collections.abc import Iterable, Mapping

from poddispatchd.domain.site import Site
from poddispatchd.domain.situation import WaitingTask
from poddispatchd.domain.task import SiteId, TaskPk, TaskType
from poddispatchd.journal.scheduling import Wait
from poddispatchd.managers.rows import SiteChooser
from poddispatchd.pod.task_list import PendingRow


def chosen_sites(sites: Iterable[tuple[SiteId, ...]], choose: SiteChooser) -> frozenset[SiteId]:
    """The sites for which tasks on these sets of sites are done."""
    return frozenset(site for site in map(choose, sites) if site is not None)


def waiting_task(
    row: PendingRow,
    *,
    choose: SiteChooser,
    sites: Mapping[SiteId, Site],
    own_tasks: Mapping[TaskPk, Wait | None],
    grace: float,
    source_problem: str | None = None,
) -> WaitingTask | None:
    """A pending row as ``domain/pending_reasons.py`` wants it; None for a type that is never submitted.

    Args:
        row: the task.
        choose: which of its sites it is done for.
        sites: Pod's.
        own_tasks: the tasks that Pod is not submitting itself, and the waits of some.
        grace: ``dispatch.grace``.
        source_problem: why its source cannot be submitted, if that was looked at.
    """
    kind = TaskType.of(row.type)
    if kind is TaskType.OTHER:
        return None
    wait = own_tasks.get(row.pk)
    first = row.first if row.first != row.pk else None
    return WaitingTask(
        pk=row.pk,
        type=kind,
        site=choose(row.site_ids),
        site_names=tuple(sites[pk].domain for pk in row.site_ids if pk in sites),
        rank=row.rank,
        visible_at=row.date_added,
        grace=0.0 if row.pk in own_tasks else grace,
        waits_until=wait.until if wait is not None and wait.date_added == row.date_added else None,
        behind=row.runs if row.runs is not None else first,
        behind_runs=row.runs is not None,
        locked_by=row.locked_by,
        source_problem=source_problem,
    )
