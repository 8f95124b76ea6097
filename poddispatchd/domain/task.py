"""Pod's task rows and the names used for them everywhere."""

import json
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType, TypedDict

from msgspec import Struct

TaskPk = NewType("TaskPk", int)
"""Primary key of a row of ``runner_manager_task``."""

RunnerTaskId = NewType("RunnerTaskId", str)
"""The id a runner manager gave to a task (Pod's column ``task_id``)."""

ManagerId = NewType("ManagerId", int)
"""Primary key of a row of ``runner_manager``."""

VideoId = NewType("VideoId", int)
RecordingId = NewType("RecordingId", int)
SiteId = NewType("SiteId", int)


class TaskType(StrEnum):
    """Pod's task types, and one name for all others (``Task.raw_type`` keeps theirs)."""

    ENCODING = "encoding"
    STUDIO = "studio"
    TRANSCRIPTION = "transcription"
    OTHER = "other"
    """Never submitted, but seen, asked about and ended: Pod's column holds any text."""

    @classmethod
    def of(cls, text: str) -> "TaskType":
        """The type that Pod's column names."""
        try:
            return cls(text)
        except ValueError:
            return cls.OTHER


SUBMITTABLE = (TaskType.ENCODING, TaskType.STUDIO, TaskType.TRANSCRIPTION)
"""The types for which a payload can be made."""


class TaskStatus(StrEnum):
    """The statuses Pod's pages know."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"


OTHER_STATUS = "other"
"""One name for all others: nothing is done to such a task, but it is counted and told of."""


class RunnerStatus(StrEnum):
    """The statuses a runner manager gives to a task; ``warning`` is a success whose callback failed."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    WARNING = "warning"
    FAILED = "failed"
    TIMEOUT = "timeout"


class Run(Struct, frozen=True):
    """What a runner manager calls ``task_id``."""

    runner_manager_id: ManagerId
    task_id: RunnerTaskId


class Task(Struct, frozen=True):
    """A row of Pod's ``runner_manager_task``; ``raw_type`` is the text of a type that is not known here."""

    pk: TaskPk
    type: TaskType
    status: str
    task_id: RunnerTaskId | None
    runner_manager_id: ManagerId | None
    video_id: VideoId | None
    recording_id: RecordingId | None
    date_added: datetime
    rank: int | None = None
    script_output: str | None = None
    raw_type: str | None = None

    @property
    def type_name(self) -> str:
        """The type as Pod's column names it."""
        return self.type.value if self.raw_type is None else self.raw_type

    @property
    def is_submittable(self) -> bool:
        """Whether it can be submitted at all: one that cannot must never wait to be."""
        return self.type in SUBMITTABLE

    @property
    def result_type(self) -> TaskType | None:
        """As what a result is imported; None when nothing can be made of one.

        Mirrors Pod (``import_task_result``): whatever is no studio task and no transcription is an encoding.
        """
        if self.type is not TaskType.OTHER:
            return self.type
        return None if self.video_id is None else TaskType.ENCODING

    @property
    def run(self) -> Run | None:
        """The run that the row names; None while it is nobody's."""
        if self.runner_manager_id is None or not self.task_id:
            return None
        return Run(self.runner_manager_id, self.task_id)

    @property
    def source(self) -> str:
        """What the task works on, in words: ``video 12`` or ``recording 3``."""
        if self.video_id is not None:
            return f"video {self.video_id}"
        if self.recording_id is not None:
            return f"recording {self.recording_id}"
        return "nothing"


class RunRequest(Struct, frozen=True):
    """What we asked a runner for. What is None was not said: it contradicts nothing.

    Attributes:
        task_type: as what.
        source_url: what it was to fetch.
        language: of the subtitles.
        video_id: the number of the video.
    """

    task_type: str | None = None
    source_url: str | None = None
    language: str | None = None
    video_id: str | None = None

    @classmethod
    def of_body(cls, body: bytes) -> "RunRequest":
        """What a submission of ours says."""
        told: dict[str, Any] = json.loads(body)
        parameters = told.get("parameters", {})
        number = parameters.get("video_id")
        return cls(
            told.get("task_type"),
            told.get("source_url"),
            parameters.get("language"),
            None if number is None else str(number),
        )

    def contradiction(self, task: Task) -> str | None:
        """Why the result is not what the row asks for, in words: somebody has changed the row meanwhile."""
        if task.type is not TaskType.OTHER and self.task_type not in (None, task.type.value):
            return (
                f"Its runner worked on it as {self.task_type}, and its type was changed to {task.type.value} "
                "meanwhile."
            )
        if task.video_id is not None and self.video_id not in (None, str(task.video_id)):
            given = f"it was given video {task.video_id} meanwhile"
            return f"Its runner worked on video {self.video_id}, and {given}."
        return None


def changed_request(read: Task, now: Task) -> str | None:
    """Why the result of a task, as it was read before that was fetched, is not what its row asks for now."""
    video = None if read.video_id is None else str(read.video_id)
    asked = RunRequest(None if read.type is TaskType.OTHER else read.type.value, video_id=video)
    if (words := asked.contradiction(now)) is not None:
        return words
    if read.type is TaskType.STUDIO and now.recording_id not in (None, read.recording_id):
        return f"The file of recording {now.recording_id} was replaced while it was worked on."
    return None


class TaskSource(TypedDict):
    """A task's key, type and source, as statements name them: its video, or its recording."""

    task: TaskPk
    type: str
    video: VideoId | None
    recording: RecordingId | None


def source_of(task: Task) -> TaskSource:
    """What a task works on."""
    is_studio = task.type is TaskType.STUDIO
    return TaskSource(
        task=task.pk,
        type=task.type_name,
        video=None if is_studio else task.video_id,
        recording=task.recording_id if is_studio else None,
    )


class StaleTasks(Struct, frozen=True):
    """Tasks that run for longer than ``reconcile.stale_after``, and those that wait for their sources."""

    tasks: tuple[TaskPk, ...] = ()
    waiting: tuple[TaskPk, ...] = ()


def no_import_words(task: Task) -> str:
    """Why a result of this task cannot be brought into Pod, in words."""
    return f"Its type {task.type_name!r} is not known, and it has no video: nothing can be made of a result."


def odd_status_words(number: int, example: TaskPk) -> str:
    """A sentence about so many tasks with a status that Pod does not have."""
    have, do = ("tasks have", "do") if number > 1 else ("task has", "does")
    return (
        f"{number} {have} a status that Pod does not have, and {do} not move (as task {example}): see "
        "'poddispatchd tasks list --status other', and restart or cancel them."
    )
