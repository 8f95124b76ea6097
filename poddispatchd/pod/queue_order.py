"""Pod's queue: which task is next, what rank people see, and how long the queue is.

Mirrors Pod's order (priority users, everyone else, students; then the date, then the id), which Pod uses
for the ranks it shows but not always for the order in which it submits.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from enum import IntEnum
from functools import lru_cache
from typing import TypeAlias

import asyncpg
from msgspec import Struct, field

from poddispatchd.database.pool import Database
from poddispatchd.database.queries import Query, load_queries, render
from poddispatchd.domain.fair_share import UNKNOWN_RUN, Claim, FairOrder, FairShare
from poddispatchd.domain.task import (
    RecordingId,
    SiteId,
    Task,
    TaskPk,
    TaskType,
    VideoId,
)
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.duplicates import SAME_SOURCE
from poddispatchd.pod.tasks import task_of

_QUERIES = load_queries("poddispatchd.pod", "queue.sql")

SITE_IDS = _QUERIES["site_ids"]
"""The sites of what ``task`` works on, for all statements that tell them."""

_RANKS_AT_ONCE = 10_000
"""Ranks that are written in one statement."""

Source: TypeAlias = tuple[TaskType, VideoId | RecordingId]
"""What tasks of one type work on: several of one source wait for each other."""


class PriorityClass(IntEnum):
    """Whose task it is; lower is served first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class PendingTask(Struct, frozen=True):
    """A task that waits.

    ``task.script_output`` is not loaded. ``site_ids`` are the sites of its video or recorder. ``age`` is in
    seconds, by the database's clock. ``is_duplicate_of`` is the pending task of the same type and source that
    stands first: the source is submitted once, for that one. ``running_duplicate`` is a task of the same type
    and source that runs already. ``grace_left``: seconds for which it is still left to Pod's own submission.
    ``turn``: of fair share, 0 for all where there is none.
    """

    task: Task
    priority: PriorityClass
    site_ids: tuple[SiteId, ...]
    age: float
    is_duplicate_of: TaskPk | None = None
    running_duplicate: TaskPk | None = None
    grace_left: float = 0.0
    turn: float = 0.0

    @property
    def place(self) -> tuple[int, float, datetime, TaskPk]:
        """Where it stands; less is earlier."""
        return self.priority, self.turn, self.task.date_added, self.task.pk

    @property
    def source(self) -> Source | None:
        """What it works on; None when its video or recording is gone."""
        task = self.task
        pk = task.recording_id if task.type is TaskType.STUDIO else task.video_id
        return None if pk is None else (task.type, pk)

    @property
    def is_first(self) -> bool:
        """Whether no other task of its type and source waits before it, or runs."""
        return self.is_duplicate_of is None and self.running_duplicate is None


class WrongRanks(Struct, frozen=True):
    """How many ranks are wrong; of the first of these tasks, the rank that Pod shows and the right one."""

    count: int
    first: Mapping[TaskPk, tuple[int | None, int | None]]


@lru_cache(maxsize=32)
def statement(
    name: str,
    priority_user_table: str | None,
    *,
    by_site: bool = False,
    with_past: bool = True,
    share: FairShare = FairShare.NONE,
) -> Query:
    """A statement of ``queue.sql`` for a Pod with or without a table of priority users."""
    text = _QUERIES[name].fill(
        on_sites=_QUERIES["on_some_sites" if by_site else "on_any_site"],
        which=_QUERIES["of_any_status" if with_past else "open_or_ranked"],
    )
    return filled(text, priority_user_table, share)


def filled(text: Query, priority_user_table: str | None, share: FairShare = FairShare.NONE) -> Query:
    """A statement with the parts of ``queue.sql`` that it names in braces, ordered by fair share if asked."""
    if priority_user_table is None:
        priority_users = _QUERIES["no_priority_users"]
    else:
        priority_users = render(_QUERIES["priority_users"], priority_user_table=priority_user_table)
    if share is not FairShare.NONE:
        text = text.fill(ranked=_QUERIES["fair_ranked"], queue=_QUERIES["fair_queue"])
        text = text.fill(fair_queue=_QUERIES["fair_queue"])
        if share is FairShare.OWNER:
            text = text.fill(party=_QUERIES["owner"], holders="")
        else:
            text = text.fill(party=_QUERIES["establishment"], holders=_QUERIES["holders"])
    for part in ("ranked", "queue", "owned_tasks", "class", "source", "grace_left", "site_ids"):
        text = text.fill(**{part: _QUERIES[part]})
    return text.fill(same_source=SAME_SOURCE, priority_users=priority_users)


class CandidateQuery(Struct, frozen=True):
    """Which pending tasks are asked for.

    Args:
        limit: rows at most.
        grace: seconds for which new ones are left to Pod's own immediate submission: they come last. The
            database's clock tells how old they are: if this machine's is behind, nothing would ever be old
            enough.
        types: types for which a runner manager may have room; the others do not use up the limit.
        sites: only tasks of these sites; None: of any.
        with_siteless: with ``sites``, also tasks whose video or recorder is on no site.
        skip: tasks already in hand.
        ignore_grace: tasks that Pod is not submitting itself: ``grace`` does not hold them back.
        held: tasks that are left where they are, unless their ``date_added`` is another one by now.
        exclude_sources: no task of these, however many wait for them.
    """

    limit: int
    grace: float = 0.0
    types: Collection[TaskType] = tuple(TaskType)
    sites: Collection[SiteId] | None = None
    with_siteless: bool = True
    skip: Collection[TaskPk] = ()
    ignore_grace: Collection[TaskPk] = ()
    held: Mapping[TaskPk, datetime] = field(default_factory=dict)
    exclude_sources: Collection[Source] = ()


def by_fair_share(order: FairOrder | None) -> dict[str, object]:
    """The parameters of ``fair_queue``; none for Pod's order."""
    if order is None:
        return {}
    due = [(priority, kind, date, pk) for (priority, kind), (date, pk) in order.due.items()]
    return {
        "parties": list(order.used),
        "used": list(order.used.values()),
        "cost_types": list(order.costs),
        "costs": list(order.costs.values()),
        "unknown_cost": UNKNOWN_RUN,
        "due_classes": [priority for priority, *_ in due],
        "due_types": [kind for _, kind, *_ in due],
        "due_dates": [date for *_, date, _ in due],
        "due_tasks": [pk for *_, pk in due],
    }


def share_of(order: FairOrder | None) -> FairShare:
    """By whose runner time tasks are ordered."""
    return FairShare.NONE if order is None else order.by


async def pending_tasks(
    database: Database, capabilities: Capabilities, query: CandidateQuery, order: FairOrder | None = None
) -> list[PendingTask]:
    """The next tasks to hand out; behind them those that are left to Pod for a while.

    Args:
        database: Pod's.
        capabilities: of its tables.
        query: which tasks.
        order: by fair share; None: Pod's.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    pending = statement(
        "pending",
        capabilities.priority_user_table,
        by_site=query.sites is not None,
        share=share_of(order),
    )
    by_site = (
        {} if query.sites is None else {"sites": list(query.sites), "with_siteless": query.with_siteless}
    )
    records = await database.fetch(
        *pending(
            limit=query.limit,
            grace=query.grace,
            types=[type_.value for type_ in query.types],
            skip=list(query.skip),
            ignore_grace=list(query.ignore_grace),
            held=list(query.held),
            held_dates=list(query.held.values()),
            excluded_types=[type_.value for type_, _ in query.exclude_sources],
            excluded_sources=[pk for _, pk in query.exclude_sources],
            **by_site,
            **by_fair_share(order),
        )
    )
    return [_pending(record) for record in records]


async def write_ranks(database: Database, capabilities: Capabilities, order: FairOrder | None = None) -> int:
    """Give every pending task its place in the queue (1..n) and no other task any; return the rows changed.

    A long queue is numbered in steps: whoever wants one of its rows meanwhile waits for one step only.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    query = statement("write_ranks", capabilities.priority_user_table, share=share_of(order))
    fair = by_fair_share(order)
    changed, written, places = 0, 0, 1
    while written < places:
        row = await database.fetchrow(*query(after=written, up_to=written + _RANKS_AT_ONCE, **fair))
        if row is None:
            break
        changed += row["changed"]
        # Asked anew with each step: the queue may have grown, or have become shorter.
        written, places = written + _RANKS_AT_ONCE, row["places"]
    return changed


async def wrong_ranks(
    database: Database, capabilities: Capabilities, *, limit: int, order: FairOrder | None = None
) -> WrongRanks:
    """The ranks that are not the places of their tasks in the queue.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    query = statement("wrong_ranks", capabilities.priority_user_table, share=share_of(order))
    records = await database.fetch(*query(limit=limit, **by_fair_share(order)))
    return WrongRanks(
        records[0]["tasks"] if records else 0,
        {TaskPk(record["id"]): (record["held"], record["place"]) for record in records},
    )


def _pending(record: asyncpg.Record) -> PendingTask:
    return PendingTask(
        task=task_of(record),
        priority=PriorityClass(record["class"]),
        site_ids=tuple(record["site_ids"]),
        age=record["age"],
        is_duplicate_of=record["duplicate_of"],
        running_duplicate=record["running_duplicate"],
        grace_left=record["grace_left"],
        turn=record["turn"],
    )


async def claim_of(
    database: Database, capabilities: Capabilities, task: TaskPk, by: FairShare
) -> Claim | None:
    """What a pending task claims of the runner time; None when it does not wait.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    query = statement("claim", capabilities.priority_user_table, share=by)
    row = await database.fetchrow(*query(task=task))
    if row is None:
        return None
    return Claim(TaskPk(row["id"]), row["class"], row["type"], row["date_added"], row["party"])
