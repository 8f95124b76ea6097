"""The owner of a video replaces its file while a runner works on the one before."""

import os

from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.sandbox.fake_runner_manager import Behaviour
from tests.acceptance.rig import Rig

_ENDS_WHEN_TOLD = Behaviour(seconds=10_000)


async def _replace_file(rig: Rig, task: TaskPk, name: str) -> str:
    """As Pod's form does: the new file beside the old one, which goes."""
    [row] = await rig.fetch(
        "SELECT video.id, video.video FROM runner_manager_task AS task"
        " JOIN video_video AS video ON video.id = task.video_id WHERE task.id = $1",
        task,
    )
    old = rig.world.media_root / str(row["video"])
    new = old.with_name(name)
    new.write_bytes(old.read_bytes())
    old.unlink()
    path = str(new.relative_to(rig.world.media_root))
    await rig.execute("UPDATE video_video SET video = $2 WHERE id = $1", row["id"], path)
    return path


async def _imported_once(rig: Rig) -> None:
    assert set((await rig.statuses()).values()) == {"completed"}
    imported = await rig.fetch("SELECT count(*) FROM poddispatchd.import WHERE state = 'done'")
    assert imported == [{"count": 1}]


async def test_what_was_made_of_the_old_file_is_not_imported_for_the_new_one(rig: Rig) -> None:
    """Viewers saw the old film under the new video, and whoever had replaced it was told that it was done."""
    rig.set("reconcile", retry_wait="1s")
    rig.manager.faults.behaviours.append(_ENDS_WHEN_TOLD)
    daemon = await rig.start()
    [task] = await rig.add(TaskType.ENCODING)
    await daemon.event("task.submitted", task=task)
    [first] = rig.manager.tasks
    path = await _replace_file(rig, task, "the-new-film.mp4")
    await rig.manager.finish(first, behaviour=Behaviour())

    again = await daemon.event("import.failed", task=task)
    await daemon.event("task.completed", task=task)

    assert (again["outcome"], again["reason"]) == (
        "resubmitted",
        "The file of video 1 was replaced while it was worked on.",
    )
    [_, second] = rig.manager.tasks.values()
    assert second.submission.source_url.endswith(f"/media/{path}")
    files = await rig.fetch("SELECT source_file FROM video_encode_transcript_encodingvideo")
    assert files
    assert all("the-new-film" in str(row["source_file"]) for row in files)
    await _imported_once(rig)


async def test_a_file_that_was_replaced_under_its_own_name_is_told_by_its_size(rig: Rig) -> None:
    """Copied over by an administrator: what viewers saw stayed that of the old film."""
    rig.set("reconcile", retry_wait="1s")
    rig.manager.faults.behaviours.append(_ENDS_WHEN_TOLD)
    daemon = await rig.start()
    [task] = await rig.add(TaskType.ENCODING)
    await daemon.event("task.submitted", task=task)
    [first] = rig.manager.tasks
    [row] = await rig.fetch("SELECT video FROM video_video")
    source = rig.world.media_root / str(row["video"])
    source.write_bytes(source.read_bytes() + b"another film")
    await rig.manager.finish(first, behaviour=Behaviour())

    again = await daemon.event("import.failed", task=task)
    await daemon.event("task.completed", task=task)

    assert (again["outcome"], again["reason"]) == (
        "resubmitted",
        "The file of video 1 was replaced while it was worked on.",
    )
    assert len(rig.manager.tasks) == 2
    await _imported_once(rig)


async def test_a_file_that_was_only_touched_is_the_same_and_so_is_one_that_is_gone(rig: Rig) -> None:
    """Its time changes when the tree moves to another disk, and whoever keeps originals on tape has none."""
    rig.manager.faults.behaviours += [_ENDS_WHEN_TOLD] * 2
    daemon = await rig.start()
    tasks = await rig.add(TaskType.ENCODING, TaskType.ENCODING)
    for task in tasks:
        await daemon.event("task.submitted", task=task)
    touched, gone = await rig.fetch("SELECT video FROM video_video ORDER BY id")
    os.utime(rig.world.media_root / str(touched["video"]), (1, 1))
    (rig.world.media_root / str(gone["video"])).unlink()
    for run in list(rig.manager.tasks):
        await rig.manager.finish(run, behaviour=Behaviour())

    for task in tasks:
        await daemon.event("task.completed", task=task)

    assert len(rig.manager.tasks) == 2


async def test_a_file_that_only_moved_with_its_owner_is_the_same(rig: Rig) -> None:
    rig.manager.faults.behaviours.append(_ENDS_WHEN_TOLD)
    daemon = await rig.start()
    [task] = await rig.add(TaskType.ENCODING)
    await daemon.event("task.submitted", task=task)
    [row] = await rig.fetch("SELECT id, video FROM video_video")
    old = rig.world.media_root / str(row["video"])
    new = rig.world.media_root / "videos" / ("f" * 64) / old.name
    new.parent.mkdir()
    old.rename(new)
    path = str(new.relative_to(rig.world.media_root))
    await rig.execute("UPDATE video_video SET video = $2 WHERE id = $1", row["id"], path)
    [first] = rig.manager.tasks
    await rig.manager.finish(first, behaviour=Behaviour())

    await daemon.event("task.completed", task=task)

    assert len(rig.manager.tasks) == 1
    await _imported_once(rig)


async def test_audio_that_an_administrator_has_put_beside_the_file_is_transcribed(rig: Rig) -> None:
    """It was taken for an earlier file of the video: three runs, and the task failed."""
    rig.set("reconcile", retry_wait="1s")
    [task] = await rig.add(TaskType.TRANSCRIPTION)
    [row] = await rig.fetch("SELECT id, video FROM video_video")
    audio = (rig.world.media_root / str(row["video"])).with_name("given-by-hand.mp3")
    audio.write_bytes(b"ID3")
    await rig.execute(
        "INSERT INTO video_encode_transcript_encodingaudio (video_id, name, encoding_format, source_file)"
        " VALUES ($1, 'audio', 'audio/mp3', $2)",
        row["id"],
        str(audio.relative_to(rig.world.media_root)),
    )
    daemon = await rig.start()

    await daemon.event("task.completed", task=task)

    [run] = rig.manager.tasks.values()
    assert run.submission.source_url.endswith("/given-by-hand.mp3")
    await _imported_once(rig)
