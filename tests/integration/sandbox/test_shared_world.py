"""The recorded world can be restored and brought to a case's start state."""

import pytest

from poddispatchd.sandbox.pod.schema import SchemaVariant
from tests.plugins.shared_world import SharedWorldFactory
from tests.shared import SHARED

VARIANTS = [] if SHARED is None else list(SchemaVariant)


@pytest.mark.parametrize("recorded", VARIANTS)
async def test_a_recorded_world_is_restored_with_its_rows_and_files(
    shared_world: SharedWorldFactory, recorded: SchemaVariant
) -> None:
    world = await shared_world(recorded)
    async with world.database.connection() as connection:
        videos = await connection.fetch("SELECT video FROM video_video")
        sources = await connection.fetch("SELECT source_file FROM recorder_recording")
    assert any((world.media_root / row["video"]).is_file() for row in videos)
    assert sources
    assert all(row["source_file"].startswith(f"{world.media_root}/") for row in sources)


@pytest.mark.parametrize("recorded", VARIANTS)
async def test_two_copies_of_a_recorded_world_do_not_see_each_other(
    shared_world: SharedWorldFactory, recorded: SchemaVariant
) -> None:
    one, two = await shared_world(recorded), await shared_world(recorded)
    async with one.database.connection() as connection:
        await connection.execute("DELETE FROM runner_manager_task")
    async with two.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM runner_manager_task") > 0
    assert one.media_root != two.media_root


@pytest.mark.parametrize("recorded", VARIANTS)
async def test_a_case_brings_its_rows_files_and_addresses(
    shared_world: SharedWorldFactory, recorded: SchemaVariant
) -> None:
    world = await shared_world(recorded)
    case = {
        "setup_sql": [
            "DELETE FROM runner_manager_task",
            "UPDATE recorder_recording SET comment = '/srv/pod/media/x' WHERE id = 1",
        ],
        "setup_files": [
            {"op": "write", "path": "tasks/1/note.txt", "text": "été"},
            {"op": "mkdir", "path": "opencast-files/one"},
            {"op": "utime", "path": "opencast-files/one", "days_ago": 8},
        ],
    }
    await world.apply(case, "http://127.0.0.1:1234")
    async with world.database.connection() as connection:
        urls = [row["url"] for row in await connection.fetch("SELECT url FROM runner_manager")]
        comment = await connection.fetchval("SELECT comment FROM recorder_recording WHERE id = 1")
        assert await connection.fetchval("SELECT count(*) FROM runner_manager_task") == 0
    assert any("127.0.0.1:1234" in url for url in urls)
    assert not any("54401" in url for url in urls)
    assert comment == f"{world.media_root}/x"
    assert (world.media_root / "tasks/1/note.txt").read_text(encoding="utf-8") == "été"
