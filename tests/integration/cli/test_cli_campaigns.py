"""Campaigns are listed, made, looked at and ended on the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from poddispatchd.database.pool import Database
from poddispatchd.domain.task import TaskType, VideoId
from poddispatchd.pod import campaign_videos
from poddispatchd.sandbox.pod.world import add_task, add_video
from tests.integration.cli.conftest import Pod
from tests.plugins.postgres import database_with_journal as pod_database

__all__ = ["pod_database"]


@pytest.fixture
async def ready(pod: Pod) -> Pod:
    assert (await pod.run("db", "init")).status == 0
    pod.set("pod", use_transcription=True)
    return pod


async def _video(
    pod: Pod, *, days_ago: int = 0, encoded: bool = False, asked_days_ago: int | None = None
) -> VideoId:
    async with pod.database.connection() as connection:
        video = await add_video(connection, pod.world, title="An old lecture", duration=3600)
        await connection.execute(
            "UPDATE video_video SET date_added = now() - make_interval(days => $2) WHERE id = $1",
            video.id,
            days_ago,
        )
        if encoded:
            await connection.execute(
                "INSERT INTO video_encode_transcript_encodingaudio"
                " (video_id, name, encoding_format, source_file) VALUES ($1, 'audio', 'audio/mp3', 'x.mp3')",
                video.id,
            )
        if asked_days_ago is not None:
            task = await add_task(connection, TaskType.ENCODING, video=video)
            await connection.execute(
                "UPDATE runner_manager_task SET status = 'completed',"
                " date_added = now() - make_interval(days => $2) WHERE id = $1",
                task,
                asked_days_ago,
            )
    return video.id


async def _listed(pod: Pod, *choice: str) -> list[Mapping[str, object]]:
    said = await pod.run("campaigns", "create", "x", "--type", "encoding", "--dry-run", "--json", *choice)
    assert said.status == 0, said.err
    return cast("list[Mapping[str, object]]", said.json())


async def test_the_list_is_shown_first_and_changes_nothing(ready: Pod) -> None:
    good, busy, other, bare = [await _video(ready) for _ in range(4)]
    await ready.execute(
        "INSERT INTO runner_manager_task (type, status, video_id, date_added)"
        " VALUES ('transcription', 'running', $1, now())",
        other,
    )
    await ready.execute("UPDATE video_video SET video = '' WHERE id = $1", bare)
    await ready.execute(
        "INSERT INTO runner_manager_task (type, status, video_id, date_added)"
        " VALUES ('encoding', 'pending', $1, now())",
        busy,
    )

    said = await ready.run(
        "campaigns", "create", "x", "--type", "encoding", "--videos",
        f"{good},{busy},{other},{bare},99999", "--dry-run",
    )  # fmt: skip

    assert "2 videos (2.0 h) would be encoded, 3 would be skipped." in said.out
    assert "It has no file: it would be skipped." in said.out
    assert "It would wait for the end of task" in said.out
    assert "It does not exist: it would be skipped." in said.out
    assert "does it already" in said.out
    assert (await ready.run("campaigns", "list")).out == "There is no campaign.\n"


async def test_videos_that_were_encoded_before_a_date_are_found(ready: Pod) -> None:
    old = await _video(ready, days_ago=400, encoded=True, asked_days_ago=399)
    await _video(ready, days_ago=400, encoded=True, asked_days_ago=2)  # encoded anew since
    await _video(ready, days_ago=1, encoded=True)
    await _video(ready, days_ago=400)  # never encoded
    [row] = await ready.fetch("SELECT (now() - interval '30 days')::date::text AS day")

    found = {row["id"] for row in await _listed(ready, "--encoded-before", str(row["day"]))}

    assert old in found
    assert len(found & {old, old + 1, old + 2, old + 3}) == 1


async def test_a_select_of_a_person_names_videos_and_can_change_nothing(ready: Pod, tmp_path: Path) -> None:
    first, second = await _video(ready), await _video(ready)
    file = tmp_path / "chosen.sql"

    async def tried(sql: str) -> str:
        file.write_text(sql)
        said = await ready.run(
            "campaigns", "create", "x", "--type", "encoding", "--dry-run", "--sql-file", str(file)
        )
        assert said.status == 1
        return said.err

    file.write_text(
        "-- the latest first\n"
        f"SELECT id, title FROM video_video WHERE id IN ({first}, {second}) ORDER BY id DESC;\n"
    )
    assert [row["id"] for row in await _listed(ready, "--sql-file", str(file))] == [second, first]
    assert "it is not one SELECT" in await tried("DELETE FROM video_video")
    assert "it is not one SELECT" in await tried(
        "SELECT 1) AS x; DELETE FROM video_video; SELECT * FROM (SELECT 1"
    )
    assert "it changes something" in await tried("SELECT nextval('video_video_id_seq')")
    assert "The first column" in await tried("SELECT title FROM video_video")
    assert "does not exist (42P01)" in await tried("SELECT id FROM nowhere")
    assert "The first column" in await tried("SELECT NULL::int")
    assert "The first column" in await tried("SELECT 1.5 FROM video_video")
    assert "The first column" in await tried("SELECT repeat('x', 100000000) FROM generate_series(1, 100)")
    assert "The first column" in await tried("SELECT true FROM video_video")
    assert "more than 100000 videos" in await tried("SELECT generate_series(1, 1000000)")
    assert "it changes something" in await tried("SELECT id FROM video_video FOR UPDATE")
    assert "There is no such video." in await tried("SELECT id FROM video_video WHERE false")
    [left] = await ready.fetch("SELECT count(*) AS n FROM video_video WHERE id IN ($1, $2)", first, second)
    assert left["n"] == 2


async def test_what_a_select_sets_is_gone_with_it(ready: Pod) -> None:
    """A pooler would keep it for whoever has the session next."""
    sql = "SELECT 1 FROM set_config('search_path', 'nowhere', false)"
    database = Database(ready.database.dsn, pool_size=1)
    await database.open()
    try:
        before = await database.fetchrow("SHOW search_path")
        assert await campaign_videos.selected(database, sql) == [1]
        assert await database.fetchrow("SHOW search_path") == before
    finally:
        await database.close()


async def test_a_select_that_takes_too_long_is_ended(
    ready: Pod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign_videos, "_SECONDS", 0.2)
    file = tmp_path / "slow.sql"
    file.write_text("SELECT 1 FROM pg_sleep(30)")

    said = await ready.run("campaigns", "create", "x", "--type", "encoding", "--sql-file", str(file))

    assert (said.status, said.err.startswith("poddispatchd: The SQL cannot be used: it takes longer")) == (
        1,
        True,
    )


async def test_a_campaign_is_made_paused_resumed_and_cancelled(ready: Pod) -> None:
    videos = [await _video(ready) for _ in range(4)]
    made = await ready.run(
        "campaigns", "create", "anew", "--type", "encoding", "--videos", ",".join(map(str, videos)),
        "--at-most", "3", "--window", "Mon-Fri 20:00-07:00; sat,sun",
    )  # fmt: skip

    assert made.status == 0, made.err
    assert made.out.startswith(
        "anew: encoding of 4 videos, active\n  [------------------------------] 0 of 4 (0 %)\n"
    )
    assert "4 waiting; at most 3 at a time." in made.out
    assert "mon-fri 20:00-07:00; sat-sun" in made.out
    again = await ready.run("campaigns", "create", "anew", "--type", "encoding", "--videos", "1")
    assert (again.status, "There is a campaign anew already" in again.err) == (1, True)

    assert "begins no more tasks" in (await ready.run("campaigns", "pause", "anew")).out
    assert "Paused by" in (await ready.run("campaigns", "show", "anew")).out
    twice = await ready.run("campaigns", "pause", "anew")
    assert (twice.status, twice.out) == (0, "Campaign anew is paused already.\n")
    assert "goes on" in (await ready.run("campaigns", "resume", "anew")).out
    twice = await ready.run("campaigns", "resume", "anew")
    assert (twice.status, twice.out) == (0, "Campaign anew is active already.\n")
    assert "is cancelled" in (await ready.run("campaigns", "cancel", "anew")).out
    twice = await ready.run("campaigns", "cancel", "anew")
    assert (twice.status, twice.out) == (0, "Campaign anew is cancelled already.\n")
    over = await ready.run("campaigns", "pause", "anew")
    assert (over.status, over.err) == (1, "poddispatchd: Campaign anew is cancelled: it is over.\n")
    assert f"[{'-' * 30}] 0 of 4 (0 %)" in (await ready.run("campaigns", "show", "anew")).out
    [listed] = cast("list[dict[str, object]]", (await ready.run("campaigns", "list", "--json")).json())
    assert (listed["state"], listed["cancelled"], listed["waiting"]) == ("cancelled", 4, 0)
    assert (await ready.run("campaigns", "resume", "anew")).status == 1
    unknown = await ready.run("campaigns", "show", "other")
    assert (unknown.status, "There is no campaign other" in unknown.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x", "--type", "encoding"], "in one way"),
        (["x", "--type", "encoding", "--videos", "1", "--encoded-before", "2026-01-01"], "in one way"),
        (["x", "--type", "encoding", "--videos", "9-1"], "ends before it begins"),
        (["x", "--type", "encoding", "--videos", "1", "--window", "25:00-26:00"], "there is no time"),
        (["x y", "--type", "encoding", "--videos", "1"], "letters, digits"),
        (["x", "--type", "studio", "--videos", "1"], "studio"),
    ],
)
async def test_what_cannot_be_meant_is_refused(ready: Pod, arguments: list[str], words: str) -> None:
    said = await ready.run("campaigns", "create", *arguments)

    assert (said.status, words in said.err) == (2, True)


async def test_a_pod_without_transcriptions_gets_no_campaign_of_them(ready: Pod) -> None:
    ready.set("pod", use_transcription=False)

    said = await ready.run("campaigns", "create", "x", "--type", "transcription", "--videos", "1")

    assert (said.status, "makes no transcriptions" in said.err) == (2, True)
