"""What a run was asked to do, against what its task's row says by now."""

import json
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from poddispatchd.domain.task import SUBMITTABLE, Task, TaskType

_MOST_DIGITS = 19
"""Of a primary key."""


class RunRequest(Struct, frozen=True):
    """What a runner was asked for. What is None nobody knows: it contradicts nothing.

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
    def of(
        cls, task_type: object, source_url: object, parameters: Mapping[str, object] | None
    ) -> "RunRequest":
        """What a request says, or a manager's record of it, in which anything may stand."""
        told = parameters or {}
        kind, number = _text(task_type), str(told.get("video_id", ""))
        return cls(
            kind if kind in SUBMITTABLE else None,
            _text(source_url),
            _text(told.get("language")),
            number if number.isdecimal() and len(number) <= _MOST_DIGITS else None,
        )

    @classmethod
    def of_body(cls, body: bytes) -> "RunRequest":
        """What a submission of ours says."""
        told: dict[str, Any] = json.loads(body)
        return cls.of(told.get("task_type"), told.get("source_url"), told.get("parameters"))

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


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
