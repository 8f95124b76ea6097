"""Kills at every step of an import: what is there after a restart is what an undisturbed import leaves."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from shutil import copytree

import asyncpg
import pytest

from poddispatchd.app import features
from poddispatchd.domain.task import SUBMITTABLE, TaskPk, TaskType
from poddispatchd.sandbox.pod.world import SampleVideo
from poddispatchd.sandbox.postgresql import PostgresServer
from tests.forked import fork
from tests.integration.imports.bench import (
    Bench,
    StillClock,
    daemon_parts,
    release_dead,
    settings_of,
    state_of,
    until,
)
from tests.integration.imports.crashing import MOMENTS
from tests.plugins.postgres import cloned_database

_KINDS = {
    TaskType.ENCODING: tuple(MOMENTS),
    TaskType.STUDIO: (
        "before the files are recorded",
        "amid the renames",
        "after the renames",
        "within the transaction",
        "after the commit",
    ),
    TaskType.TRANSCRIPTION: ("amid the links", "after the renames", "after the commit"),
}


class LateClock(StillClock):
    """Of a daemon that starts some time after the one that died: what is named after the moment differs."""

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=90)


async def run_until(there: Bench, moment: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run a daemon that dies at a moment, with more in its environment; how it ended, and what it said."""
    process = await fork(
        "tests.integration.imports.crashing", moment, env={**os.environ, **(env or {})}, writes=True
    )
    pod = {
        "dsn": there.pod.dsn.get_secret_value(),
        "media_root": str(there.world.media_root),
        "variant": there.pod.variant.value,
    }
    output, _ = await process.communicate(json.dumps(pod).encode())
    return await process.wait(), output.decode()


async def crash(there: Bench, moment: str) -> None:
    status, output = await run_until(there, moment)
    assert status == -signal.SIGKILL, output


@asynccontextmanager
async def copy(of: Bench, postgres: PostgresServer, root: Path) -> AsyncIterator[Bench]:
    """The same Pod once more: its database and its media tree."""
    await asyncio.to_thread(copytree, of.world.media_root, root)
    await of.pod.let_go()

    async def is_unused() -> bool:
        connection = await asyncpg.connect(postgres.dsn().get_secret_value())
        try:
            users = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1"
            return not await connection.fetchval(users, of.pod.name)
        finally:
            await connection.close()

    await until(is_unused)
    async with cloned_database(postgres, of.pod.name, of.pod.variant) as database:
        settings = settings_of(database.dsn, root, database.variant, of.changes)
        async with daemon_parts(settings, LateClock()) as parts:
            yield replace(of, pod=database, parts=parts, world=replace(of.world, media_root=root))


async def restart(there: Bench) -> None:
    """A new daemon starts: it imports what is due, and its maintenance tidies up.

    The number of a video that was rolled back is lost, with Pod as well. Here it is given out again, so that
    ends can be compared.
    """
    async with there.pod.connection() as connection:
        await connection.execute(
            "SELECT setval(pg_get_serial_sequence('video_video', 'id'), coalesce(max(id), 0) + 1, false)"
            " FROM video_video"
        )
    await release_dead(there)
    await there.import_due()
    await features.maintenance(there.parts).purge()


async def made_ready(ready: Bench, kind: TaskType) -> tuple[TaskPk, SampleVideo | None]:
    video = None
    if kind is TaskType.STUDIO:
        task = await ready.ready(kind)
    else:
        video = await ready.video(encoded=True, transcript="fr")
        task = await ready.ready(kind, video=video)
    await ready.parts.database.close()
    return task, video


async def watchable(there: Bench) -> set[str]:
    """Every file that a viewer is offered."""
    async with there.pod.connection() as connection:
        rows = await connection.fetch(
            "SELECT source_file FROM video_encode_transcript_encodingvideo"
            " UNION SELECT source_file FROM video_encode_transcript_encodingaudio"
            " UNION SELECT source_file FROM video_encode_transcript_playlistvideo"
        )
    return {row[0] for row in rows}


@pytest.mark.parametrize(
    ("kind", "moment"), [(kind, moment) for kind, moments in _KINDS.items() for moment in moments]
)
async def test_a_kill_changes_nothing_of_the_end(
    ready: Bench, postgres: PostgresServer, tmp_path: Path, kind: TaskType, moment: str
) -> None:
    task, _ = await made_ready(ready, kind)
    async with copy(ready, postgres, tmp_path / "undisturbed") as calm:
        await restart(calm)
        assert await calm.status(task) == "completed"
        expected = await state_of(calm.pod, calm.world.media_root)
    async with copy(ready, postgres, tmp_path / "killed") as hit:
        await crash(hit, moment)
        # Invariant I5: whatever a row offers is there, old or new, and it is whole.
        files = hit.files()
        assert all(files.get(path) for path in await watchable(hit))
        await restart(hit)
        assert await hit.status(task) == "completed"
        assert await state_of(hit.pod, hit.world.media_root) == expected
        assert hit.staged() == []
        for table in ("import_file", "obsolete_file"):
            assert await hit.value(f"SELECT count(*) FROM poddispatchd.{table}") == 0


@pytest.mark.parametrize("moment", ["amid the renames", "amid the links", "after the renames"])
@pytest.mark.parametrize("kind", SUBMITTABLE)
async def test_after_a_kill_an_import_that_never_succeeds_leaves_the_tree_as_it_was(
    ready: Bench, postgres: PostgresServer, tmp_path: Path, kind: TaskType, moment: str
) -> None:
    task, _ = await made_ready(ready, kind)
    async with copy(ready, postgres, tmp_path / "killed") as hit:
        before = await state_of(hit.pod, hit.world.media_root)
        if kind is TaskType.TRANSCRIPTION and moment == "amid the renames":
            moment = "after the renames"
        await crash(hit, moment)
        hit.fake.forget(str(await hit.of(task, "task_id")))
        await hit.execute(
            "INSERT INTO poddispatchd.submission"
            " (task_pk, task_type, runner_manager_id, attempt, body, state, task_id, settled_at, date_added)"
            " SELECT id, 'encoding', 1, n, '', 'lost', 'x' || n, now(), date_added"
            " FROM runner_manager_task, generate_series(1, 3) AS n WHERE id = $1",
            task,
        )
        await restart(hit)
        await hit.import_again()
        await features.maintenance(hit.parts).purge()
        assert await hit.status(task) == "failed"
        after = await state_of(hit.pod, hit.world.media_root)
        names = {name for name in before if name.startswith("file ")}
        assert {name for name in after if name.startswith("file ")} == names
        assert after["video_video"] == before["video_video"] or kind is not TaskType.STUDIO
