"""When nothing moves though the database answers: monitors must see it, and not for the sake of one task."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.errors import RowLockedError
from poddispatchd.runtime.jobs import Progress
from poddispatchd.web.state import DaemonState
from tests.integration.dispatch.scene import Daemon, Scene, Spec, scene
from tests.plugins.postgres import PodDatabase

_REFUSE = """
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM 1 / (NEW.id - NEW.id * {of_all}); RETURN NEW; END $$;
CREATE TRIGGER audit BEFORE UPDATE ON runner_manager_task FOR EACH ROW EXECUTE FUNCTION audit();
"""
"""A trigger of a site's that divides by zero: the database calls that a refusal of values."""


@pytest.fixture
async def pod(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Scene]:
    async with scene(pod_database, media_root, Spec("first", runners=9)) as made:
        yield made


def _state(daemon: Daemon) -> DaemonState:
    return features.status(daemon.parts).state(Progress())


async def _minutes(daemon: Daemon, times: int, *, of: float = 61) -> None:
    """As the jobs of a daemon do it, ``of`` seconds at a time."""
    for _ in range(times):
        try:
            await daemon.settle()
            daemon.parts.incidents.recovered("dispatcher")
        except RowLockedError as error:
            daemon.parts.incidents.failed("dispatcher", error)
        await daemon.parts.locked_rows.step()
        daemon.clock.advance(of)


async def _metric(daemon: Daemon) -> float:
    shown = features.figures(daemon.parts, features.maintenance(daemon.parts).counter.look)
    await shown.refresh()
    value = daemon.parts.metrics.registry.get_sample_value("poddispatchd_database_writable")
    assert value is not None
    return value


@asynccontextmanager
async def _held(pod: Scene, table: str, mode: str) -> AsyncIterator[None]:
    other = await pod.database.connect()
    try:
        await other.execute(f"BEGIN; LOCK TABLE {table} IN {mode} MODE")
        yield
    finally:
        await other.close()


async def test_a_trigger_that_refuses_the_values_of_all_tasks_ends_readiness_after_minutes(
    pod: Scene,
) -> None:
    """A monitor saw a daemon that was ready, and nothing was submitted any more."""
    await pod.encodings(3)
    daemon = await pod.daemon()
    await pod.connection.execute(_REFUSE.format(of_all=1))
    await _minutes(daemon, 2)
    assert _state(daemon).ready

    await _minutes(daemon, 2)
    state = _state(daemon)
    first, second = state.not_ready
    assert first.startswith("Nothing moves: since ")
    assert "the database refuses whatever is to be written for tasks" in first
    assert second.endswith("The database refused a statement: division by zero (22012).")
    assert state.problems[0] == first
    assert not state.database_writable
    assert await _metric(daemon) == 0

    await pod.connection.execute("DROP FUNCTION audit CASCADE")
    await _minutes(daemon, 3)
    assert await pod.statuses() == {"running": 3}
    assert (_state(daemon).ready, _state(daemon).problems) == (True, ())
    assert await _metric(daemon) == 1


async def test_a_trigger_that_refuses_all_values_is_seen_where_one_task_has_the_only_runner(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """No other task is tried then; but the ranks of those that wait cannot be written either."""
    async with scene(pod_database, media_root, Spec("first", runners=1)) as pod:
        await pod.encodings(3)
        daemon = await pod.daemon()
        await pod.connection.execute(_REFUSE.format(of_all=1))
        await _minutes(daemon, 1)
        await features.maintenance(daemon.parts).step()
        await _minutes(daemon, 3)
        assert len(pod.fakes["first"].tasks) == 1
        assert _state(daemon).not_ready[0].startswith("Nothing moves: since ")


async def test_a_single_task_whose_values_are_refused_leaves_the_daemon_ready(pod: Scene) -> None:
    await pod.encodings(1)
    daemon = await pod.daemon()
    await pod.connection.execute(_REFUSE.format(of_all=1))
    await _minutes(daemon, 20)
    assert _state(daemon).ready
    assert "division by zero" in " ".join(_state(daemon).problems)


async def test_tasks_whose_values_are_refused_leave_the_daemon_ready_while_others_are_submitted(
    pod: Scene,
) -> None:
    odd = await pod.encodings(2)
    daemon = await pod.daemon()
    await pod.connection.execute(_REFUSE.format(of_all=f"(NEW.id <= {max(odd)})::int"))
    for _ in range(4):
        await _minutes(daemon, 1)
        await pod.encodings(1)
    await _minutes(daemon, 2)
    assert await pod.statuses() == {"pending": 2, "running": 4}
    assert _state(daemon).ready


@pytest.mark.parametrize(
    ("table", "mode"),
    [
        ("runner_manager_task", "ACCESS EXCLUSIVE"),
        ("video_encode_transcript_encodinglog", "ACCESS EXCLUSIVE"),
    ],
)
async def test_a_table_that_is_held_as_a_whole_for_minutes_ends_readiness(
    pod: Scene, table: str, mode: str
) -> None:
    daemon = await pod.daemon()
    await pod.encodings(2)
    async with _held(pod, table, mode):
        await _minutes(daemon, 1, of=100)
        assert _state(daemon).ready
        await _minutes(daemon, 1, of=100)
        state = _state(daemon)
        assert state.not_ready[0].startswith("Nothing moves: since ")
        assert f"As a whole tables are held ({table}), by process " in state.not_ready[-1]
        assert await _metric(daemon) == 0
    await _minutes(daemon, 2)
    assert await pod.statuses() == {"running": 2}
    assert _state(daemon).ready


async def test_a_table_for_which_no_task_waits_leaves_the_daemon_ready(pod: Scene) -> None:
    """A purge met it, at night, while somebody packed the table."""
    daemon = await pod.daemon()
    async with _held(pod, "video_video", "ACCESS EXCLUSIVE"):
        for _ in range(2):
            with pytest.raises(RowLockedError):
                await daemon.parts.database.execute("UPDATE video_video SET title = title")
            await _minutes(daemon, 1, of=100)
        assert "As a whole tables are held (video_video)" in " ".join(_state(daemon).problems)
        assert _state(daemon).ready
