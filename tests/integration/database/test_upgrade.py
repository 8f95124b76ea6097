"""The schemas of earlier releases, with a task in every stage, are upgraded and worked on."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.database import migration
from poddispatchd.domain.task import TaskPk
from poddispatchd.journal import failures, imports, scheduling, submissions
from poddispatchd.runtime.queue_tables import CALLBACKS, FILES
from poddispatchd.sandbox.pod.world import add_video
from tests.integration.dispatch.scene import Daemon, Scene, Spec, scene
from tests.integration.journal import older_release
from tests.integration.pod.rows import opened
from tests.plugins.postgres import PodDatabase

_OLDEST, _LEASES = "schema_0010.sql", "schema_0018.sql"
"""The release before leases, which schedules under an advisory lock, and the one with them."""


@pytest.fixture(params=[_OLDEST, _LEASES])
def dump(request: pytest.FixtureRequest) -> Path:
    """What an earlier release left."""
    return Path(__file__).with_name(str(request.param))


@pytest.fixture
async def pod(pod_database: PodDatabase, media_root: Path, dump: Path) -> AsyncIterator[Scene]:
    async with scene(pod_database, media_root, Spec("first", runners=30)) as made:
        for number in range(8):
            await add_video(made.connection, made.world, title=f"Lecture {number}")
        await made.connection.execute(await asyncio.to_thread(dump.read_text))
        yield made


@pytest.fixture
async def daemon(pod: Scene) -> Daemon:
    """A daemon of this release, which has upgraded the schema at its start."""
    return await pod.daemon()


async def test_the_schema_is_brought_to_the_latest_version(pod: Scene, daemon: Daemon) -> None:
    assert await migration.current_version(pod.connection) == migration.LATEST
    assert daemon.parts.session.term == 2


async def test_an_intent_whose_answer_was_lost_is_posted_again(pod: Scene, daemon: Daemon) -> None:
    [intent] = await submissions.open_submissions(pod.connection)
    await daemon.settle()
    posted = [each.json for each in pod.fakes["first"].requests if each.path.endswith("/task/execute")]
    assert posted.count(json.loads(intent.body)) == 1
    assert await pod.status(TaskPk(4)) == "running"


async def test_what_waits_goes_on_waiting_and_the_rest_is_submitted(pod: Scene, daemon: Daemon) -> None:
    await pod.connection.execute(
        "UPDATE poddispatchd.own_task SET not_before = now() + interval '9 minutes' WHERE task_pk = 8"
    )
    await daemon.settle()
    assert [await pod.status(TaskPk(pk)) for pk in (1, 8, 9)] == ["running", "pending", "pending"]


async def test_a_callback_in_the_inbox_is_applied(pod: Scene, daemon: Daemon) -> None:
    await features.callback_worker(daemon.parts).step()
    assert await pod.status(TaskPk(3)) == "timeout"


async def test_the_result_of_an_importer_that_died_is_taken_up(pod: Scene, daemon: Daemon) -> None:
    assert await imports.open_tasks(pod.connection) == {TaskPk(5)}
    importer = features.importer(daemon.parts)
    await importer.step()
    assert importer.running == 1
    await importer.stop(5)


async def test_the_end_of_a_run_still_ends_those_that_wait_for_its_source(pod: Scene, daemon: Daemon) -> None:
    assert set(
        await failures.recent_failures(
            pod.connection, hours=10**6, limit=9, excluding=(), ours=daemon.parts.clock.now()
        )
    ) == {TaskPk(7)}
    await pod.end(TaskPk(2))
    await daemon.settle()
    assert await pod.status(TaskPk(9)) == "completed"


@pytest.mark.parametrize("dump", [_LEASES], indirect=True)
async def test_what_was_set_aside_learnt_and_written_down_is_kept(pod: Scene, daemon: Daemon) -> None:
    async with opened(pod.database) as database, database.connection() as connection:
        callbacks = await CALLBACKS.set_aside_items(connection, 9)
        files = await FILES.set_aside_items(connection, 9)
    assert [(item.task, item.words) for item in callbacks] == [
        ("67c4b7ec-25be-4b05-aea2-a4666efa357d", "The database refused a statement: raise (P0001).")
    ]
    assert [item.key for item in files] == ["videos/stuck.mp4"]
    assert (
        await pod.connection.fetchval("SELECT name FROM poddispatchd.refused_parameter") == "source_language"
    )
    assert await pod.connection.fetchval("SELECT act FROM poddispatchd.act") == "restart"
    assert await pod.connection.fetchval("SELECT path FROM poddispatchd.import_file") == "videos/half.mp4"


@pytest.mark.parametrize("dump", [_OLDEST], indirect=True)
async def test_nothing_is_scheduled_while_a_daemon_of_the_older_release_has_its_lock(pod: Scene) -> None:
    async with pod.database.connection() as older, opened(pod.database) as database:
        assert await older_release.take_lead(older, "older") == 2
        await migration.upgrade(database)
        daemon = await pod.daemon()
        assert (daemon.parts.session.is_up, daemon.parts.session.term) == (True, None)
        # It goes on with the newer schema: what it reads and writes is as it was.
        assert await scheduling.leader(older) is not None
        assert len(await submissions.open_submissions(older)) == 1
        await older_release.give_up_lead(older)
        daemon.parts.session.suspect()
        async with asyncio.timeout(10):
            while daemon.parts.session.term is None:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
        # And the older one stays away from then on.
        assert await older_release.take_lead(older, "older") is None
