"""Rows that someone holds, statements that the database refuses: that task waits, the others go on."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from poddispatchd.app import features
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import TaskPk
from poddispatchd.journal import submissions
from poddispatchd.observability.events import Event
from poddispatchd.runner.records import Accepted
from poddispatchd.runtime.jobs import Progress
from tests.integration.dispatch.scene import Daemon, Scene, Spec, scene
from tests.integration.journal.aging import age_journal
from tests.plugins.postgres import PodDatabase

pytestmark = pytest.mark.usefixtures("short_lock_waits")

_REFUSE = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN IF NEW.status = 'running' AND (NEW.id = {only} OR {only} = 0)
       THEN RAISE EXCEPTION 'not here'; END IF; RETURN NEW; END $$;
    CREATE TRIGGER refuse BEFORE UPDATE ON runner_manager_task FOR EACH ROW EXECUTE FUNCTION refuse();
"""


_REFUSE_INTENTS = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not here'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON poddispatchd.submission FOR EACH ROW EXECUTE FUNCTION refuse();
"""


async def _look(daemon: Daemon, times: int, seconds: float) -> None:
    for _ in range(times):
        await daemon.settle()
        await daemon.parts.locked_rows.step()
        daemon.clock.advance(seconds)


async def _runs_of(pod: Scene, pk: TaskPk) -> int:
    video = (await pod.row(pk))["video_id"]
    return sum(entry.parameters["video_id"] == video for entry in pod.fakes["first"].submissions)


async def test_a_pending_row_that_someone_holds_waits_and_the_others_are_submitted(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("first", runners=9)) as pod:
        held, *others = await pod.encodings(4)
        daemon = await pod.daemon()
        with capture_logs() as logs:
            async with pod.database.connection() as psql, psql.transaction():
                await psql.execute("SELECT FROM runner_manager_task WHERE id = $1 FOR UPDATE", held)
                await _look(daemon, 5, 2)
                assert [await pod.status(pk) for pk in others] == ["running"] * 3
                assert (await pod.status(held), await _runs_of(pod, held)) == ("pending", 0)
                assert daemon.parts.locked_rows.tasks == {held}
            await _look(daemon, 5, 20)
        assert await pod.status(held) == "running"
        assert not daemon.parts.locked_rows.tasks
        told = [
            entry["event"] for entry in logs if entry.get("task") == held and entry["log_level"] != "info"
        ]
        assert told == [Event.ROW_LOCKED]


async def test_a_row_that_someone_holds_uses_up_nothing_of_what_a_pass_may_submit(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """With ``--max-tasks 1`` a row that was held for hours kept every pass from submitting anything."""
    async with scene(pod_database, media_root) as pod:
        held, other = await pod.encodings(2)
        daemon = await pod.daemon(budget=1)
        async with pod.database.connection() as psql, psql.transaction():
            await psql.execute("SELECT FROM runner_manager_task WHERE id = $1 FOR UPDATE", held)
            await _look(daemon, 2, 2)
            assert (await pod.status(held), await pod.status(other)) == ("pending", "running")
        await _look(daemon, 2, 20)
        assert await pod.status(held) == "pending"


@pytest.mark.slow
async def test_a_row_that_is_held_after_the_post_gets_its_id_later_and_runs_once(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(pod_database, media_root, Spec("first", runners=9)) as pod:
        held, *others = await pod.encodings(3)
        daemon = await pod.daemon()
        async with pod.database.connection() as psql, psql.transaction():

            async def hold(manager: RunnerManager, body: bytes) -> Accepted:
                if not daemon.parts.locked_rows.tasks:
                    await psql.execute("SELECT FROM runner_manager_task WHERE id = $1 FOR UPDATE", held)
                return await execute(manager, body)

            execute = daemon.parts.client.execute
            monkeypatch.setattr(daemon.parts.client, "execute", hold)
            await _look(daemon, 5, 2)
            assert [await pod.status(pk) for pk in others] == ["running"] * 2
            assert await pod.status(held) == "pending"
        await _look(daemon, 4, 20)
        assert await pod.status(held) == "running"
        assert await _runs_of(pod, held) == 1
        assert await submissions.open_submissions(pod.connection) == []


async def test_a_row_that_may_not_be_written_waits_longer_and_longer_without_a_second_run(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("first", runners=9)) as pod:
        bad, *others = await pod.encodings(4)
        await pod.connection.execute(_REFUSE.format(only=bad))
        daemon = await pod.daemon()
        with capture_logs() as logs:
            await _look(daemon, 20, 1)
            assert [await pod.status(pk) for pk in others] == ["running"] * 3
            late = await pod.encoding(title="late")
            await _look(daemon, 1, 0)
            assert await pod.status(late) == "running"
            await pod.connection.execute("DROP FUNCTION refuse CASCADE")
            await _look(daemon, 3, 61)
        assert (await pod.status(bad), await _runs_of(pod, bad)) == ("running", 1)
        assert [entry["event"] for entry in logs].count(Event.SERVICE_CRASHED) == 1


async def test_when_every_row_is_refused_the_queue_is_not_poured_out(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("first", runners=50)) as pod:
        pks = await pod.encodings(12)
        await pod.connection.execute(_REFUSE.format(only=0))
        daemon = await pod.daemon()
        with capture_logs() as logs:
            await _look(daemon, 40, 2)
        assert len(pod.fakes["first"].submissions) <= 4
        assert len([entry for entry in logs if entry["log_level"] in ("warning", "error")]) <= 6
        await pod.connection.execute("DROP FUNCTION refuse CASCADE")
        await _look(daemon, 5, 61)
        assert await pod.statuses() == {"running": 12}
        assert [await _runs_of(pod, pk) for pk in pks] == [1] * 12


async def test_what_could_not_be_stored_is_adopted_after_a_restart(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("first", runners=9)) as pod:
        [pk] = await pod.encodings(1)
        await pod.connection.execute(_REFUSE.format(only=pk))
        await _look(await pod.daemon(), 3, 1)
        await pod.connection.execute("DROP FUNCTION refuse CASCADE")
        successor = await pod.successor()
        await age_journal(pod.connection, 30)
        await successor.settle()
        [task_id] = pod.fakes["first"].tasks
        assert ((await pod.row(pk))["status"], (await pod.row(pk))["task_id"]) == ("running", task_id)


async def test_a_database_that_refused_every_intent_is_tried_again_and_all_tasks_are_submitted(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """After a switch-over to a read-only server nothing was submitted until the daemon was restarted."""
    async with scene(pod_database, media_root, Spec("first", runners=9)) as pod:
        tasks = await pod.encodings(6)
        daemon = await pod.daemon()
        await pod.connection.execute(_REFUSE_INTENTS)
        await _look(daemon, 8, 20)
        assert (await pod.statuses(), pod.posts("first")) == ({"pending": 6}, 0)
        await pod.connection.execute("DROP TRIGGER refuse ON poddispatchd.submission")
        await _look(daemon, 30, 60)
        assert await pod.statuses() == {"running": 6}
        assert [await _runs_of(pod, pk) for pk in tasks] == [1] * 6


async def test_a_single_task_ends_readiness_when_the_tables_are_known_not_to_be_as_they_must_be(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """Nothing could be submitted, and a monitor saw a daemon that was ready until a second task came."""
    async with scene(pod_database, media_root, Spec("first", runners=9)) as pod:
        pk = await pod.encoding(title="One")
        daemon = await pod.daemon()
        status = features.status(daemon.parts)
        await pod.connection.execute(
            "CREATE RULE audit AS ON UPDATE TO runner_manager_task DO ALSO NOTIFY audit"
        )
        await _look(daemon, 3, 60)
        assert await pod.status(pk) == "pending"
        assert not status.state(Progress()).database_writable

        await pod.connection.execute("DROP RULE audit ON runner_manager_task")
        daemon.clock.advance(60)
        await daemon.parts.catalogue.look_again()
        await _look(daemon, 3, 60)
        assert await pod.status(pk) == "running"
        assert status.state(Progress()).database_writable
