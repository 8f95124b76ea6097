"""The queues of the notifier: events of which nobody has been told, and the deliveries that follow."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import structlog
from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.script_output import storable
from poddispatchd.domain.task import RecordingId, RunnerTaskId, TaskPk, TaskType, VideoId
from poddispatchd.journal.notices import NoticeEvent
from poddispatchd.observability.events import Event
from poddispatchd.runtime.lease_queue import Lease, Leased

log = structlog.get_logger(__name__)

_QUERIES = load_queries(__package__, "queue.sql")

MOST_EVENTS = 1000
"""Outgoing events that wait or were set aside at most: an endpoint that is gone must not fill the journal."""


class Channel(StrEnum):
    """How people, or programs, are told."""

    MAIL = "mail"
    PUSH = "push"
    HOOK = "hook"
    EVENT = "event"


class DeliveryState(StrEnum):
    """How a delivery was settled."""

    DONE = "done"
    FAILED = "failed"
    """It is refused, now and ever."""
    DROPPED = "dropped"
    """Its channel was switched off, or there is nobody any more."""


class QueuedEvent(Struct, frozen=True):
    """An event.

    ``is_reported``: a runner manager reported the failure; otherwise we found it. ``of_campaign``: its task
    was added by a campaign.
    """

    lease: Lease
    event: NoticeEvent
    task_pk: TaskPk
    task_type: TaskType
    task_id: RunnerTaskId | None
    video_id: VideoId | None
    recording_id: RecordingId | None
    is_reported: bool
    words: str
    of_campaign: bool = False

    @classmethod
    def of(cls, leased: Leased) -> "QueuedEvent":
        """What a row of the queue holds.

        Raises:
            ValueError: an event, or a type of task, that is not known.
        """
        row = leased.row
        return cls(
            lease=leased.lease,
            event=NoticeEvent(row["event"]),
            task_pk=TaskPk(row["task_pk"]),
            task_type=TaskType(row["task_type"]),
            task_id=None if row["task_id"] is None else RunnerTaskId(row["task_id"]),
            video_id=None if row["video_id"] is None else VideoId(row["video_id"]),
            recording_id=None if row["recording_id"] is None else RecordingId(row["recording_id"]),
            is_reported=row["is_reported"],
            words=row["words"],
            of_campaign=row["of_campaign"],
        )


@dataclass(frozen=True, slots=True)
class Delivery:
    """One thing to deliver; ``age`` as of ``Leased``."""

    lease: Lease
    channel: Channel
    task_pk: TaskPk
    content: Mapping[str, object] = field(repr=False)
    created_at: datetime
    age: float

    @classmethod
    def of(cls, leased: Leased) -> "Delivery":
        """What a row of the queue holds.

        Raises:
            ValueError: its content is no JSON.
        """
        row = leased.row
        return cls(
            lease=leased.lease,
            channel=Channel(row["channel"]),
            task_pk=TaskPk(row["task_pk"]),
            content=json.loads(row["content"] or "{}"),
            created_at=row["created_at"],
            age=leased.age,
        )

    @property
    def attempts(self) -> int:
        """Attempts, this one included."""
        return self.lease.attempts


async def plan(
    connection: Connection, notice: QueuedEvent, deliveries: Collection[tuple[Channel, Mapping[str, object]]]
) -> bool:
    """Put deliveries in the place of an event; part of the caller's transaction, if there are any.

    Returns:
        False when another instance did it: nothing is queued then.
    """
    if await connection.fetchval(*_QUERIES["take"](notice=notice.lease.key)) is None:
        return False
    for channel, content in deliveries:
        if channel is Channel.EVENT:
            await add_event(connection, content, task=notice.task_pk)
            continue
        await connection.execute(
            *_QUERIES["queue"](channel=channel.value, task=notice.task_pk, content=json.dumps(content))
        )
    return True


async def add_mail(connection: Connection, content: Mapping[str, object]) -> None:
    """Queue a mail that follows from no event; it is of no task, which is 0 here."""
    await connection.execute(
        *_QUERIES["queue"](channel=Channel.MAIL.value, task=0, content=json.dumps(content))
    )


async def add_event(connection: Connection, content: Mapping[str, object], *, task: int = 0) -> bool:
    """Queue an outgoing event; 0 is for one of no task.

    Returns:
        False when too many wait: it is told in the log, and nowhere else.
    """
    status = await connection.execute(
        *_QUERIES["queue_event"](task=task, content=json.dumps(content), most=MOST_EVENTS)
    )
    if status == "INSERT 0 1":
        return True
    log.error(
        Event.NOTICE_FAILED,
        channel=Channel.EVENT.value,
        task=task or None,
        reason=f"{MOST_EVENTS} events wait or were set aside: no more are kept.",
    )
    return False


async def keep_rest(connection: Connection, delivery: Delivery, content: Mapping[str, object]) -> None:
    """A part is delivered: only ``content`` is left."""
    await connection.execute(
        *_QUERIES["keep_rest"](
            delivery=delivery.lease.key, owner=delivery.lease.owner, content=json.dumps(content)
        )
    )


async def close_delivery(
    connection: Connection, delivery: Delivery, state: DeliveryState, error: str | None = None
) -> None:
    """Close a delivery; its content, which names people, is forgotten."""
    words = None if error is None else storable(error)
    await connection.execute(*_QUERIES["settle"](delivery=delivery.lease.key, state=state.value, error=words))


async def drop_open(connection: Connection, channel: Channel) -> int:
    """Give up what is queued for a channel that has been switched off; how much that was."""
    done: str = await connection.execute(*_QUERIES["drop_open"](channel=channel.value))
    return int(done.removeprefix("UPDATE "))
