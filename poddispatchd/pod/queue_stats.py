"""How many tasks wait and run, and since when."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct, field

from poddispatchd.database.pool import Database
from poddispatchd.domain.task import (
    ManagerId,
    SiteId,
    TaskStatus,
    TaskType,
)
from poddispatchd.pod.queue_order import statement

_OPEN = frozenset({TaskStatus.PENDING, TaskStatus.RUNNING, "warning"})
"""The statuses that `open_or_ranked` reads."""


class QueueStats(Struct, frozen=True):
    """Tasks counted by type and status, and since when the oldest pending one of each type waits.

    ``ranks`` is a number that stays as long as all ranks do; None when a task that waits has no rank, or one
    that does not wait has one. ``running_on`` counts the running tasks of each runner manager. ``as_of`` is
    when all but the finished tasks were counted, ``sites`` the sets of sites that the pending tasks of
    each type are on, None where they were not asked for.
    """

    counts: Mapping[tuple[str, str], int]
    oldest_pending: Mapping[str, datetime]
    ranks: int | None = None
    running_on: Mapping[ManagerId, int] = field(default_factory=dict)
    as_of: datetime | None = None
    sites: Mapping[str, frozenset[tuple[SiteId, ...]]] | None = None

    def count(self, type_: TaskType, status: TaskStatus) -> int:
        """How many tasks of a type have a status."""
        return self.counts.get((type_, status), 0)


async def queue_stats(database: Database, *, past: QueueStats | None = None) -> QueueStats:
    """Count the tasks, in one query.

    Args:
        database: where Pod's tables are.
        past: earlier counts, of which those of finished tasks will do; else they are counted too, which costs
            more than all the rest when they are many.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    counts: Counter[tuple[str, str]] = Counter()
    if past is not None:
        counts.update({key: count for key, count in past.counts.items() if key[1] not in _OPEN})
    oldest: dict[str, datetime] = {}
    running_on: Counter[ManagerId] = Counter()
    ranks, is_ranked = 0, True
    for record in await database.fetch(*statement("queue_stats", None, with_past=past is None)()):
        kind = TaskType.of(record["type"])
        if past is None or record["status"] in _OPEN:
            counts[kind, record["status"]] += record["tasks"]
        waits = record["status"] == TaskStatus.PENDING
        if waits:
            oldest[kind] = min(record["oldest"], oldest.get(kind, record["oldest"]))
        if record["runner_manager_id"] is not None:
            running_on[ManagerId(record["runner_manager_id"])] += record["tasks"]
        is_ranked = is_ranked and record["ranked"] == (record["tasks"] if waits else 0)
        ranks += int(record["ranks"] or 0)
    return QueueStats(counts, oldest, ranks if is_ranked else None, running_on)


async def pending_sites(database: Database) -> dict[str, frozenset[tuple[SiteId, ...]]]:
    """The sets of sites that pending tasks are on, by type of task.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    found: dict[str, set[tuple[SiteId, ...]]] = {}
    for record in await database.fetch(*statement("pending_sites", None)()):
        found.setdefault(TaskType.of(record["type"]), set()).add(tuple(record["site_ids"]))
    return {kind: frozenset(sites) for kind, sites in found.items()}
