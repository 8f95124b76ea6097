"""A studio recording becomes exactly one video, made after its recorder."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from poddispatchd.domain.task import TaskType
from poddispatchd.errors import RaceLostError, ResultIncompleteError, ResultRefusedError
from poddispatchd.pod.imports import studio
from poddispatchd.sandbox.pod.schema import SchemaVariant
from poddispatchd.sandbox.pod.world import World, add_recording
from tests.integration.pod.imports.own import (
    NOW,
    column,
    encoded,
    importing,
    reserved_video_id,
    tree_of,
    value,
)
from tests.plugins.postgres import PodDatabase

both_variants = pytest.mark.parametrize("variant", list(SchemaVariant))

RESULT = {**encoded("studio_base"), "studio_base.mp4": b"the film", "presenter.webm": b"a track"}


@both_variants
async def test_a_recording_becomes_a_video_of_its_user(pod_database: PodDatabase, world: World) -> None:
    async with pod_database.connection() as connection:
        recording = await add_recording(
            connection, world, title="Séance n°1", owner="employee", recorder="full"
        )
        await connection.execute(
            "UPDATE recorder_recording SET comment = 'Start at …' WHERE id = $1", recording.id
        )
        await connection.execute(
            "INSERT INTO video_tagulous_video_tags (name, slug, count, protected)"
            " VALUES ('Algèbre', 'algebre', 4, FALSE)"
        )
    async with importing(pod_database, world, TaskType.STUDIO, RESULT, recording=recording) as task:
        outcome = await task.studio()
    async with pod_database.connection() as connection:
        row = await connection.fetchrow("SELECT * FROM video_video WHERE id = $1", outcome.video_id)
    assert row is not None
    assert (row["title"], row["title_fr"], row["title_en"]) == ("Séance n°1", "Séance n°1", None)
    assert row["slug"] == f"{outcome.video_id:04d}-seance-n1"
    assert row["owner_id"] == recording.owner.id
    assert (row["cursus"], row["main_lang"], row["transcript"], row["licence"]) == ("M", "fr", "fr", "by-nc")
    assert (row["password"], row["is_restricted"], row["is_draft"]) == ("sandbox", True, False)
    assert row["video"] == f"videos/{recording.owner.hashkey}/studio_base_2026-07-06_00-30-15.123456.mp4"
    assert row["date_delete"] == datetime(2026, 7, 6, tzinfo=UTC).date() + timedelta(days=730)
    assert row["encoding_in_progress"]
    folder = f"videos/{recording.owner.hashkey}/{outcome.video_id:04d}"
    files = tree_of(world.media_root)
    assert files[row["video"]] == b"the film"
    assert files[f"{folder}/presenter.webm"] == b"a track"
    assert f"{folder}/studio_base.mp4" not in files
    assert not any(path.startswith("tasks/") for path in files)
    for table, name in (
        ("video_video_sites", "site_id"),
        ("video_video_channel", "channel_id"),
        ("video_video_theme", "theme_id"),
        ("video_video_discipline", "discipline_id"),
        ("video_video_additional_owners", "user_id"),
    ):
        assert (
            len(
                await column(
                    pod_database, f"SELECT {name} FROM {table} WHERE video_id = $1", outcome.video_id
                )
            )
            == 1
        )
    counts = await column(
        pod_database, "SELECT name || ' ' || count FROM video_tagulous_video_tags ORDER BY name COLLATE \"C\""
    )
    assert counts == ["Algèbre 5", "première année 1"]
    log = await value(
        pod_database,
        "SELECT log FROM video_encode_transcript_encodinglog WHERE video_id = $1",
        outcome.video_id,
    )
    assert str(log).startswith("Start at …\n\n")
    assert outcome.chained_transcription is not None


async def test_where_pods_language_is_that_of_a_region_the_title_is_in_the_language(
    pod_database: PodDatabase, world: World
) -> None:
    async with pod_database.connection() as connection:
        recording = await add_recording(connection, world, title="Lecture")
    async with importing(
        pod_database, world, TaskType.STUDIO, RESULT, recording=recording, language="en-gb"
    ) as task:
        outcome = await task.studio()
    titles = await column(
        pod_database,
        "SELECT unnest(ARRAY[title, title_fr, title_en]) FROM video_video WHERE id = $1",
        outcome.video_id,
    )
    assert titles == ["Lecture", None, "Lecture"]


@pytest.mark.parametrize("known", [(), ("Maths", "maths")])
async def test_of_tags_that_differ_in_case_the_last_by_name_is_the_videos(
    pod_database: PodDatabase, world: World, known: tuple[str, ...]
) -> None:
    async with pod_database.connection() as connection:
        recording = await add_recording(connection, world, recorder="full")
        recorder = await connection.fetchval(
            "SELECT recorder_id FROM recorder_recording WHERE id = $1", recording.id
        )
        await connection.execute("DELETE FROM recorder_recorder_tags WHERE recorder_id = $1", recorder)
        for number, name in enumerate(("maths", "Maths", "MATHS")):
            await connection.execute(
                "WITH tag AS (INSERT INTO recorder_tagulous_recorder_tags (name, slug, count, protected)"
                " VALUES ($2, 'maths-' || $3, 1, FALSE) RETURNING id)"
                " INSERT INTO recorder_recorder_tags (recorder_id, tagulous_recorder_tags_id)"
                " SELECT $1, id FROM tag",
                recorder,
                name,
                str(number),
            )
        last = await connection.fetchval(
            "SELECT name FROM recorder_tagulous_recorder_tags WHERE name ILIKE 'maths' ORDER BY name DESC"
        )
        for number, name in enumerate(known):
            await connection.execute(
                "INSERT INTO video_tagulous_video_tags (name, slug, count, protected)"
                " VALUES ($1, 'known-' || $2, 4, FALSE)",
                name,
                str(number),
            )
    async with importing(pod_database, world, TaskType.STUDIO, RESULT, recording=recording) as task:
        outcome = await task.studio()
    tags = await column(
        pod_database,
        "SELECT tag.name FROM video_tagulous_video_tags AS tag"
        " JOIN video_video_tags AS link ON link.tagulous_video_tags_id = tag.id WHERE link.video_id = $1",
        outcome.video_id,
    )
    (tag,) = tags
    assert tag in (known or (last,))


async def test_an_import_that_died_anywhere_makes_one_video_in_the_end(
    pod_database: PodDatabase, world: World
) -> None:
    async with pod_database.connection() as connection:
        recording = await add_recording(connection, world)
    async with importing(pod_database, world, TaskType.STUDIO, RESULT, recording=recording) as task:
        video_id = await reserved_video_id(task.database)
        trees = []
        for minutes in (0, 5):
            staged = task.staged(NOW + timedelta(minutes=minutes))
            plan = await studio.prepare(staged, video_id=video_id, created_at=NOW)
            await asyncio.to_thread(plan.apply_files)
            trees.append(set(tree_of(world.media_root)))
        assert trees[0] == trees[1]
        async with task.database.transaction() as connection:
            await plan.write_rows(connection)
        with pytest.raises(RaceLostError):
            async with task.database.transaction() as connection:
                await plan.write_rows(connection)
    assert await column(pod_database, "SELECT id FROM video_video WHERE video LIKE '%studio_base%'") == [
        video_id
    ]


async def test_the_groups_of_a_recorder_are_found_by_their_name(
    pod_database: PodDatabase, world: World
) -> None:
    async with pod_database.connection() as connection:
        recording = await add_recording(connection, world, recorder="restricted")
    async with importing(pod_database, world, TaskType.STUDIO, RESULT, recording=recording) as task:
        outcome = await task.studio()
    names = await column(
        pod_database,
        "SELECT display_name FROM authentication_accessgroup AS g"
        " JOIN video_video_restrict_access_to_groups AS l ON l.accessgroup_id = g.id WHERE l.video_id = $1",
        outcome.video_id,
    )
    assert names == ["promotion"]
    assert outcome.warnings == ()


async def test_a_group_that_videos_do_not_know_leaves_the_video_restricted(
    pod_database: PodDatabase, world: World
) -> None:
    async with pod_database.connection() as connection:
        recording = await add_recording(connection, world, recorder="restricted")
        await connection.execute("UPDATE auth_group SET name = 'unknown'")
        await connection.execute("UPDATE recorder_recorder SET is_restricted = FALSE")
    async with importing(pod_database, world, TaskType.STUDIO, RESULT, recording=recording) as task:
        outcome = await task.studio()
    assert await value(pod_database, "SELECT is_restricted FROM video_video WHERE id = $1", outcome.video_id)
    assert "'unknown'" in outcome.warnings[0]


async def test_without_the_film_there_is_no_video(pod_database: PodDatabase, world: World) -> None:
    async with pod_database.connection() as connection:
        recording = await add_recording(connection, world)
    before = await column(pod_database, "SELECT id FROM video_video")
    files = {name: content for name, content in RESULT.items() if name != "studio_base.mp4"}
    async with importing(pod_database, world, TaskType.STUDIO, files, recording=recording) as task:
        with pytest.raises(ResultIncompleteError, match=r"studio_base\.mp4"):
            await task.studio()
    assert await column(pod_database, "SELECT id FROM video_video") == before


@pytest.mark.parametrize(("recorder", "owner"), [("bare", None), ("full", "faculty")])
async def test_a_user_without_owner_row_is_replaced_by_the_recorders(
    pod_database: PodDatabase, world: World, recorder: str, owner: str | None
) -> None:
    async with pod_database.connection() as connection:
        recording = await add_recording(connection, world, owner="ownerless", recorder=recorder)
    async with importing(pod_database, world, TaskType.STUDIO, RESULT, recording=recording) as task:
        if owner is None:
            with pytest.raises(ResultRefusedError, match="no Owner row"):
                await task.studio()
            return
        outcome = await task.studio()
    found = await value(pod_database, "SELECT owner_id FROM video_video WHERE id = $1", outcome.video_id)
    assert found == world.people[owner].id
    assert "recorder's user" in outcome.warnings[0]


async def test_a_user_without_owner_row_keeps_the_directory_of_earlier_videos(
    pod_database: PodDatabase, world: World
) -> None:
    ownerless = world.people["ownerless"].id
    async with pod_database.connection() as connection:
        recording = await add_recording(connection, world, owner="ownerless")
        await connection.execute(
            "UPDATE video_video SET video = $1 WHERE owner_id = $2", f"videos/{'ab' * 32}/x.mp4", ownerless
        )
    async with importing(pod_database, world, TaskType.STUDIO, RESULT, recording=recording) as task:
        outcome = await task.studio()
    async with pod_database.connection() as connection:
        row = await connection.fetchrow("SELECT * FROM video_video WHERE id = $1", outcome.video_id)
    assert row is not None
    assert row["owner_id"] == ownerless
    assert row["video"].startswith(f"videos/{'ab' * 32}/studio_base_")


async def test_a_title_goes_to_the_column_of_the_sites_language(
    pod_database: PodDatabase, world: World
) -> None:
    async with pod_database.connection() as connection:
        recording = await add_recording(connection, world, title="A session")
    async with importing(
        pod_database,
        world,
        TaskType.STUDIO,
        RESULT,
        recording=recording,
        language="en",
        use_transcription=False,
    ) as task:
        outcome = await task.studio()
    async with pod_database.connection() as connection:
        row = await connection.fetchrow("SELECT * FROM video_video WHERE id = $1", outcome.video_id)
    assert row is not None
    assert (row["title"], row["title_fr"], row["title_en"]) == ("A session", None, "A session")


async def test_an_older_pod_without_some_columns_and_tables_gets_its_video_too(
    pod_database: PodDatabase, world: World
) -> None:
    async with pod_database.connection() as connection:
        recording = await add_recording(connection, world, recorder="full")
        await connection.execute('ALTER TABLE video_video DROP COLUMN "order", DROP COLUMN date_evt')
        await connection.execute("DROP TABLE video_video_discipline")
    async with importing(pod_database, world, TaskType.STUDIO, RESULT, recording=recording) as task:
        outcome = await task.studio()
    assert await value(pod_database, "SELECT title FROM video_video WHERE id = $1", outcome.video_id)


async def test_a_result_that_says_it_failed_makes_no_video(pod_database: PodDatabase, world: World) -> None:
    async with pod_database.connection() as connection:
        recording = await add_recording(connection, world)
    info = json.loads(RESULT["info_video.json"]) | {"encode_result": False}
    files = RESULT | {"info_video.json": json.dumps(info).encode()}
    async with importing(pod_database, world, TaskType.STUDIO, files, recording=recording) as task:
        with pytest.raises(ResultRefusedError, match="failed"):
            await task.studio()
