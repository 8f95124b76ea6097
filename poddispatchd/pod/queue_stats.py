"""How many tasks wait and run, and since when."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct, field

from poddispatchd.database.pool import Database
from poddispatchd.domain.lifecycle import row_status
from poddispatchd.domain.task import (
    OTHER_STATUS,
    ManagerId,
    SiteId,
    TaskPk,
    TaskStatus,
    TaskType,
    odd_status_words,
)
from poddispatchd.pod.queue_order import statement

_OPEN = frozenset({TaskStatus.PENDING, TaskStatus.RUNNING})
"""The statuses that `open_or_ranked` reads, as they are counted."""


class QueueStats(Struct, frozen=True):
    """Tasks counted by type and status, and since when the oldest pending one of each type waits.

    ``counts`` has ``OTHER_STATUS`` for all statuses that Pod does not have; ``odd`` is the first such task.
    ``ranks`` is a number that stays as long as all ranks do; None when a task that waits has no rank, or one
    that does not wait has one. ``running_on`` counts the running tasks of each runner manager. ``as_of`` is
    when all but the finished tasks were counted, ``sites`` the sets of sites that the pending tasks of
    each type are on, None where they were not asked for.
    """

    counts: Mapping[tuple[TaskType, str], int]
    oldest_pending: Mapping[str, datetime]
    ranks: int | None = None
    running_on: Mapping[ManagerId, int] = field(default_factory=dict)
    as_of: datetime | None = None
    sites: Mapping[str, frozenset[tuple[SiteId, ...]]] | None = None
    odd: TaskPk | None = None

    def count(self, type_: TaskType, status: str) -> int:
        """How many tasks of a type have a status."""
        return self.counts.get((type_, status), 0)

    @property
    def odd_words(self) -> str | None:
        """A sentence about tasks with a status that Pod does not have; None when there are none."""
        number = sum(self.count(kind, OTHER_STATUS) for kind in TaskType)
        return None if self.odd is None or not number else odd_status_words(number, self.odd)


async def queue_stats(database: Database, *, past: QueueStats | None = None) -> QueueStats:
    """Count the tasks, in one query.

    Args:
        database: where Pod's tables are.
        past: earlier counts, of which those of finished tasks will do; else they are counted too, which costs
            more than all the rest when they are many.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    counts: Counter[tuple[TaskType, str]] = Counter()
    odd = None if past is None else past.odd
    if past is not None:
        counts.update({key: count for key, count in past.counts.items() if key[1] not in _OPEN})
    oldest: dict[str, datetime] = {}
    running_on: Counter[ManagerId] = Counter()
    ranks, is_ranked = 0, True
    for record in await database.fetch(*statement("queue_stats", None, with_past=past is None)()):
        kind = TaskType.of(record["type"])
        status = row_status(record["status"]) or OTHER_STATUS
        if past is None or status in _OPEN:
            counts[kind, status] += record["tasks"]
            if status == OTHER_STATUS:
                # The first of all, whatever the order of the groups: the words name the same one at each
                # look.
                odd = TaskPk(min(record["first"], odd or record["first"]))
        waits = record["status"] == TaskStatus.PENDING
        if waits:
            oldest[kind] = min(record["oldest"], oldest.get(kind, record["oldest"]))
        if record["runner_manager_id"] is not None:
            running_on[ManagerId(record["runner_manager_id"])] += record["tasks"]
        is_ranked = is_ranked and record["ranked"] == (record["tasks"] if waits else 0)
        ranks += int(record["ranks"] or 0)
    return QueueStats(counts, oldest, ranks if is_ranked else None, running_on, odd=odd)


async def pending_sites(database: Database) -> dict[str, frozenset[tuple[SiteId, ...]]]:
    """The sets of sites that pending tasks are on, by type of task.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    found: dict[str, set[tuple[SiteId, ...]]] = {}
    for record in await database.fetch(*statement("pending_sites", None)()):
        found.setdefault(TaskType.of(record["type"]), set()).add(tuple(record["site_ids"]))
    return {kind: frozenset(sites) for kind, sites in found.items()}
