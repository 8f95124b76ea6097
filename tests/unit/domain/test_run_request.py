"""What a run was asked to do, against the row of its task."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from poddispatchd.domain.task import RunRequest, Task, TaskPk, TaskStatus, TaskType, VideoId


def _task(kind: TaskType = TaskType.ENCODING, *, video: int | None = 7) -> Task:
    return Task(
        pk=TaskPk(1),
        type=kind,
        status=TaskStatus.RUNNING,
        task_id=None,
        runner_manager_id=None,
        video_id=None if video is None else VideoId(video),
        recording_id=None,
        date_added=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize("video", [7, "7"])
def test_what_the_row_still_asks_for_is_no_contradiction(video: object) -> None:
    assert (
        RunRequest.of("encoding", "http://pod/media/a.mp4", {"video_id": video}).contradiction(_task())
        is None
    )


@pytest.mark.parametrize(
    ("told", "parameters"),
    [
        (None, None),
        ("", {}),
        ("dance", {"video_id": None}),
        (7, {"video_id": [7]}),
        ("x" * 9999, {"video_id": "8" * 99}),
    ],
)
def test_what_is_not_known_contradicts_nothing(told: object, parameters: Mapping[str, object] | None) -> None:
    request = RunRequest.of(told, None, parameters)
    assert request == RunRequest()
    assert request.contradiction(_task()) is None


def test_another_type_and_another_video_do() -> None:
    request = RunRequest.of("encoding", None, {"video_id": 8})
    assert request.contradiction(_task(TaskType.TRANSCRIPTION)) == (
        "Its runner worked on it as encoding, and its type was changed to transcription meanwhile."
    )
    assert (
        request.contradiction(_task()) == "Its runner worked on video 8, and it was given video 7 meanwhile."
    )


def test_a_type_that_nobody_knows_is_imported_as_pod_does() -> None:
    assert RunRequest.of("encoding", None, {}).contradiction(_task(TaskType.OTHER)) is None


def test_a_recording_has_no_number_of_a_video() -> None:
    assert RunRequest.of("studio", None, {}).contradiction(_task(TaskType.STUDIO, video=None)) is None
