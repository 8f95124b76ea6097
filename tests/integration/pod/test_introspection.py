import pytest

from poddispatchd.errors import SchemaError
from poddispatchd.pod.capabilities import introspect
from poddispatchd.pod.managers import runner_managers
from poddispatchd.sandbox.pod.schema import SchemaVariant
from tests.integration.pod.rows import manager, opened, site
from tests.plugins.postgres import PodDatabase
from tests.plugins.shared_world import SharedWorldFactory
from tests.shared import SHARED


@pytest.mark.parametrize("variant", list(SchemaVariant))
async def test_the_variant_is_read_from_where_thumbnails_point(
    pod_database: PodDatabase, variant: SchemaVariant
) -> None:
    async with opened(pod_database) as database:
        found = await introspect(database)
    assert found.podfile is (variant is SchemaVariant.PODFILE)
    assert (found.image_table, found.file_table) == (variant.custom_image, variant.custom_file)
    assert found.has_is_active
    assert found.priority_user_table == "runner_manager_priority_user"
    assert found.title_languages == ("en", "fr")
    assert found.unknown_columns == {}
    assert "video_video_tags" in found.m2m_tables
    assert all(line.endswith(".") for line in found.describe())
    found.check_insert("video_video", "completion_track")


@pytest.mark.parametrize("variant", ["podfile", "nopodfile"] if SHARED else [])
async def test_a_recorded_pod_has_all_that_is_needed(shared_world: SharedWorldFactory, variant: str) -> None:
    world = await shared_world(variant)
    async with opened(world.database) as database:
        found = await introspect(database)
    assert found.podfile is (variant == "podfile")
    assert found.watermark_table == "podfile_customimagemodel"
    assert found.unknown_columns == {}


@pytest.mark.parametrize("name", ["runner_manager_priorityuser", "video_encode_transcript_priorityuser"])
async def test_priority_users_are_found_whatever_their_table_is_called(
    pod_database: PodDatabase, name: str
) -> None:
    async with pod_database.connection() as connection:
        await connection.execute(f"ALTER TABLE runner_manager_priority_user RENAME TO {name}")
    async with opened(pod_database) as database:
        assert (await introspect(database)).priority_user_table == name


async def test_an_older_pod_without_priorities_and_activation_is_fine(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection:
        await manager(connection, await site(connection, "pod.example.org"), name="only", is_active=False)
        await connection.execute(
            """
            ALTER TABLE runner_manager DROP COLUMN is_active;
            DROP TABLE runner_manager_priority_user;
            """
        )
    async with opened(pod_database) as database:
        found = await introspect(database)
        [only] = await runner_managers(database)
    assert not found.has_is_active
    assert found.priority_user_table is None
    assert only.is_active


async def test_everything_that_is_missing_is_named_at_once(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection:
        await connection.execute(
            """
            DROP TABLE cut_cutvideo;
            ALTER TABLE runner_manager_task DROP COLUMN rank;
            ALTER TABLE video_video DROP COLUMN thumbnail_id;
            """
        )
    async with opened(pod_database) as database:
        with pytest.raises(SchemaError) as raised:
            await introspect(database)
    for name in ("cut_cutvideo", "runner_manager_task.rank", "video_video.thumbnail_id", "search_path"):
        assert name in str(raised.value)


async def test_an_empty_database_is_refused_in_words(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection:
        await connection.execute("CREATE SCHEMA elsewhere; DROP TABLE runner_manager_task")
        await connection.execute(f'ALTER DATABASE "{pod_database.name}" SET search_path = elsewhere')
    async with opened(pod_database) as database:
        with pytest.raises(SchemaError, match=r"missing tables: .*video_video"):
            await introspect(database)


async def test_a_newer_pod_is_refused_only_where_it_wants_an_unknown_value(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection:
        await connection.execute(
            """
            ALTER TABLE video_video ADD COLUMN mood text NOT NULL;
            ALTER TABLE video_video ADD COLUMN hue text NOT NULL DEFAULT 'blue';
            ALTER TABLE video_video ADD COLUMN note text;
            """
        )
    async with opened(pod_database) as database:
        found = await introspect(database)
    assert found.unknown_columns == {"video_video": ("mood",)}
    found.check_insert("completion_track")
    with pytest.raises(SchemaError, match=r"video_video\.mood"):
        found.check_insert("completion_track", "video_video")
    assert any("mood" in line for line in found.problems())
