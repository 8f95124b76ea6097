"""What is known of pending tasks when somebody asks why they wait."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from poddispatchd.config.model import Settings
from poddispatchd.domain.lifecycle import is_last_run
from poddispatchd.domain.site import Site
from poddispatchd.domain.situation import WaitingTask
from poddispatchd.domain.task import SiteId, TaskPk, TaskType
from poddispatchd.journal.scheduling import OwnTask
from poddispatchd.managers.rows import SiteChooser
from poddispatchd.pod.task_list import PendingRow


def chosen_sites(sites: Iterable[tuple[SiteId, ...]], choose: SiteChooser) -> frozenset[SiteId]:
    """The sites for which tasks on these sets of sites are done."""
    return frozenset(site for site in map(choose, sites) if site is not None)


class SubmissionRules(Struct, frozen=True):
    """When and how often a task is submitted.

    Attributes:
        grace: ``dispatch.grace``.
        max_attempts: ``reconcile.max_attempts``.
    """

    grace: float
    max_attempts: int

    @classmethod
    def of(cls, settings: Settings) -> "SubmissionRules":
        """Those of a configuration."""
        return cls(settings.dispatch.grace, settings.reconcile.max_attempts)


def waiting_task(
    row: PendingRow,
    *,
    choose: SiteChooser,
    sites: Mapping[SiteId, Site],
    own_tasks: Mapping[TaskPk, OwnTask],
    rules: SubmissionRules,
    source_problem: str | None = None,
) -> WaitingTask | None:
    """A pending row as ``domain/pending_reasons.py`` wants it; None for a type that is never submitted.

    Args:
        row: the task.
        choose: which of its sites it is done for.
        sites: Pod's.
        own_tasks: the tasks that Pod is not submitting itself.
        rules: when and how often a task is submitted.
        source_problem: why its source cannot be submitted, if that was looked at.
    """
    kind = TaskType.of(row.type)
    if kind is TaskType.OTHER:
        return None
    own = own_tasks.get(row.pk)
    # A task that was restarted since is another request: it waits for nothing.
    put_back = own if own is not None and own.date_added == row.date_added else OwnTask(row.date_added)
    first = row.first if row.first != row.pk else None
    return WaitingTask(
        pk=row.pk,
        type=kind,
        site=choose(row.site_ids),
        site_names=tuple(sites[pk].domain for pk in row.site_ids if pk in sites),
        rank=row.rank,
        visible_at=row.date_added,
        grace=0.0 if own is not None else rules.grace,
        waits_until=None if put_back.wait is None else put_back.wait.until,
        behind=row.runs if row.runs is not None else first,
        behind_runs=row.runs is not None,
        locked_by=row.locked_by,
        source_problem=source_problem,
        lost_by=frozenset(put_back.lost_by),
        is_last_run=is_last_run(len(put_back.lost_by), max_attempts=rules.max_attempts),
    )
