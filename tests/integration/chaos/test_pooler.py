"""The campaign's daemons behind a real PgBouncer, and what is broken there."""

import asyncio
import time
from pathlib import Path
from random import Random

import asyncpg
import pytest

from chaos import pgbouncer as module
from chaos.pgbouncer import installed, pgbouncer
from chaos.sabotage.fault import Lot
from chaos.sabotage.pooler import PoolerFaults
from chaos.stage import Tempo, keep_alive, stage
from chaos.timeline import Kind, Timeline
from tests.plugins.postgres import PodDatabase

_SERVERS = 3

_DONE = "SELECT count(*) FROM runner_manager_task WHERE status = 'completed'"
_TAKEN = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE state = 'idle in transaction' AND datname = current_database()"
)


@pytest.mark.slow
async def test_a_campaign_behind_a_pooler_does_its_tasks(tmp_path: Path) -> None:
    tempo = Tempo(interval="1s", running_after="2s")
    async with stage(tmp_path, tasks=6, seed=2, tempo=tempo, pooler="transaction") as scene:
        scene.relay.calm_down()
        connection = await scene.connect()
        try:
            await scene.pod.add_tasks(connection, 6)
            async with asyncio.timeout(60):
                while await connection.fetchval(_DONE) < 3:  # noqa: ASYNC110 - any daemon's doing
                    await asyncio.sleep(0.1)
            # The campaign itself goes round the pooler, the daemons through it.
            assert await connection.fetchval("SELECT pg_backend_pid()") == connection.get_server_pid()
            for daemon in scene.daemons:
                assert '"pooling": "transaction"' in daemon.log.read_text(encoding="utf-8")
        finally:
            connection.terminate()


async def test_a_killed_pooler_ends_every_connection_and_comes_back(
    pod_database: PodDatabase, tmp_path: Path
) -> None:
    timeline = Timeline()
    async with pgbouncer(pod_database.dsn, tmp_path, "session") as bouncer, bouncer.client() as client:
        await client.execute("SELECT 1")
        await PoolerFaults(bouncer, timeline, Lot(Random(1), brevity=0.0)).kill()
        with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await client.execute("SELECT 1")
        async with bouncer.client() as other:
            assert await other.fetchval("SELECT 1") == 1
    [incident] = timeline.of(Kind.POOLER_KILL)
    assert incident.happened


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_a_crowded_pooler_has_no_server_left_until_the_crowd_goes(
    pod_database: PodDatabase, tmp_path: Path, mode: str
) -> None:
    timeline = Timeline()
    async with (
        pgbouncer(pod_database.dsn, tmp_path, mode, default_pool_size=_SERVERS) as bouncer,
        pod_database.connection() as direct,
    ):
        faults = PoolerFaults(bouncer, timeline, Lot(Random(1), brevity=100.0))
        crowding = asyncio.create_task(faults.crowd())
        async with asyncio.timeout(10):
            while not any(one.happened for one in timeline.of(Kind.POOLER_CROWDED)):  # noqa: ASYNC110 - a flag
                await asyncio.sleep(0.01)
        assert await direct.fetchval(_TAKEN) == _SERVERS
        async with bouncer.client() as late:
            answer = asyncio.create_task(late.fetchval("SELECT 1"))
            await asyncio.wait({answer}, timeout=0.5)
            assert not answer.done()
            crowding.cancel()
            assert await answer == 1


async def test_a_crowd_that_finds_no_database_has_not_happened(
    pod_database: PodDatabase, tmp_path: Path
) -> None:
    timeline = Timeline()
    async with pgbouncer(pod_database.dsn, tmp_path, "session") as bouncer:
        faults = PoolerFaults(bouncer, timeline, Lot(Random(1)))
        await bouncer.stop()
        await faults.crowd()
    [incident] = timeline.of(Kind.POOLER_CROWDED)
    assert not incident.happened


async def test_a_pooler_that_ends_by_itself_is_started_again_and_told_of(
    pod_database: PodDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.write_text(
        "#!/bin/sh\n"
        "echo '[1] LOG S: login failed: FATAL: the database system is starting up' >&2\n"
        "echo '[1] LOG process up: PgBouncer' >&2\n"
        "echo '[1] FATAL bad client state: 0' >&2\n"
    )
    broken.chmod(0o755)
    timeline = Timeline()
    whole = installed()
    monkeypatch.setattr(module, "installed", lambda: (broken, ""))
    async with pgbouncer(pod_database.dsn, tmp_path, "session") as bouncer:
        await bouncer.died.wait()
        monkeypatch.setattr(module, "installed", lambda: whole)
        keeping = asyncio.create_task(keep_alive(bouncer, timeline))
        async with asyncio.timeout(20):
            while not [one for one in timeline.of(Kind.POOLER_END) if one.end < time.time()]:  # noqa: ASYNC110 - a flag
                await asyncio.sleep(0.01)
        keeping.cancel()
        assert not bouncer.died.is_set()
        async with bouncer.client() as client:
            assert await client.fetchval("SELECT 1") == 1
    [incident] = timeline.of(Kind.POOLER_END)
    assert incident.happened
