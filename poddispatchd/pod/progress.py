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

SHOW_ACCEPTED = _QUERIES["show_accepted"]
"""Parts of a statement that show people what the rows of ``shown`` say: see ``shown_when_accepted``."""

REMOTE_ENCODING_STEP = (3, "process manager remote encode")
TRANSCRIPTION_STEP = (5, "transcripting audio")


def start_line(now: datetime) -> str:
    """How the log of a task begins; ``now`` is in Pod's time zone."""
    return f"Start at : {now.ctime()}"


def shown_when_accepted(
    task: Task, *, body: Mapping[str, object], url: str, output_directory: str, start: str
) -> tuple[object, ...]:
    """What people see of a task from the moment that a runner manager accepts it, as a row of ``shown``.

    Args:
        task: whose request was accepted.
        body: what was sent.
        url: where it was sent; it holds no user information (``RunnerManager.check_url`` sees to it).
        output_directory: where the results of an encoding will be.
        start: a ``start_line``.
    """
    line = f"process manager remote encode : {url} with data {dict(body)}"
    match task.type:
        case TaskType.ENCODING:
            head = f"{start}\n\nremove old data : "
            tail = f"\n\noutput_dir : {output_directory}\n\n{line}"
            return task.video_id, *REMOTE_ENCODING_STEP, head, tail, None, None
        case TaskType.TRANSCRIPTION:
            return task.video_id, *TRANSCRIPTION_STEP, None, None, None, None
        case TaskType.STUDIO:
            return None, None, None, None, None, task.recording_id, storable(f"{start}\n{line}")
        case TaskType.OTHER:
            return (None,) * 7  # none is ever submitted
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
        await connection.execute(*_QUERIES["append_log"](video=task.video_id, line=message))


async def comment_recording(connection: Connection, recording: RecordingId, text: str) -> None:
    """Add a line to a recording's comment."""
    await connection.execute(*_QUERIES["append_comment"](recording=recording, line=storable(text)))


async def _show_step(
    connection: Connection, video: VideoId, number: int, text: str, *, in_progress: bool
) -> None:
    await connection.execute(*_QUERIES["in_progress"](video=video, in_progress=in_progress))
    await connection.execute(*_QUERIES["step"](video=video, step=number, words=text[:LONGEST_STEP]))
