"""Ranks, purge and totals, seen and not touched."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.dispatch.scene import Scene, scene
from tests.integration.shadow.watcher import CRON_INTERVAL, Shadow, watching
from tests.plugins.postgres import PodDatabase

HOUR = 3600.0


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Scene]:
    async with scene(pod_database, media_root) as made:
        yield made


def gauge(shadow: Shadow, name: str) -> float | None:
    return shadow.parts.metrics.registry.get_sample_value(f"poddispatchd_shadow_{name}")


async def test_ranks_that_stay_wrong_are_told_once_until_they_are_right(here: Scene) -> None:
    first, second = await here.encodings(2)
    await here.connection.execute("UPDATE runner_manager_task SET rank = 7 WHERE id = $1", first)
    await here.connection.execute("UPDATE runner_manager_task SET rank = 2 WHERE id = $1", second)
    async with watching(here) as shadow:
        await shadow.keep_up()
        assert (shadow.differed(), gauge(shadow, "wrong_ranks")) == ([], 1.0)
        await shadow.keep_up(after=CRON_INTERVAL)
        await shadow.keep_up(after=CRON_INTERVAL)
        assert shadow.differed() == [(None, "wrong_ranks")]
        assert shadow.words().endswith(f"task {first} has rank 7 and place 1.")
        await here.connection.execute("UPDATE runner_manager_task SET rank = 1 WHERE id = $1", first)
        await shadow.keep_up(after=CRON_INTERVAL)
        assert (len(shadow.differed()), gauge(shadow, "wrong_ranks")) == (1, 0.0)


async def test_completed_tasks_that_pod_does_not_purge_are_told(here: Scene) -> None:
    for task in await here.encodings(2):
        await here.end(task)
    await here.connection.execute(
        "UPDATE runner_manager_task SET date_added = now() - $1::interval", timedelta(days=40)
    )
    async with watching(here, retention={"completed_days": 30}) as shadow:
        await shadow.keep_up()
        assert (shadow.differed(), gauge(shadow, "purgeable_tasks")) == ([], 2.0)
        await shadow.keep_up(after=HOUR)
        assert shadow.differed() == [(None, "not_purged")]
        await here.connection.execute("DELETE FROM runner_manager_task")
        await shadow.keep_up(after=HOUR)
        assert (len(shadow.differed()), gauge(shadow, "purgeable_tasks")) == (1, 0.0)


async def test_totals_are_told_every_hour_and_at_the_end(here: Scene) -> None:
    await here.encoding()
    async with watching(here) as shadow:
        await shadow.look()
        await shadow.keep_up(after=HOUR - 60)
        assert shadow.summaries() == []
        await shadow.keep_up(after=60)
        await shadow.keep_up(after=60)
        await shadow.jobs.stop()
        assert [total["decisions"] for total in shadow.summaries()] == ["submit 1", "submit 1"]
