"""Encodings are imported whole, once, and without harm to what can be watched."""

import asyncio
from datetime import timedelta

import pytest

from poddispatchd.domain.task import TaskType
from poddispatchd.errors import (
    RaceLostError,
    ResultError,
    ResultIncompleteError,
    ResultRefusedError,
    SchemaError,
    SourceReplacedError,
)
from poddispatchd.pod.imports import encoding
from poddispatchd.pod.media.directory import Directory
from poddispatchd.pod.media.opened import File
from poddispatchd.pod.media.tree import OURS
from poddispatchd.sandbox.pod.schema import SchemaVariant
from poddispatchd.sandbox.pod.world import World, add_encodings
from tests.integration.pod.imports.own import NOW, PNG, column, encoded, importing, stage, tree_of, value
from tests.plugins.postgres import PodDatabase

both_variants = pytest.mark.parametrize("variant", list(SchemaVariant))


@both_variants
async def test_an_encoded_video_can_be_watched(pod_database: PodDatabase, world: World) -> None:
    video = world.videos["plain"]
    async with importing(pod_database, world, TaskType.ENCODING, encoded(), video=video) as task:
        outcome = await task.encoding()
    folder = video.output_directory
    assert outcome.video_id == video.id
    assert outcome.warnings == ()
    assert await column(
        pod_database,
        "SELECT source_file FROM video_encode_transcript_encodingvideo WHERE video_id = $1 ORDER BY 1",
        video.id,
    ) == [f"{folder}/360p_a.mp4", f"{folder}/360p_a.ts"]
    assert await column(
        pod_database,
        "SELECT name || ' ' || source_file FROM video_encode_transcript_playlistvideo"
        " WHERE video_id = $1 ORDER BY 1",
        video.id,
    ) == [f"360p {folder}/360p_a.m3u8", f"playlist {folder}/playlist.m3u8"]
    async with pod_database.connection() as connection:
        row = await connection.fetchrow("SELECT * FROM video_video WHERE id = $1", video.id)
    assert row is not None
    assert (row["duration"], row["is_video"], row["encoding_in_progress"]) == (8, True, False)
    assert row["overview"] == f"{folder}/overview.vtt"
    assert (row["title"], row["slug"]) == (video.title, video.slug)
    image = await value(
        pod_database,
        f"SELECT file FROM {pod_database.variant.custom_image} WHERE id = $1",
        row["thumbnail_id"],
    )
    files = tree_of(world.media_root)
    assert files[str(image)] == PNG
    assert files[f"{folder}/playlist.m3u8"].endswith(b"RESOLUTION=640x360\n360p_a.m3u8\n")
    assert files[f"{folder}/encoding.log"] == b"log of the runner\n\n\nEnd : Mon Jul  6 00:30:15 2026"
    log = await value(
        pod_database, "SELECT log FROM video_encode_transcript_encodinglog WHERE video_id = $1", video.id
    )
    assert str(log).endswith("End : Mon Jul  6 00:30:15 2026")
    assert f"{world.media_root}/{folder}/360p_a.mp4" in str(log)


@both_variants
async def test_a_new_encoding_replaces_every_row_and_file_of_the_old_one(
    pod_database: PodDatabase, world: World
) -> None:
    video = world.videos["plain"]
    async with pod_database.connection() as connection:
        await add_encodings(connection, world, video)
    async with importing(pod_database, world, TaskType.ENCODING, encoded(), video=video) as task:
        await task.encoding()
    tables = ("encodingvideo", "encodingaudio", "playlistvideo")
    named = [
        path
        for table in tables
        for path in await column(
            pod_database,
            f"SELECT source_file FROM video_encode_transcript_{table} WHERE video_id = $1",
            video.id,
        )
    ]
    assert len(named) == 5
    folder = world.media_root / video.output_directory
    present = {f"{video.output_directory}/{name}" for name in tree_of(folder)}
    assert set(named) <= present
    assert not {path for path in present if path.endswith(("720p.mp4", "/360p.mp4", "192k.mp3"))}
    assert (world.media_root / video.path).is_file()


async def test_a_result_that_is_not_whole_touches_nothing(pod_database: PodDatabase, world: World) -> None:
    video = world.videos["encoded"]
    files = encoded()
    del files["360p_a.ts"], files["audio_192k_a.mp3"]
    before = tree_of(world.media_root)
    async with importing(pod_database, world, TaskType.ENCODING, files, video=video) as task:
        with pytest.raises(ResultIncompleteError) as caught:
            await task.encoding()
        staged = {f"{task.staging.relative}/{name}" for name in files}
    assert len(caught.value.findings) == 2
    after = tree_of(world.media_root)
    assert {path: content for path, content in after.items() if path not in staged} == before


@both_variants
async def test_an_import_that_died_after_its_files_is_redone_without_a_trace(
    pod_database: PodDatabase, world: World
) -> None:
    video = world.videos["plain"]
    async with importing(pod_database, world, TaskType.ENCODING, encoded(), video=video) as task:
        plan = await encoding.prepare(task.staged())
        await asyncio.to_thread(plan.apply_files)
        first = set(tree_of(world.media_root))
        again = await encoding.prepare(task.staged(NOW + timedelta(minutes=5)))
        await asyncio.to_thread(again.apply_files)
        assert set(tree_of(world.media_root)) == first
        await task.encoding()
    assert (
        await value(
            pod_database, f"SELECT count(*) FROM {pod_database.variant.custom_image} WHERE file LIKE '%a_0%'"
        )
        == 1
    )


async def test_an_import_that_died_among_its_files_is_redone(
    pod_database: PodDatabase, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = world.videos["plain"]
    rename, placed = Directory.rename, 0

    def dies(directory: Directory, name: str, into: Directory, new: str) -> None:
        nonlocal placed
        placed += 1
        if placed == 4:
            raise KeyboardInterrupt
        rename(directory, name, into, new)

    async with importing(pod_database, world, TaskType.ENCODING, encoded(), video=video) as task:
        plan = await encoding.prepare(task.staged())
        with monkeypatch.context() as patched:
            patched.setattr(Directory, "rename", dies)
            with pytest.raises(KeyboardInterrupt):
                plan.apply_files()
        await task.encoding()
    # What the first attempt left under names of its own, the next one of a daemon deletes.
    there = tree_of(world.media_root / video.output_directory)
    assert {name for name in there if not name.startswith(f".{OURS}")} == {*encoded(), "playlist.m3u8"}


@both_variants
async def test_a_thumbnail_whose_name_is_taken_gets_the_same_other_name_every_time(
    pod_database: PodDatabase, world: World
) -> None:
    video = world.videos["plain"]
    other = world.videos["shared"]
    async with importing(pod_database, world, TaskType.ENCODING, encoded(), video=other) as task:
        await task.encoding()
    async with importing(
        pod_database, world, TaskType.ENCODING, encoded(thumbnail=PNG + b"another"), video=video
    ) as task:
        names = {(await encoding.prepare(task.staged())).encoded.thumbnail for _ in range(2)}
        await task.encoding()
    (name,) = names
    assert name is not None
    assert (world.media_root / name).read_bytes() == PNG + b"another"
    assert name.rpartition("_")[0].endswith("/a_0")


async def test_a_thumbnail_lies_where_this_pod_keeps_its_files(
    pod_database: PodDatabase, world: World
) -> None:
    video = world.videos["plain"]
    async with importing(
        pod_database, world, TaskType.ENCODING, encoded(), video=video, files_dir="documents"
    ) as task:
        thumbnail = (await encoding.prepare(task.staged())).encoded.thumbnail
        await task.encoding()
    assert thumbnail is not None
    assert thumbnail.startswith("documents/")
    assert (world.media_root / thumbnail).read_bytes() == PNG


async def test_the_folder_of_a_video_follows_it(pod_database: PodDatabase, world: World) -> None:
    """Of two that begin with its number it is the first by name, and the one who shared it before is out."""
    video = world.videos["shared"]
    async with pod_database.connection() as connection:
        for title in ("the-other", "an-older-title"):
            folder = await connection.fetchval(
                "INSERT INTO podfile_userfolder (name, owner_id, created_at)"
                " VALUES ($1, $2, now()) RETURNING id",
                f"{video.id:04d}-{title}",
                world.people["student"].id,
            )
        for name in ("helper", "several"):
            await connection.execute(
                "INSERT INTO podfile_userfolder_users (userfolder_id, user_id) VALUES ($1, $2)",
                folder,
                world.people[name].id,
            )
    async with importing(pod_database, world, TaskType.ENCODING, encoded(), video=video) as task:
        await task.encoding()
    async with pod_database.connection() as connection:
        folders = await connection.fetch(
            "SELECT * FROM podfile_userfolder WHERE name LIKE $1 ORDER BY id DESC", f"{video.id:04d}-%"
        )
    assert [(each["name"], each["owner_id"]) for each in folders] == [
        (video.slug, video.owner.id),
        (f"{video.id:04d}-the-other", world.people["student"].id),
    ]
    users = await column(
        pod_database,
        "SELECT user_id FROM podfile_userfolder_users WHERE userfolder_id = $1",
        folders[0]["id"],
    )
    assert sorted(map(str, users)) == sorted(str(world.people[name].id) for name in ("helper", "faculty"))


async def test_a_video_to_be_transcribed_gets_one_transcription(
    pod_database: PodDatabase, world: World
) -> None:
    video = world.videos["encoded"]
    query = "SELECT status FROM runner_manager_task WHERE type = 'transcription' AND video_id = $1"
    for _ in range(2):
        async with importing(pod_database, world, TaskType.ENCODING, encoded(), video=video) as task:
            outcome = await task.encoding()
        assert await column(pod_database, query, video.id) == ["pending"]
    assert outcome.chained_transcription is None
    assert await value(pod_database, "SELECT encoding_in_progress FROM video_video WHERE id = $1", video.id)
    assert (
        await value(
            pod_database,
            "SELECT num_step FROM video_encode_transcript_encodingstep WHERE video_id = $1",
            video.id,
        )
        == 5
    )


@pytest.mark.parametrize("reason", ["no audio", "switched off", "legacy value"])
async def test_a_video_is_not_transcribed_without_need(
    pod_database: PodDatabase, world: World, reason: str
) -> None:
    video = world.videos["encoded"]
    if reason == "legacy value":
        async with pod_database.connection() as connection:
            await connection.execute("UPDATE video_video SET transcript = '1' WHERE id = $1", video.id)
    async with importing(
        pod_database,
        world,
        TaskType.ENCODING,
        encoded(audio=reason != "no audio"),
        video=video,
        use_transcription=reason != "switched off",
    ) as task:
        outcome = await task.encoding()
    assert outcome.chained_transcription is None
    assert not await value(
        pod_database, "SELECT encoding_in_progress FROM video_video WHERE id = $1", video.id
    )


@both_variants
async def test_files_of_a_video_that_changed_hands_stay_beside_it_and_its_thumbnail_goes_to_the_new_owner(
    pod_database: PodDatabase, world: World
) -> None:
    """Pod looks for the files in the directory of the new owner, where they are not, and imports nothing."""
    video, new_owner = world.videos["plain"], world.people["faculty"]
    assert video.owner.id != new_owner.id
    async with pod_database.connection() as connection:
        await connection.execute("UPDATE video_video SET owner_id = $2 WHERE id = $1", video.id, new_owner.id)
        hashkey = await connection.fetchval(
            "SELECT hashkey FROM authentication_owner WHERE user_id = $1", new_owner.id
        )
    assert hashkey not in video.path
    async with importing(pod_database, world, TaskType.ENCODING, encoded(), video=video) as task:
        await task.encoding()
    named = await column(
        pod_database,
        "SELECT source_file FROM video_encode_transcript_encodingvideo WHERE video_id = $1 ORDER BY 1",
        video.id,
    )
    assert named == [f"{video.output_directory}/360p_a.mp4", f"{video.output_directory}/360p_a.ts"]
    async with pod_database.connection() as connection:
        image = await connection.fetchrow(
            f"SELECT image.* FROM {pod_database.variant.custom_image} AS image"
            " JOIN video_video AS video ON video.thumbnail_id = image.id WHERE video.id = $1",
            video.id,
        )
    assert image is not None
    assert (world.media_root / image["file"]).read_bytes() == PNG
    if pod_database.variant is SchemaVariant.PODFILE:
        assert image["file"] == f"files/{hashkey}/a_0.png"
        assert image["created_by_id"] == new_owner.id


async def test_an_owner_without_an_owner_row_is_no_obstacle(pod_database: PodDatabase, world: World) -> None:
    video = world.videos["ownerless"]
    async with importing(pod_database, world, TaskType.ENCODING, encoded(), video=video) as task:
        await task.encoding()
    assert (world.media_root / video.output_directory / "360p_a.mp4").is_file()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("DELETE FROM video_video_sites; DELETE FROM video_video", RaceLostError),
        ("UPDATE video_video SET video = 'videos/x/other.mp4'", SourceReplacedError),
    ],
)
async def test_a_video_that_changed_meanwhile_is_left_alone(
    pod_database: PodDatabase, world: World, change: str, error: type[Exception]
) -> None:
    video = world.videos["plain"]
    async with importing(pod_database, world, TaskType.ENCODING, encoded(), video=video) as task:
        plan = await encoding.prepare(task.staged())
        async with pod_database.connection() as connection:
            await connection.execute("SET session_replication_role = replica")
            await connection.execute(change)
        with pytest.raises(error):
            async with task.database.transaction() as transaction:
                await plan.write_rows(transaction)


async def test_a_task_whose_video_is_gone_is_refused(pod_database: PodDatabase, world: World) -> None:
    video = world.videos["plain"]
    async with importing(pod_database, world, TaskType.ENCODING, encoded(), video=video) as task:
        async with pod_database.connection() as connection:
            await connection.execute("SET session_replication_role = replica")
            await connection.execute("DELETE FROM video_video WHERE id = $1", video.id)
        with pytest.raises(ResultRefusedError, match="does not exist any more"):
            await task.encoding()


async def test_a_newer_pod_is_left_alone(pod_database: PodDatabase, world: World) -> None:
    video = world.videos["plain"]
    async with pod_database.connection() as connection:
        await connection.execute(
            "ALTER TABLE video_encode_transcript_playlistvideo ADD COLUMN codec varchar(10) NOT NULL"
            " DEFAULT ''; ALTER TABLE video_encode_transcript_playlistvideo ALTER COLUMN codec DROP DEFAULT"
        )
    before = tree_of(world.media_root)
    async with importing(pod_database, world, TaskType.ENCODING, encoded(), video=video) as task:
        with pytest.raises(SchemaError, match="codec"):
            await task.encoding()
        assert set(tree_of(world.media_root)) - set(before) == {
            f"{task.staging.relative}/{name}" for name in encoded()
        }


async def test_a_result_without_a_log_keeps_the_one_in_place(pod_database: PodDatabase, world: World) -> None:
    video = world.videos["plain"]
    folder = world.media_root / video.output_directory
    stage(folder, {"encoding.log": b"Start at : yesterday"})
    files = encoded()
    del files["encoding.log"]
    async with importing(pod_database, world, TaskType.ENCODING, files, video=video) as task:
        await task.encoding()
    assert (folder / "encoding.log").read_bytes() == b"Start at : yesterday\n\nEnd : Mon Jul  6 00:30:15 2026"


async def test_only_files_of_the_very_video_are_ever_obsolete(
    pod_database: PodDatabase, world: World
) -> None:
    video, other = world.videos["plain"], world.videos["encoded"]
    async with pod_database.connection() as connection:
        rendition = world.renditions["1280x720"]
        for path in (video.path, f"{other.output_directory}/720p.mp4", "../outside.mp4", "/etc/passwd"):
            await connection.execute(
                "INSERT INTO video_encode_transcript_encodingvideo"
                " (name, encoding_format, source_file, rendition_id, video_id)"
                " VALUES ('720p', 'video/mp4', $1, $2, $3)",
                path,
                rendition,
                video.id,
            )
    async with importing(pod_database, world, TaskType.ENCODING, encoded(), video=video) as task:
        outcome = await task.encoding()
    assert outcome.obsolete_files == ()
    assert (world.media_root / other.output_directory / "720p.mp4").is_file()


async def test_a_full_disk_leaves_the_old_encoding(
    pod_database: PodDatabase, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = world.videos["encoded"]
    folder = world.media_root / video.output_directory
    before = tree_of(folder)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async with importing(pod_database, world, TaskType.ENCODING, encoded(), video=video) as task:
        plan = await encoding.prepare(task.staged())
        monkeypatch.setattr(File, "sync", refuse)
        with pytest.raises(ResultError, match="No space left"):
            plan.apply_files()
    assert tree_of(folder) == before
