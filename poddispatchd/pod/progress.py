"""What Pod shows people about a task under way: the video's mark, step and log, the recording's comment.

Mirrors what Pod writes when a manager accepts a task and when a task fails, with one difference: encodings
that a viewer can watch stay until their replacement is there (invariant I5), and the log says so. Requests
are quoted with their content and address; tokens are in neither.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import assert_never

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.script_output import storable
from poddispatchd.domain.task import RecordingId, Task, TaskType, VideoId

_QUERIES = load_queries("poddispatchd.pod", "progress.sql")

LONGEST_STEP = 255
"""Characters of a step's description."""

FAILED_STEP = -1
REMOTE_ENCODING_STEP = (3, "process manager remote encode")
TRANSCRIPTION_STEP = (5, "transcripting audio")


def start_line(now: datetime) -> str:
    """How the log of a task begins; ``now`` is in Pod's time zone."""
    return f"Start at : {now.ctime()}"


async def show_accepted(
    connection: Connection,
    task: Task,
    *,
    request: Mapping[str, object],
    url: str,
    output_directory: str,
    now: datetime,
) -> None:
    """A runner manager has accepted this task.

    Args:
        connection: in the caller's transaction.
        task: the task.
        request: the body that was sent.
        url: where it was sent to; without user information (``RunnerManager.check_url`` sees to it).
        output_directory: where the results of an encoding will be.
        now: the time, in Pod's time zone.
    """
    line = f"process manager remote encode : {url} with data {dict(request)}"
    match task.type:
        case TaskType.ENCODING:
            if task.video_id is not None:
                log = await _encoding_log(connection, task.video_id, line, output_directory, now)
                await _show_step(connection, task.video_id, *REMOTE_ENCODING_STEP, in_progress=True)
                await connection.execute(_QUERIES["fresh_log"], task.video_id, log)
        case TaskType.TRANSCRIPTION:
            if task.video_id is not None:
                await _show_step(connection, task.video_id, *TRANSCRIPTION_STEP, in_progress=True)
        case TaskType.STUDIO:
            if task.recording_id is not None:
                await comment_recording(connection, task.recording_id, f"{start_line(now)}\n{line}")
        case TaskType.OTHER:
            pass  # none is ever submitted
        case _:
            assert_never(task.type)


async def show_failed(connection: Connection, task: Task, message: str, *, log: bool = False) -> None:
    """This task has failed; ``message`` is for people.

    A video gets step -1 and is no longer in progress; a recording gets the message as a comment, which Pod
    forgets. ``log`` writes the message to the video's log as well: for what we found out ourselves. Pod
    leaves the log alone when a runner reports the failure.
    """
    message = storable(message)
    if task.type is TaskType.STUDIO or task.video_id is None:
        if task.recording_id is not None:
            await comment_recording(connection, task.recording_id, message)
        return
    await _show_step(connection, task.video_id, FAILED_STEP, message, in_progress=False)
    if log:
        await connection.execute(_QUERIES["append_log"], task.video_id, message)


async def comment_recording(connection: Connection, recording: RecordingId, text: str) -> None:
    """Add a line to a recording's comment."""
    await connection.execute(_QUERIES["append_comment"], recording, storable(text))


async def _show_step(
    connection: Connection, video: VideoId, number: int, text: str, *, in_progress: bool
) -> None:
    await connection.execute(_QUERIES["in_progress"], video, in_progress)
    await connection.execute(_QUERIES["step"], video, number, text[:LONGEST_STEP])


async def _encoding_log(
    connection: Connection, video: VideoId, request: str, output_directory: str, now: datetime
) -> str:
    old = await connection.fetchrow(_QUERIES["old_encodings"], video)
    kinds = {"Video": "video", "Audio": "audio", "Playlist": "playlist"}
    fates = [
        f"{name}: {'Kept until the new files are there' if old and old[column] else 'Nothing to delete'}"
        for name, column in kinds.items()
    ]
    removal = "\n".join(("remove old data : ", *fates))
    return f"{start_line(now)}\n\n{removal}\n\noutput_dir : {output_directory}\n\n{request}"
