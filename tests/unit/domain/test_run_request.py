"""What a run was asked to do, against the row of its task."""

import json
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


def _request(**told: object) -> RunRequest:
    return RunRequest.of_body(json.dumps(told).encode())


@pytest.mark.parametrize("video", [7, "7"])
def test_what_the_row_still_asks_for_is_no_contradiction(video: object) -> None:
    request = _request(
        task_type="encoding", source_url="http://pod/media/a.mp4", parameters={"video_id": video}
    )
    assert request.contradiction(_task()) is None


def test_all_that_a_result_is_compared_with_is_read_from_the_bytes_that_were_posted() -> None:
    request = _request(
        task_type="transcription",
        source_url="http://pod/media/a.mp4",
        notify_url="http://pod/runner/notify_task_end/",
        parameters={"language": "fr", "video_id": 7},
    )
    assert request == RunRequest("transcription", "http://pod/media/a.mp4", "fr", "7")


def test_what_was_not_said_contradicts_nothing() -> None:
    request = _request(etab_name="University")
    assert request == RunRequest()
    assert request.contradiction(_task()) is None


def test_another_type_and_another_video_do() -> None:
    request = _request(task_type="encoding", parameters={"video_id": 8})
    assert request.contradiction(_task(TaskType.TRANSCRIPTION)) == (
        "Its runner worked on it as encoding, and its type was changed to transcription meanwhile."
    )
    assert (
        request.contradiction(_task()) == "Its runner worked on video 8, and it was given video 7 meanwhile."
    )


def test_a_type_that_nobody_knows_is_imported_as_pod_does() -> None:
    assert _request(task_type="encoding").contradiction(_task(TaskType.OTHER)) is None


def test_a_recording_has_no_number_of_a_video() -> None:
    assert _request(task_type="studio").contradiction(_task(TaskType.STUDIO, video=None)) is None
