"""What Pod shows people about a task under way: the video's mark, step and log, the recording's comment.

Mirrors what Pod writes when a manager accepts a task and when a task fails, with one difference: encodings
that a viewer can watch stay until their replacement is there (invariant I5), and the log says so. Requests
are quoted with their content and address; tokens are in neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

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


@dataclass(frozen=True, slots=True)
class AcceptedRequest:
    """A request that a runner manager has accepted.

    ``body`` was sent to ``url``, which holds no user information (``RunnerManager.check_url`` sees to it).
    ``output_directory`` is where the results of an encoding will be.
    """

    task: Task
    body: Mapping[str, object]
    url: str
    output_directory: str

    @property
    def line(self) -> str:
        """How Pod quotes it."""
        return f"process manager remote encode : {self.url} with data {dict(self.body)}"


async def show_accepted(
    connection: Connection, requests: Sequence[AcceptedRequest], *, now: datetime
) -> None:
    """Runner managers have accepted these tasks; in one statement.

    Args:
        connection: in the caller's transaction.
        requests: of different tasks.
        now: the time, in Pod's time zone.
    """
    steps: dict[VideoId, tuple[int, str]] = {}
    logs: dict[VideoId, tuple[str, str]] = {}
    comments: dict[RecordingId, str] = {}
    start = start_line(now)
    for request in requests:
        task = request.task
        match task.type:
            case TaskType.ENCODING if task.video_id is not None:
                steps[task.video_id] = REMOTE_ENCODING_STEP
                tail = f"\n\noutput_dir : {request.output_directory}\n\n{request.line}"
                logs[task.video_id] = f"{start}\n\nremove old data : ", tail
            case TaskType.TRANSCRIPTION if task.video_id is not None:
                steps.setdefault(task.video_id, TRANSCRIPTION_STEP)
            case TaskType.STUDIO if task.recording_id is not None:
                comments[task.recording_id] = storable(f"{start}\n{request.line}")
            case _:
                pass
    await connection.execute(
        _QUERIES["accepted"],
        list(steps),
        [number for number, _ in steps.values()],
        [text for _, text in steps.values()],
        list(logs),
        [head for head, _ in logs.values()],
        [tail for _, tail in logs.values()],
        list(comments),
        list(comments.values()),
    )


async def show_failed(connection: Connection, task: Task, message: str, *, log: bool = False) -> None:
    """This task has failed; ``message`` is for people.

    A video gets step -1 and is no longer in progress; a recording gets the message as a comment, which Pod
    forgets. ``log`` writes the message to the video's log as well: for what we found out ourselves. Pod
    leaves the log alone when a runner reports the failure.
    """
    message = storable(message)
    if task.type is TaskType.STUDIO:
        if task.recording_id is not None:
            await comment_recording(connection, task.recording_id, message)
        return
    if task.video_id is None:
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
