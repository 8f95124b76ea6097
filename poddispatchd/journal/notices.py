"""Events of which people are to be told, recorded with what they tell of.

An event never decides about its task (invariant I6): it is one row, committed or rolled back with the import
or the failure. What it means for whom is found out afterwards, outside that transaction (``notify``).
"""

from collections.abc import Sequence
from enum import StrEnum

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.task import Task, VideoId

_QUERIES = load_queries(__package__, "notices.sql")

_LONGEST_WORDS = 10_000


class NoticeEvent(StrEnum):
    """What people are told of."""

    COMPLETED = "completed"
    FAILED = "failed"


async def add_completed(
    connection: Connection, task: Task, video_id: VideoId, *, alerts: Sequence[str] = ()
) -> None:
    """Record that a task's result is in Pod; in the transaction that commits it.

    Args:
        connection: with the transaction.
        task: whose result it is.
        video_id: the video that has it.
        alerts: what ADMINS must know of it although it was imported, each a sentence.
    """
    await _add(connection, NoticeEvent.COMPLETED, task, video_id, words="\n".join(alerts))


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
        *_QUERIES["add"](
            event=event.value,
            task=task.pk,
            task_type=task.type.value,
            task_id=task.task_id,
            video=video_id,
            recording=task.recording_id,
            is_reported=is_reported,
            words=_storable(words),
        ),
    )


def _storable(words: str) -> str:
    """Words that PostgreSQL takes, whatever a runner wrote: they must never undo what they tell of."""
    # A text of PostgreSQL holds no NUL, and UTF-8 no surrogates that stand alone.
    return words[:_LONGEST_WORDS].replace("\0", "").encode(errors="replace").decode()
