"""What the judge of the fault campaign is told of a real database: nothing that waits escapes it."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from chaos import pod_rows
from chaos.pod_rows import ImportRow
from poddispatchd.database import migration
from poddispatchd.database.pool import Connection
from tests.integration.pod.rows import insert, manager, opened, recording, site, task, user, video
from tests.plugins.postgres import PodDatabase

_WAITING = {
    "submission": (
        "INSERT INTO poddispatchd.submission (task_pk, task_type, runner_manager_id, attempt, body)"
        " VALUES (1, 'encoding', 1, 1, '{}')"
    ),
    "callback": (
        "INSERT INTO poddispatchd.callback (runner_manager_ids, task_id, status, digest)"
        " VALUES ('{1}', 'x', 'completed', 'd')"
    ),
    "import": "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id) VALUES (1, 1, 'x')",
    "import_file": (
        "WITH closed AS (INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, state)"
        " VALUES (1, 1, 'x', 'failed') RETURNING id)"
        " INSERT INTO poddispatchd.import_file SELECT id, 'videos/x.mp4', true FROM closed"
    ),
    "obsolete_file": "INSERT INTO poddispatchd.obsolete_file (path, task_pk) VALUES ('videos/x.mp4', 1)",
    "sighting": "INSERT INTO poddispatchd.sighting (task_pk, task_id) VALUES (1, 'x')",
    "notice": (
        "INSERT INTO poddispatchd.notice (event, task_pk, task_type) VALUES ('completed', 1, 'encoding')"
    ),
    "delivery": "INSERT INTO poddispatchd.delivery (channel, task_pk) VALUES ('mail', 1)",
}

_NO_WORK = {"told", "campaign", "campaign_video"}
"""What was said last, and what people want encoded anew: a fault campaign has none of it."""


@pytest.fixture
async def connection(pod_database: PodDatabase) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    async with opened(pod_database) as database:
        await migration.upgrade(database)
    async with pod_database.connection() as found:
        yield found


async def test_a_settled_journal_has_no_open_row(connection: Connection) -> None:
    await connection.execute(
        "INSERT INTO poddispatchd.submission (task_pk, task_type, runner_manager_id, attempt, body, state)"
        " VALUES (1, 'encoding', 1, 1, '{}', 'accepted')"
    )
    await connection.execute(
        "INSERT INTO poddispatchd.callback (runner_manager_ids, task_id, status, digest, state)"
        " VALUES ('{1}', 'x', 'completed', 'd', 'applied')"
    )
    await connection.execute(
        "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, state)"
        " VALUES (1, 1, 'x', 'done')"
    )
    await connection.execute(
        "INSERT INTO poddispatchd.delivery (channel, task_pk, state) VALUES ('mail', 1, 'done')"
    )
    assert not await pod_rows.read_open_rows(connection)


async def test_a_row_that_waits_is_found_in_each_table(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    for table, statement in _WAITING.items():
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(statement)
        assert [table] == [row.table for row in await pod_rows.read_open_rows(connection)]
        await transaction.rollback()


async def test_every_table_of_the_journal_that_holds_work_is_looked_at(connection: Connection) -> None:
    """A table that comes later with work in it has to be added to the judge's list."""
    tables = {
        row["table_name"]
        for row in await connection.fetch(
            "SELECT DISTINCT table_name FROM information_schema.columns WHERE table_schema = 'poddispatchd'"
            " AND column_name IN ('state', 'next_attempt_at')"
        )
    }
    assert tables - _NO_WORK <= _WAITING.keys()


async def test_what_belongs_to_a_video_is_counted(connection: Connection) -> None:
    owner = await user(connection)
    film = await video(connection, owner, slug="0007-film")
    folder = await insert(connection, "podfile_userfolder", name="0007-film", owner_id=owner)
    stored = {"folder_id": folder, "created_by_id": owner}
    for number in range(2):
        await insert(connection, "podfile_customimagemodel", file=f"files/{number}.png", **stored)
    subtitles = await insert(connection, "podfile_customfilemodel", file="files/a.vtt", **stored)
    await insert(connection, "completion_track", video_id=film, src_id=subtitles, lang="fr", kind="subtitles")
    await insert(
        connection,
        "video_encode_transcript_encodingaudio",
        video_id=film,
        name="audio",
        encoding_format="audio/mp3",
        source_file="videos/a.mp3",
    )
    found = (await pod_rows.read_videos(connection))[film]
    assert (found.counts, found.images, found.files, found.tracks) == ((0, 1, 0), 2, 1, 1)
    assert {"videos/a.mp3", "files/0.png", "files/1.png", "files/a.vtt"} <= (
        await pod_rows.read_named(connection)
    ).keys()


async def test_rows_of_one_source_ask_for_the_same(connection: Connection) -> None:
    film, talk = await video(connection), await recording(connection, title="A talk")
    duplicates = [await task(connection, video_id=film), await task(connection, video_id=film)]
    subtitles = await task(connection, "transcription", video_id=film)
    studio = await task(connection, "studio", recording_id=talk)
    rows = await pod_rows.read_rows(connection)
    assert rows[duplicates[0]].wish == rows[duplicates[1]].wish
    assert len({rows[pk].wish for pk in (*duplicates, subtitles, studio)}) == 3
    assert rows[studio].title == "A talk"


async def test_an_import_tells_by_how_much_its_clock_was_wrong(connection: Connection) -> None:
    here = await manager(connection, await site(connection, "pod.example.org"), name="one")
    owner = await user(connection)
    folder = await insert(connection, "podfile_userfolder", name="folder", owner_id=owner)
    image = await insert(
        connection, "podfile_customimagemodel", file="files/a.png", folder_id=folder, created_by_id=owner
    )
    await connection.execute("UPDATE podfile_customimagemodel SET uploaded_at = now() + interval '90 s'")
    done = await task(connection, video_id=await video(connection, owner, thumbnail_id=image))
    await connection.execute(
        "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, state, finished_at)"
        " VALUES ($1, $2, 'x', 'done', now())",
        done,
        here,
    )
    [found] = await pod_rows.read_imports(connection)
    assert found == ImportRow(done, "one", "x", found.skew)
    assert found.skew == pytest.approx(90.0, abs=5.0)


async def test_submissions_are_read_with_the_address_of_their_source(connection: Connection) -> None:
    here = await manager(connection, await site(connection, "pod.example.org"), name="one")
    for body, task_id in ((b'{"source_url": "http://x/a.mp4"}', None), (b"", "made-by-pod")):
        await connection.execute(
            "INSERT INTO poddispatchd.submission"
            " (task_pk, task_type, runner_manager_id, attempt, body, state, task_id)"
            " VALUES (1, 'encoding', $1, 1, $2, 'lost', $3)",
            here,
            body,
            task_id,
        )
    assert await pod_rows.read_submitted(connection) == [
        (1, "one", None, "http://x/a.mp4"),
        (1, "one", "made-by-pod", None),
    ]
