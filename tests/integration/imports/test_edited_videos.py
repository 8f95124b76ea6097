"""What people change of a video, or of a task, in Pod while a runner works on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.imports.commit import ImportCommit
from poddispatchd.imports.preparation import Preparation
from poddispatchd.sandbox.pod.world import SampleVideo
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase
from tests.plugins.postgres import database_with_journal as pod_database

__all__ = ["pod_database"]


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root) as made:
        yield made


async def test_subtitles_are_stored_under_the_language_that_was_asked_for(here: Bench) -> None:
    """The owner chose another language meanwhile: French captions took the place of the English ones."""
    video = await here.video(transcript="fr")
    task = await here.ready(TaskType.TRANSCRIPTION, video=video)
    await here.submitted_by_us(task, parameters={"language": "fr"})
    await here.execute("UPDATE video_video SET transcript = 'en' WHERE id = $1", video.id)

    await here.import_due()

    assert await here.status(task) == "completed"
    stored = await here.value(
        "SELECT array_agg(lang::text) FROM completion_track WHERE video_id = $1", video.id
    )
    assert stored == ["fr"]


async def test_a_recording_that_a_task_was_given_instead_does_not_get_the_video_of_the_other_one(
    here: Bench,
) -> None:
    """Somebody's recording was published as that of another user."""
    recording, other = await here.recording(), await here.recording()
    task = await here.ready(TaskType.STUDIO, recording=recording)
    url = f"http://pod.example.org/media/{recording.source_file.relative_to(here.world.media_root)}"
    await here.submitted_by_us(task, source_url=url)
    await here.execute("UPDATE runner_manager_task SET recording_id = $2 WHERE id = $1", task, other.id)

    await here.import_due()

    assert await here.status(task) == "pending"
    [(state, _, words)] = await here.imports_of(task)
    assert (state, words) == (
        "failed",
        f"The file of recording {other.id} was replaced while it was worked on.",
    )
    assert await here.value("SELECT count(*) FROM video_video") == 0


async def test_a_result_is_not_imported_as_what_its_task_was_made_into_meanwhile(
    here: Bench,
) -> None:
    """The coordinates of an overview were published as the subtitles of a video."""
    video = await here.video()
    task = await here.ready(TaskType.ENCODING, video=video)
    await here.submitted_by_us(task, task_type="encoding", source_url=_url(video))
    await here.execute("UPDATE runner_manager_task SET type = 'transcription' WHERE id = $1", task)

    await here.import_due()

    assert await here.value("SELECT count(*) FROM completion_track") == 0
    words = "Its runner worked on it as encoding, and its type was changed to transcription meanwhile."
    assert await _runs_again(here, task, words)


async def test_a_video_that_a_task_was_given_instead_does_not_get_the_subtitles_of_the_other_one(
    here: Bench,
) -> None:
    """They are made of audio files, which have the same name for every video."""
    video, other = await here.video(encoded=True), await here.video(encoded=True)
    task = await here.ready(TaskType.TRANSCRIPTION, video=video)
    parameters = {"language": "fr", "video_id": video.id}
    await here.submitted_by_us(task, source_url=_url(video), parameters=parameters)
    await here.execute("UPDATE runner_manager_task SET video_id = $2 WHERE id = $1", task, other.id)

    await here.import_due()

    assert await here.value("SELECT count(*) FROM completion_track") == 0
    words = f"Its runner worked on video {video.id}, and it was given video {other.id} meanwhile."
    assert await _runs_again(here, task, words)


async def test_a_task_that_was_given_the_run_of_another_one_by_hand_does_not_get_its_result(
    here: Bench,
) -> None:
    other = await here.running(TaskType.ENCODING)
    video = await here.value("SELECT video_id FROM runner_manager_task WHERE id = $1", other)
    await here.submitted_by_us(other, parameters={"video_id": video})
    task = await here.running(TaskType.ENCODING)
    await here.end(other)
    await here.execute(
        "UPDATE runner_manager_task SET task_id = (SELECT task_id FROM runner_manager_task WHERE id = $2)"
        " WHERE id = $1",
        *(task, other),
    )
    await here.open_import(task)

    await here.import_due()

    assert await here.value("SELECT count(*) FROM video_encode_transcript_encodingvideo") == 0
    assert await here.status(task) == "pending"


@pytest.mark.parametrize("kind", [TaskType.ENCODING, TaskType.TRANSCRIPTION, TaskType.STUDIO])
@pytest.mark.parametrize("after", ["it was fetched", "its files were put in place"])
@pytest.mark.parametrize("what", ["source", "type"])
async def test_a_task_that_is_made_another_one_while_its_result_comes_in_is_not_completed_with_it(
    here: Bench, monkeypatch: pytest.MonkeyPatch, kind: TaskType, after: str, what: str
) -> None:
    """It was completed, and nobody had worked on what its row asks for."""
    task = await here.ready(kind)
    change = "type = CASE type WHEN 'encoding' THEN 'transcription' ELSE 'encoding' END"
    if what == "source" and kind is TaskType.STUDIO:
        change = f"recording_id = {(await here.recording()).id}"
    elif what == "source":
        change = f"video_id = {(await here.video()).id}"
    step = "commit" if after == "it was fetched" else "_write_rows_with_retries"
    go_on = getattr(ImportCommit, step)

    async def beaten(commits: ImportCommit, *arguments: object) -> object:
        await here.execute(f"UPDATE runner_manager_task SET {change} WHERE id = $1", task)
        return await go_on(commits, *arguments)

    monkeypatch.setattr(ImportCommit, step, beaten)
    videos, files = await here.value("SELECT count(*) FROM video_video"), here.files()

    await here.import_due()

    assert (await here.status(task), [state for state, *_ in await here.imports_of(task)]) == (
        "pending",
        ["failed"],
    )
    assert await here.value("SELECT count(*) FROM video_video") == videos
    assert await here.value("SELECT count(*) FROM video_encode_transcript_encodingvideo") == 0
    assert await here.value("SELECT count(*) FROM completion_track") == 0
    assert here.files() == files


@pytest.mark.parametrize("kind", [TaskType.ENCODING, TaskType.TRANSCRIPTION, TaskType.STUDIO])
@pytest.mark.parametrize("after", ["it was fetched", "its files were put in place"])
async def test_a_file_that_is_replaced_while_the_result_of_a_run_of_pods_comes_in_gets_one_of_its_own(
    here: Bench, monkeypatch: pytest.MonkeyPatch, kind: TaskType, after: str
) -> None:
    """Pod writes nowhere what it asked for: the result of the file before was published for the new one."""
    task = await here.ready(kind)
    table, column = ("recorder_recording", "source_file")
    if kind is not TaskType.STUDIO:
        table, column = ("video_video", "video")
    _meanwhile(
        monkeypatch, here, after, f"UPDATE {table} SET {column} = regexp_replace({column}, '[^/]*$', 'b')"
    )

    files = here.files()

    await here.import_due()

    assert (await here.status(task), [state for state, *_ in await here.imports_of(task)]) == (
        "pending",
        ["failed"],
    )
    assert here.files() == files


async def test_a_file_that_is_moved_while_the_result_is_put_in_place_is_not_worked_on_again(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pod moves it with its owner: the result is of this file, and goes to the new place another time."""
    task = await here.ready()
    change = "UPDATE video_video SET video = replace(video, 'videos/', 'videos/elsewhere/')"
    _meanwhile(monkeypatch, here, "its files were put in place", change)

    await here.import_due()

    assert (await here.status(task), [state for state, *_ in await here.imports_of(task)]) == (
        "running",
        ["dropped"],
    )


def _meanwhile(monkeypatch: pytest.MonkeyPatch, here: Bench, after: str, change: str) -> None:
    """Let somebody change something in Pod between two steps of an import."""
    steps: dict[str, tuple[type, str]] = {
        "it was fetched": (Preparation, "prepare"),
        "its files were put in place": (ImportCommit, "_write_rows_with_retries"),
    }
    owner, step = steps[after]
    go_on = getattr(owner, step)

    async def beaten(*arguments: object) -> object:
        await here.execute(change)
        return await go_on(*arguments)

    monkeypatch.setattr(owner, step, beaten)


def _url(video: SampleVideo) -> str:
    return f"http://pod.example.org/media/{video.path}"


async def _runs_again(here: Bench, task: TaskPk, words: str) -> bool:
    """Whether a task waits for another run, for this reason."""
    [(state, _, reason)] = await here.imports_of(task)
    return (await here.status(task), state, reason) == ("pending", "failed", words)
