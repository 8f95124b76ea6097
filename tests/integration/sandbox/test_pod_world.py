"""The seeded world is one that Pod could have made, in both variants."""

import pytest

from poddispatchd.domain.task import TaskStatus, TaskType
from poddispatchd.sandbox.pod.schema import SchemaVariant
from poddispatchd.sandbox.pod.world import World, add_finished_tasks, add_recording, add_task, add_video
from tests.plugins.postgres import PodDatabase

both_variants = pytest.mark.parametrize("variant", list(SchemaVariant))


@both_variants
async def test_every_reference_of_the_seeded_world_holds(pod_database: PodDatabase, world: World) -> None:
    async with pod_database.connection() as connection, connection.transaction():
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        foreign_keys = await connection.fetch(
            "SELECT conrelid::regclass::text AS source, confrelid::regclass::text AS target,"
            " quote_ident(attname) AS name FROM pg_constraint"
            " JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1] WHERE contype = 'f'"
        )
        dangling = [
            f"{key['source']}.{key['name']}"
            for key in foreign_keys
            if await connection.fetchval(
                f"SELECT EXISTS (SELECT FROM {key['source']} AS source WHERE {key['name']} IS NOT NULL"
                f" AND NOT EXISTS (SELECT FROM {key['target']} WHERE id = source.{key['name']}))"
            )
        ]
    assert len(foreign_keys) > 80
    assert not dangling


@both_variants
async def test_every_video_has_a_site_a_slug_and_its_source_but_the_lost_one(
    pod_database: PodDatabase, world: World
) -> None:
    async with pod_database.connection() as connection:
        rows = await connection.fetch(
            "SELECT id, video, slug, title, title_fr,"
            " (SELECT count(*) FROM video_video_sites WHERE video_id = video_video.id) AS sites"
            " FROM video_video"
        )
    videos = {video.id: video for video in world.videos.values()}
    assert {row["id"] for row in rows} == set(videos)
    for row in rows:
        video = videos[row["id"]]
        assert (row["video"], row["slug"], row["title"]) == (video.path, video.slug, video.title)
        assert row["title_fr"] == row["title"]
        assert row["slug"].startswith(f"{row['id']:04d}-")
        assert row["sites"] == 1
    lost = [name for name, video in world.videos.items() if not (world.media_root / video.path).is_file()]
    assert lost == ["missing"]


@both_variants
async def test_every_recording_lies_below_the_media_root_with_two_films(
    pod_database: PodDatabase, world: World
) -> None:
    async with pod_database.connection() as connection:
        sources = {row[0] for row in await connection.fetch("SELECT source_file FROM recorder_recording")}
    assert sources == {str(recording.source_file) for recording in world.recordings.values()}
    for recording in world.recordings.values():
        package = recording.source_file.read_text(encoding="utf-8")
        films = sorted(recording.source_file.parent.glob("*.mp4"))
        assert recording.source_file.is_relative_to(world.media_root)
        assert [film.name for film in films] == ["presentation_source.mp4", "presenter_source.mp4"]
        for film in films:
            address = f"{world.site.base_url(https=False)}/media/{film.relative_to(world.media_root)}"
            assert f"<url>{address}</url>" in package


@both_variants
async def test_an_encoded_video_has_its_files_where_its_rows_say(
    pod_database: PodDatabase, world: World
) -> None:
    async with pod_database.connection() as connection:
        rows = await connection.fetch(
            "SELECT source_file FROM video_encode_transcript_encodingvideo"
            " UNION ALL SELECT source_file FROM video_encode_transcript_encodingaudio"
            " UNION ALL SELECT source_file FROM video_encode_transcript_playlistvideo"
        )
    assert len(rows) == 4
    for row in rows:
        assert row["source_file"].startswith(f"{world.videos['encoded'].output_directory}/")
        assert (world.media_root / row["source_file"]).stat().st_size > 0


async def test_the_world_holds_one_of_every_class_of_priority(
    pod_database: PodDatabase, world: World
) -> None:
    async with pod_database.connection() as connection:
        priority = [
            row[0] for row in await connection.fetch("SELECT user_id FROM runner_manager_priority_user")
        ]
        affiliations = {
            row[0] for row in await connection.fetch("SELECT affiliation FROM authentication_owner")
        }
        without_owner = await connection.fetch(
            "SELECT id FROM auth_user WHERE id NOT IN (SELECT user_id FROM authentication_owner)"
        )
    assert priority == [world.people["priority"].id]
    assert {"student", "employee", "['student', 'staff']", ""} <= affiliations
    assert [row["id"] for row in without_owner] == [world.people["ownerless"].id]


async def test_a_task_is_added_as_pod_adds_one(pod_database: PodDatabase, world: World) -> None:
    async with pod_database.connection() as connection:
        encoding = await add_task(connection, TaskType.ENCODING, video=world.videos["plain"])
        studio = await add_task(connection, TaskType.STUDIO, recording=world.recordings["full"])
        running = await add_task(
            connection,
            TaskType.TRANSCRIPTION,
            video=world.videos["encoded"],
            status=TaskStatus.RUNNING,
            task_id="r-1",
            runner_manager=world.managers[0].id,
        )
        rows = {row["id"]: row for row in await connection.fetch("SELECT * FROM runner_manager_task")}
    assert (rows[encoding]["type"], rows[encoding]["status"]) == ("encoding", "pending")
    assert rows[encoding]["video_id"] == world.videos["plain"].id
    assert rows[encoding]["task_id"] is None
    assert rows[studio]["recording_id"] == world.recordings["full"].id
    assert rows[running]["runner_manager_id"] == world.managers[0].id
    assert rows[running]["task_id"] == "r-1"


async def test_two_videos_of_one_name_keep_their_own_files(pod_database: PodDatabase, world: World) -> None:
    async with pod_database.connection() as connection:
        one = await add_video(connection, world, title="Same", owner="student")
        two = await add_video(connection, world, title="Same", owner="student")
    assert one.path != two.path
    assert (world.media_root / one.path).is_file()
    assert (world.media_root / two.path).is_file()


async def test_recordings_added_later_get_packages_of_their_own(
    pod_database: PodDatabase, world: World
) -> None:
    async with pod_database.connection() as connection:
        added = await add_recording(connection, world, owner="priority")
    assert added.source_file not in {recording.source_file for recording in world.recordings.values()}
    assert added.owner == world.people["priority"]


async def test_a_long_history_is_added_in_one_statement(pod_database: PodDatabase, world: World) -> None:
    async with pod_database.connection() as connection:
        await add_finished_tasks(connection, world, 1000)
        assert await connection.fetchval("SELECT count(*) FROM runner_manager_task") == 1000


async def test_runner_managers_are_entered_for_the_first_site(
    pod_database: PodDatabase, world: World
) -> None:
    async with pod_database.connection() as connection:
        rows = await connection.fetch("SELECT name, url, site_id, is_active FROM runner_manager ORDER BY id")
    assert [row["name"] for row in rows] == ["first", "second"]
    assert {row["site_id"] for row in rows} == {world.site.id}
    assert "token-of-first" not in repr(world)
