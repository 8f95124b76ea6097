"""The queue of notices: events recorded with what they tell of, and the deliveries that follow from them.

An event never decides about its task (invariant I6): it is one row, committed or rolled back with the import
or the failure. What it means for whom is found out afterwards, outside that transaction.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.task import RecordingId, RunnerTaskId, Task, TaskPk, TaskType, VideoId

_QUERIES = load_queries(__package__, "notices.sql")

_LONGEST_WORDS = 10_000

NoticeId = NewType("NoticeId", int)
DeliveryId = NewType("DeliveryId", int)


class NoticeEvent(StrEnum):
    """What people are told of."""

    COMPLETED = "completed"
    FAILED = "failed"


class Channel(StrEnum):
    """How people, or programs, are told."""

    MAIL = "mail"
    PUSH = "push"
    HOOK = "hook"


class DeliveryState(StrEnum):
    """What became of a delivery."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"
    DROPPED = "dropped"
    """Its channel was switched off, or there is nobody any more."""


@dataclass(frozen=True, slots=True)
class Notice:
    """An event. ``is_reported``: a runner manager reported the failure; otherwise we found it."""

    id: NoticeId
    event: NoticeEvent
    task_pk: TaskPk
    task_type: TaskType
    task_id: RunnerTaskId | None
    video_id: VideoId | None
    recording_id: RecordingId | None
    is_reported: bool
    words: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One thing to deliver; ``attempts`` counts the one that this claim allows."""

    id: DeliveryId
    channel: Channel
    task_pk: TaskPk
    content: Mapping[str, object] = field(repr=False)
    attempts: int
    created_at: datetime


async def add_completed(connection: Connection, task: Task, video_id: VideoId) -> None:
    """Record that a task's result is in Pod; in the transaction that commits it."""
    await _add(connection, NoticeEvent.COMPLETED, task, video_id)


async def add_failed(connection: Connection, task: Task, words: str, *, is_reported: bool = False) -> None:
    """Record that a task ended badly; in the transaction that ends it."""
    await _add(connection, NoticeEvent.FAILED, task, task.video_id, is_reported=is_reported, words=words)


async def _add(
    connection: Connection,
    event: NoticeEvent,
    task: Task,
    video_id: VideoId | None,
    *,
    is_reported: bool = False,
    words: str = "",
) -> None:
    await connection.execute(
        _QUERIES["add"],
        event.value,
        task.pk,
        task.type.value,
        task.task_id,
        video_id,
        task.recording_id,
        is_reported,
        _storable(words),
    )


def _storable(words: str) -> str:
    """Words that PostgreSQL takes, whatever a runner wrote: they must never undo what they tell of."""
    return words[:_LONGEST_WORDS].replace("\0", "").encode(errors="replace").decode()


async def waiting(connection: Connection, limit: int) -> list[Notice]:
    """The oldest events for which nothing has been queued yet."""
    return [
        Notice(
            id=NoticeId(row["id"]),
            event=NoticeEvent(row["event"]),
            task_pk=TaskPk(row["task_pk"]),
            task_type=TaskType(row["task_type"]),
            task_id=None if row["task_id"] is None else RunnerTaskId(row["task_id"]),
            video_id=None if row["video_id"] is None else VideoId(row["video_id"]),
            recording_id=None if row["recording_id"] is None else RecordingId(row["recording_id"]),
            is_reported=row["is_reported"],
            words=row["words"],
        )
        for row in await connection.fetch(_QUERIES["waiting"], limit)
    ]


async def plan(
    connection: Connection, notice: Notice, deliveries: Collection[tuple[Channel, Mapping[str, object]]]
) -> bool:
    """Put deliveries in the place of an event; part of the caller's transaction.

    Returns:
        False when another instance did it: nothing is queued then.
    """
    if await connection.fetchval(_QUERIES["take"], notice.id) is None:
        return False
    for channel, content in deliveries:
        await connection.execute(_QUERIES["queue"], channel.value, notice.task_pk, json.dumps(content))
    return True


async def claim_due(
    connection: Connection, channel: Channel, limit: int, *, seconds: float
) -> list[Delivery]:
    """Take what is to be delivered next; nobody else takes it for so many seconds."""
    rows = await connection.fetch(_QUERIES["claim_due"], channel.value, limit, seconds)
    return [
        Delivery(
            id=DeliveryId(row["id"]),
            channel=Channel(row["channel"]),
            task_pk=TaskPk(row["task_pk"]),
            content=json.loads(row["content"] or "{}"),
            attempts=row["attempts"],
            created_at=row["created_at"],
        )
        for row in sorted(rows, key=lambda row: int(row["id"]))
    ]


async def retry(
    connection: Connection,
    delivery: Delivery,
    *,
    seconds: float,
    error: str,
    content: Mapping[str, object] | None = None,
    counts: bool = True,
) -> None:
    """Try again later; ``content`` is what is left to deliver, ``counts`` whether this was an attempt."""
    left = None if content is None else json.dumps(content)
    await connection.execute(_QUERIES["retry"], delivery.id, seconds, error, left, counts)


async def settle(
    connection: Connection, delivery: Delivery, state: DeliveryState, error: str | None = None
) -> None:
    """Close a delivery; its content, which names people, is forgotten."""
    await connection.execute(_QUERIES["settle"], delivery.id, state.value, error)


async def drop_open(connection: Connection, channel: Channel) -> None:
    """Give up what is queued for a channel that has been switched off."""
    await connection.execute(_QUERIES["drop_open"], channel.value)


async def next_due(connection: Connection, channels: Collection[Channel]) -> float | None:
    """Seconds until the next delivery of these channels is due, 0 or less when it is; None without any."""
    seconds: float | None = await connection.fetchval(
        _QUERIES["next_due"], [channel.value for channel in channels]
    )
    return seconds
