"""What Pod shows people of a task that ends: the video's mark, step and log, the recording's comment."""

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.script_output import storable
from poddispatchd.domain.task import RecordingId, Task, TaskType, VideoId

_QUERIES = load_queries("poddispatchd.pod", "progress.sql")

LONGEST_STEP = 255
"""Characters of a step's description."""

FAILED_STEP = -1
DONE_STEP, DONE_WORDS = 0, "done"


async def show_failed(connection: Connection, task: Task, message: str, *, log: bool = False) -> None:
    """This task has failed; ``message`` is for people.

    A video gets step -1 and is no longer in progress; a recording gets the message as a comment, which Pod
    forgets. ``log`` writes the message to the video's log as well: for what we found out ourselves. Pod
    leaves the log alone when a runner reports the failure.
    """
    # A NUL in a runner's words must not undo the transaction that ends the task.
    message = storable(message)
    if task.type is TaskType.STUDIO or task.video_id is None:
        if task.recording_id is not None:
            await comment_recording(connection, task.recording_id, message)
        return
    await _show_step(connection, task.video_id, FAILED_STEP, message, in_progress=False)
    if log:
        await connection.execute(*_QUERIES["append_log"](video=task.video_id, line=message))


async def show_ended(connection: Connection, video: VideoId | None, failure: str | None = None) -> None:
    """Tasks of a video ended without a result or failure of their own; part of the caller's transaction.

    An encoding whose result came meanwhile found a transcription on its way, and left the video to that:
    in progress. With its last task that is over: it is done, or ended in the words of a ``failure``.
    """
    # Two statements: what the first waited for, as such an import, is seen by the second only.
    if video is None or not await connection.fetchval(*_QUERIES["held"](video=video)):
        return
    if await connection.fetchval(*_QUERIES["not_in_progress"](video=video)):
        step, words = (DONE_STEP, DONE_WORDS) if failure is None else (FAILED_STEP, storable(failure))
        await connection.execute(*_QUERIES["step"](video=video, step=step, words=words[:LONGEST_STEP]))


async def left_in_progress(connection: Connection, *, limit: int) -> list[VideoId]:
    """The latest videos that are shown in progress while none of their tasks waits or runs.

    Pod shows a video so until the end of a task: one that is deleted before has none. The table of videos is
    read from its beginning to its end: for whoever asks, and not for a job.
    """
    rows = await connection.fetch(*_QUERIES["left_in_progress"](limit=limit))
    return [VideoId(row["id"]) for row in rows]


async def comment_recording(connection: Connection, recording: RecordingId, text: str) -> None:
    """Add a line to a recording's comment."""
    await connection.execute(*_QUERIES["append_comment"](recording=recording, line=storable(text)))


async def _show_step(
    connection: Connection, video: VideoId, number: int, text: str, *, in_progress: bool
) -> None:
    await connection.execute(*_QUERIES["in_progress"](video=video, in_progress=in_progress))
    await connection.execute(*_QUERIES["step"](video=video, step=number, words=text[:LONGEST_STEP]))
