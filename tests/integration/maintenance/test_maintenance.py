"""What is purged, deleted, swept and counted."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from poddispatchd.app import features
from poddispatchd.database import pool
from poddispatchd.database.pool import Connection, Database
from poddispatchd.domain.situation import Reason
from poddispatchd.domain.task import TaskPk, TaskStatus, TaskType
from poddispatchd.errors import DatabaseUnavailableError, MediaSlowError
from poddispatchd.imports import deletion, sweep
from poddispatchd.imports.deletion import Deletion
from poddispatchd.imports.sweep import Sweep
from poddispatchd.maintenance import completed_purge, journal_purge, stalled_queue
from poddispatchd.maintenance.completed_purge import CompletedPurge
from poddispatchd.maintenance.journal_purge import JournalPurge
from poddispatchd.maintenance.opencast import OpencastFiles
from poddispatchd.observability.events import Event
from poddispatchd.pod import tasks
from poddispatchd.pod.media.files import delete_tree
from poddispatchd.pod.media.lock import task_lock
from poddispatchd.pod.media.tree import MediaPath, own_name
from poddispatchd.pod.queue_stats import QueueStats, queue_stats
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.runtime.jobs import Progress
from poddispatchd.runtime.supervisor import STUCK_AFTER
from poddispatchd.sandbox.pod.world import add_task
from tests.integration.imports.bench import Bench, StillClock, bench, schedule
from tests.plugins.postgres import PodDatabase


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, changes={"retention": {"completed_days": 60}}) as made:
        yield made


async def old_task(here: Bench, status: TaskStatus, days: int) -> TaskPk:
    async with here.pod.connection() as connection:
        added = here.clock.now() - timedelta(days=days)
        return await add_task(connection, TaskType.ENCODING, status=status, date_added=added)


async def add_obsolete(here: Bench, *paths: str) -> None:
    for path in paths:
        await here.execute("INSERT INTO poddispatchd.obsolete_file (path, task_pk) VALUES ($1, 1)", path)


def put(here: Bench, path: str) -> Path:
    file = here.world.media_root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x")
    return file


async def obsolete(here: Bench) -> list[str]:
    return await here.value("SELECT array_agg(path ORDER BY path) FROM poddispatchd.obsolete_file") or []


async def test_only_completed_tasks_past_their_retention_go_and_in_batches(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completed_purge, "_BATCH", 2)
    for _ in range(5):
        await old_task(here, TaskStatus.COMPLETED, 61)
    kept = [await old_task(here, status, 61) for status in TaskStatus if status is not TaskStatus.COMPLETED]
    kept.append(await old_task(here, TaskStatus.COMPLETED, 59))
    await features.maintenance(here.parts).purge()
    left = await here.value("SELECT array_agg(id ORDER BY id) FROM runner_manager_task")
    assert left == kept
    assert here.parts.metrics.purged._value.get() == 5


@pytest.mark.parametrize("ahead", [90, -90])
async def test_a_clock_that_is_wrong_purges_nothing_before_its_time(
    here: Bench, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    """A machine that woke up in another year deleted every completed task of Pod's."""
    await old_task(here, TaskStatus.COMPLETED, 59)
    moment = here.clock.now() + timedelta(days=ahead)
    monkeypatch.setattr(type(here.clock), "now", lambda _: moment)
    await features.maintenance(here.parts).purge()
    assert await here.value("SELECT count(*) FROM runner_manager_task") == 1


async def test_a_clock_of_the_database_that_is_far_ahead_makes_the_journal_forget_nothing(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that woke up in another year forgot a quarter of history, and all that had been set aside."""
    await here.execute(
        "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, state, finished_at)"
        " VALUES (1, 1, 'x', 'set_aside', now() - interval '91 days')"
    )
    # Ninety days ago by this machine, whose clock is right.
    moment = here.clock.now() - timedelta(days=90)
    with monkeypatch.context() as wrong, capture_logs() as logs:
        wrong.setattr(type(here.clock), "now", lambda _: moment)
        maintenance = features.maintenance(here.parts)
        await maintenance.purge()
        await maintenance.purge()
    assert await here.value("SELECT count(*) FROM poddispatchd.import") == 1
    [told] = [entry for entry in logs if entry["event"] == Event.CLOCKS_DIFFERED]
    assert "Set the one that is wrong" in told["reason"]

    await maintenance.purge()
    assert await here.value("SELECT count(*) FROM poddispatchd.import") == 0


async def test_a_row_of_the_journal_that_is_held_keeps_no_other_table_from_being_purged(here: Bench) -> None:
    """A session left open for weeks: nothing of the journal was deleted until somebody closed it."""
    await here.execute(
        "INSERT INTO poddispatchd.submission (task_pk, task_type, runner_manager_id, attempt, body, state,"
        " settled_at) VALUES (1, 'encoding', 1, 1, '', 'accepted', now() - interval '91 days')"
    )
    await here.execute(
        "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, state, finished_at)"
        " VALUES (1, 1, 'x', 'done', now() - interval '91 days')"
    )
    await here.execute(
        "INSERT INTO poddispatchd.act (at, actor, act) VALUES (now() - interval '91 days', 'x', 'pause')"
    )
    async with here.pod.connection() as other, other.transaction():
        await other.execute("SELECT FROM poddispatchd.submission FOR UPDATE")
        await features.maintenance(here.parts).purge()
        assert await here.value("SELECT count(*) FROM poddispatchd.import") == 0
        assert await here.value("SELECT count(*) FROM poddispatchd.act") == 0
        [incident] = here.parts.incidents.active
        assert incident.job == "purge of the journal"
    await features.maintenance(here.parts).purge()
    assert await here.value("SELECT count(*) FROM poddispatchd.submission") == 0
    assert not here.parts.incidents.active


async def test_a_row_of_the_journal_that_cannot_be_deleted_keeps_no_other_table_from_being_purged(
    here: Bench,
) -> None:
    """A trigger of the site, on the first table of all, and the journal grew for ever."""
    await here.execute(
        "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, state, finished_at)"
        " VALUES (1, 1, 'x', 'done', now() - interval '91 days');"
        "INSERT INTO poddispatchd.act (actor, act, task_pk, at)"
        " VALUES ('dupont', 'cancel', 1, now() - interval '91 days')"
    )
    await here.execute(
        "INSERT INTO poddispatchd.submission (task_pk, task_type, runner_manager_id, attempt, body, state,"
        " settled_at) VALUES (1, 'encoding', 1, 1, '', 'accepted', now() - interval '91 days');"
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;"
        "CREATE TRIGGER refuse BEFORE DELETE ON poddispatchd.submission"
        " FOR EACH ROW EXECUTE FUNCTION refuse()"
    )

    await features.maintenance(here.parts).purge()

    for table, left in (("submission", 1), ("import", 0), ("act", 0)):
        assert await here.value(f"SELECT count(*) FROM poddispatchd.{table}") == left
    assert [incident.job for incident in here.parts.incidents.active] == ["purge of the journal"]


async def test_without_a_retention_nothing_is_purged(pod_database: PodDatabase, media_root: Path) -> None:
    async with bench(pod_database, media_root) as here:
        await old_task(here, TaskStatus.COMPLETED, 36000)
        await features.maintenance(here.parts).purge()
        assert await here.value("SELECT count(*) FROM runner_manager_task") == 1


async def test_the_journal_forgets_what_was_settled_long_ago_and_nothing_else(here: Bench) -> None:
    states = {"old": "done", "open": "open"}
    for number, state in enumerate(states.values()):
        await here.execute(
            "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, state, finished_at)"
            " VALUES ($1, 1, 'x', $2, now() - interval '91 days')",
            *(number, state),
        )
    for pk in (1, 2):
        await here.execute(
            "INSERT INTO runner_manager_task (id, type, status, date_added, task_id)"
            " OVERRIDING SYSTEM VALUE VALUES ($1, 'encoding', 'failed', now(), '')",
            pk,
        )
    await here.execute(
        "INSERT INTO poddispatchd.submission (task_pk, task_type, runner_manager_id, attempt, body, state,"
        " settled_at) VALUES (1, 'encoding', 1, 1, '', 'accepted', now() - interval '91 days'),"
        " (2, 'encoding', 1, 1, '', 'accepted', now() - interval '89 days')"
    )
    await features.maintenance(here.parts).purge()
    assert await here.value("SELECT array_agg(state) FROM poddispatchd.import") == ["open"]
    assert await here.value("SELECT array_agg(task_pk) FROM poddispatchd.submission") == [2]


async def test_what_cannot_be_done_keeps_nothing_else_from_being_done(here: Bench) -> None:
    """A site's own table and trigger refuse what they know of: once nothing else was purged any more."""
    waiting = await old_task(here, TaskStatus.PENDING, 1)
    referenced = await old_task(here, TaskStatus.COMPLETED, 61)
    await here.execute(
        "CREATE TABLE site_report (task_id bigint REFERENCES runner_manager_task);"
        f"INSERT INTO site_report VALUES ({referenced});"
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;"
        "CREATE TRIGGER refuse BEFORE UPDATE OF rank ON runner_manager_task"
        " FOR EACH ROW EXECUTE FUNCTION refuse();"
        "INSERT INTO poddispatchd.submission (task_pk, task_type, runner_manager_id, attempt, body, state,"
        " settled_at) VALUES (1, 'encoding', 1, 1, '', 'accepted', now() - interval '91 days')"
    )
    replaced = put(here, "videos/replaced.mp4")
    await add_obsolete(here, "videos/replaced.mp4")

    await features.maintenance(here.parts).step()

    assert await here.of(waiting, "rank") is None
    assert not replaced.exists()
    assert await here.value("SELECT count(*) FROM poddispatchd.submission") == 0
    failing = {incident.job for incident in here.parts.incidents.active}
    assert failing == {"writing of ranks", "purge of completed tasks"}


async def test_tasks_that_a_site_does_not_let_go_keep_no_other_ones_from_being_purged(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them, and no completed task was purged any more: those of its statement, and all behind it."""
    monkeypatch.setattr(completed_purge, "_BATCH", 7)
    made = [await old_task(here, TaskStatus.COMPLETED, 61) for _ in range(30)]
    kept = [made[0], made[10], made[11], made[29]]
    await here.execute("CREATE TABLE site_report (task_id bigint REFERENCES runner_manager_task)")
    await here.execute("INSERT INTO site_report SELECT unnest($1::bigint[])", kept)

    await features.maintenance(here.parts).purge()

    assert await here.value("SELECT array_agg(id ORDER BY id) FROM runner_manager_task") == kept
    assert [incident.job for incident in here.parts.incidents.active] == ["purge of completed tasks"]


async def test_where_a_site_lets_no_task_go_few_statements_find_that_out(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completed_purge, "_BATCH", 10)
    monkeypatch.setattr(completed_purge, "_MOST_SPLITS", 8)
    for _ in range(50):
        await old_task(here, TaskStatus.COMPLETED, 61)
    await here.execute(
        "CREATE TABLE site_report (task_id bigint REFERENCES runner_manager_task);"
        "INSERT INTO site_report SELECT id FROM runner_manager_task"
    )
    asked: list[int] = []
    purge = tasks.purge_completed

    async def counted(connection: Connection, *, added_before: datetime, after: int, up_to: int) -> int:
        asked.append(up_to)
        return await purge(connection, added_before=added_before, after=after, up_to=up_to)

    monkeypatch.setattr(tasks, "purge_completed", counted)
    await features.maintenance(here.parts).purge()
    assert len(asked) <= 5 + 2 * 8


async def test_where_a_site_keeps_very_many_tasks_those_behind_them_have_their_turn_the_next_time(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each purge looked for the same ones, until it had looked enough: those behind them stayed for ever."""
    monkeypatch.setattr(completed_purge, "_BATCH", 10)
    monkeypatch.setattr(completed_purge, "_MOST_SPLITS", 8)
    made = [await old_task(here, TaskStatus.COMPLETED, 61) for _ in range(40)]
    kept = made[::2]
    await here.execute("CREATE TABLE site_report (task_id bigint REFERENCES runner_manager_task)")
    await here.execute("INSERT INTO site_report SELECT unnest($1::bigint[])", kept)
    maintenance = features.maintenance(here.parts)
    for _ in range(10):
        await maintenance.purge()
    assert await here.value("SELECT array_agg(id ORDER BY id) FROM runner_manager_task") == kept
    later = await old_task(here, TaskStatus.COMPLETED, 61)
    await here.execute("DELETE FROM site_report WHERE task_id = $1", kept[0])
    for _ in range(10):
        await maintenance.purge()
    left = await here.value("SELECT array_agg(id ORDER BY id) FROM runner_manager_task")
    assert (later in left, left) == (False, kept[1:])


async def test_a_purge_that_takes_longer_than_any_statement_may_keeps_no_other_one_from_its_turn(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked like a lost database: what came behind it waited an hour, and then for it again."""
    monkeypatch.setattr(pool, "_COMMAND_TIMEOUT", 1.0)
    async with bench(pod_database, media_root, changes={"retention": {"completed_days": 60}}) as here:
        slow = await old_task(here, TaskStatus.COMPLETED, 61)
        await here.execute(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql"
            " AS $$ BEGIN PERFORM pg_sleep(60); RETURN old; END $$"
        )
        await here.execute(
            "CREATE TRIGGER dawdles BEFORE DELETE ON runner_manager_task"
            " FOR EACH ROW EXECUTE FUNCTION dawdle()"
        )
        await here.execute(
            "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, state, finished_at)"
            " VALUES ($1, 1, 'x', 'done', now() - interval '91 days')",
            slow,
        )
        await add_obsolete(here, put(here, "videos/old.mp4").relative_to(here.world.media_root).as_posix())
        with pytest.raises(DatabaseUnavailableError):
            await features.maintenance(here.parts).purge()
        assert await here.value("SELECT count(*) FROM runner_manager_task") == 1
        assert await here.value("SELECT count(*) FROM poddispatchd.import") == 0
        assert await obsolete(here) == []


async def test_what_a_lost_database_kept_from_being_purged_is_purged_when_it_is_back(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waited for another hour."""
    done: list[str] = []

    async def purge(_: object) -> None:
        if not done:
            raise DatabaseUnavailableError

    async def sweep(_: object) -> None:
        done.append("clean-up after imports")

    for kind in (OpencastFiles, JournalPurge):
        monkeypatch.setattr(kind, "purge", purge)
    monkeypatch.setattr(Sweep, "run", sweep)
    maintenance = features.maintenance(here.parts)
    with pytest.raises(DatabaseUnavailableError):
        await maintenance.step()
    assert done == []
    await maintenance.step()
    assert done == ["clean-up after imports"]


async def test_the_purge_of_the_journal_ends_when_its_time_is_over_and_the_next_one_goes_on(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_purge, "_BATCH", 1)
    await here.execute(
        "INSERT INTO poddispatchd.own_task (task_pk, added_at)"
        " SELECT n, now() - interval '1000 days' FROM generate_series(1, 20) AS n"
    )
    left = "SELECT count(*) FROM poddispatchd.own_task"
    monotonic = type(here.clock).monotonic

    def slow(clock: StillClock) -> float:
        clock.ahead += 10.0
        return monotonic(clock)

    monkeypatch.setattr(type(here.clock), "monotonic", slow)
    purge = JournalPurge(here.parts.database, lambda: here.parts.settings.retention, here.clock)
    await purge.purge()
    assert 0 < await here.value(left) < 20
    for _ in range(4):
        await purge.purge()
    assert await here.value(left) == 0


async def test_a_round_in_which_everything_takes_as_long_as_it_may_ends_before_it_is_taken_for_stuck(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four minutes of tasks and four of files, with the rest after them, were ten: the daemon was killed."""
    done: list[str] = []

    def long(name: str) -> Callable[..., Awaitable[None]]:
        async def work(*_: object) -> None:
            done.append(name)
            here.clock.ahead += 240

        return work

    async def sleep(_: object, seconds: float) -> None:
        here.clock.ahead += seconds

    kinds = (OpencastFiles, "purge"), (CompletedPurge, "purge"), (JournalPurge, "purge"), (Sweep, "run")
    names = ["recordings", "tasks", "journal", "clean-up", "files"]
    for (kind, method), name in zip((*kinds, (Deletion, "delete_all")), names, strict=True):
        monkeypatch.setattr(kind, method, long(name))
    monkeypatch.setattr(type(here.clock), "sleep", sleep)
    maintenance = features.maintenance(here.parts)
    longest = 0.0
    while len(done) < len(names):
        begun = here.clock.monotonic()
        await maintenance.step()
        longest = max(longest, here.clock.monotonic() - begun)
    assert done == names
    assert longest < STUCK_AFTER
    await maintenance.purge()
    assert done == names * 2, "a single pass, to which no watchdog belongs, does all of it"


async def test_whoever_fails_over_a_look_at_the_queue_keeps_nothing_else_from_being_done(here: Bench) -> None:
    """An act of a newer release, of which this one does not know the word, stopped ranks and every purge."""
    waiting = await old_task(here, TaskStatus.PENDING, 1)
    maintenance = features.maintenance(here.parts)
    await maintenance.step()
    await here.execute(
        "ALTER TABLE poddispatchd.act DROP CONSTRAINT act_act_check;"
        f"INSERT INTO poddispatchd.act (actor, act, task_pk) VALUES ('root', 'levitate', {waiting})"
    )
    await here.execute("UPDATE runner_manager_task SET rank = 7 WHERE id = $1", waiting)
    await maintenance.step()
    assert await here.of(waiting, "rank") == 1
    assert (await maintenance.counter.look()).count(TaskType.ENCODING, TaskStatus.PENDING) == 1
    assert [incident.job for incident in here.parts.incidents.active] == ["look for what people did"]


async def test_obsolete_files_are_deleted_however_many(here: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion, "_BATCH", 3)
    paths = [f"videos/x/0000001/{number}.ts" for number in range(10)]
    for path in paths:
        put(here, path)
    await add_obsolete(here, *paths)
    await features.maintenance(here.parts).purge()
    assert not set(paths) & here.files().keys()
    assert not (here.world.media_root / "videos/x/0000001").exists()
    assert await obsolete(here) == []


async def test_a_file_that_a_row_names_is_never_deleted(here: Bench) -> None:
    video = await here.video(encoded=True)
    named = f"{video.output_directory}/360p.mp4"
    await add_obsolete(here, named, video.path)
    await features.maintenance(here.parts).purge()
    assert {named, video.path} <= here.files().keys()
    assert await obsolete(here) == []


async def test_a_file_that_cannot_be_deleted_is_tried_again_and_does_not_hold_up_the_others(
    here: Bench,
) -> None:
    put(here, "videos/x/directory/inside")
    put(here, "videos/x/file")
    await add_obsolete(here, "videos/x/directory", "videos/x/file")
    await features.maintenance(here.parts).purge()
    assert await obsolete(here) == ["videos/x/directory"]
    assert "videos/x/file" not in here.files()


async def test_a_file_that_was_put_off_is_looked_at_in_the_next_minute_and_not_in_the_next_hour(
    here: Bench,
) -> None:
    """The log said "in 60 seconds", and it was an hour."""
    replaced = put(here, "videos/replaced.mp4")
    await add_obsolete(here, "videos/replaced.mp4")
    maintenance = features.maintenance(here.parts)
    await here.execute("ALTER TABLE video_encode_transcript_playlistvideo RENAME TO away")
    assert await maintenance.step() == pytest.approx(60, abs=2)
    await here.execute("ALTER TABLE away RENAME TO video_encode_transcript_playlistvideo")
    await here.execute("UPDATE poddispatchd.obsolete_file SET next_attempt_at = now()")
    here.clock.ahead += 59
    await maintenance.step()
    assert replaced.exists()
    here.clock.ahead += 1
    assert await maintenance.step() == 120
    assert not replaced.exists()


async def test_what_an_open_import_brings_is_not_deleted_under_its_hands(here: Bench) -> None:
    put(here, "videos/x/a.mp4")
    task = await here.ready()
    await add_obsolete(here, "videos/x/a.mp4")
    await here.execute(
        "INSERT INTO poddispatchd.import_file (import_id, path, is_new)"
        " SELECT id, 'videos/x/a.mp4', true FROM poddispatchd.import"
    )
    await features.maintenance(here.parts).purge()
    assert "videos/x/a.mp4" in here.files()
    await here.execute("UPDATE poddispatchd.import SET state = 'failed' WHERE task_pk = $1", task)
    await features.maintenance(here.parts).purge()
    assert "videos/x/a.mp4" not in here.files()


async def closed_import(here: Bench, task: TaskPk, path: str, *, is_new: bool) -> None:
    await here.execute(
        "WITH made AS (INSERT INTO poddispatchd.import"
        " (task_pk, runner_manager_id, task_id, state, finished_at)"
        " VALUES ($1, 1, 'x', 'failed', now()) RETURNING id)"
        " INSERT INTO poddispatchd.import_file SELECT id, $2, $3 FROM made",
        *(task, path, is_new),
    )


async def test_files_of_an_import_that_was_given_up_elsewhere_are_deleted(here: Bench) -> None:
    failed = await old_task(here, TaskStatus.FAILED, 1)
    for name in ("new.mp4", "old.mp4", f".{own_name(failed)}"):
        put(here, f"videos/x/{name}")
    await closed_import(here, failed, "videos/x/new.mp4", is_new=True)
    await here.execute(
        "INSERT INTO poddispatchd.import_file SELECT id, 'videos/x/old.mp4', false FROM poddispatchd.import"
    )
    await features.maintenance(here.parts).purge()
    assert [name for name in here.files() if name.startswith("videos/x/")] == ["videos/x/old.mp4"]
    assert await here.value("SELECT count(*) FROM poddispatchd.import_file") == 0


async def test_files_stay_when_somebody_else_completed_the_task(here: Bench) -> None:
    completed = await old_task(here, TaskStatus.COMPLETED, 1)
    put(here, "videos/x/new.mp4")
    await closed_import(here, completed, "videos/x/new.mp4", is_new=True)
    await features.maintenance(here.parts).purge()
    assert "videos/x/new.mp4" in here.files()


async def test_staging_directories_without_an_open_import_are_swept(here: Bench) -> None:
    waiting = await here.ready()
    stale = put(here, "videos/x/.0000001.poddispatchd-9999/a/file.ts")
    beside = put(here, "videos/.0000002.poddispatchd-9998/file.ts")
    wanted = put(here, f"videos/x/.0000001.poddispatchd-{waiting}/file.ts")
    known = put(here, "tasks/9997/file.ts")
    pods = put(here, "tasks/9996/file.ts")
    other = put(here, "videos/x/.hidden/file.ts")
    await closed_import(here, TaskPk(9997), "videos/x/nothing", is_new=True)
    await features.maintenance(here.parts).purge()
    assert [path.exists() for path in (stale, beside, wanted, known, pods, other)] == [
        *(False, False, True, False),
        *(True, True),  # one that only Pod's own code can have made, and one that is none
    ]


async def test_what_pods_own_import_left_is_swept_after_a_day_when_its_task_is_over(here: Bench) -> None:
    """Nobody ever deleted it: the journal does not know such a task, and Pod forgets."""
    over = [await old_task(here, status, 1) for status in (TaskStatus.COMPLETED, TaskStatus.FAILED)]
    going_on = [await old_task(here, status, 1) for status in (TaskStatus.PENDING, TaskStatus.RUNNING)]
    left = {pk: put(here, f"tasks/{pk}/file.ts") for pk in (*over, *going_on, 9999)}
    young = put(here, "tasks/9998/file.ts")
    yesterday = here.clock.now().timestamp() - 86400 - 1
    for file in left.values():
        os.utime(file.parent, (yesterday, yesterday))
    async with task_lock(here.parts.media, TaskPk(9999)):
        await features.maintenance(here.parts).purge()
    assert [pk for pk, file in left.items() if file.exists()] == [*going_on, 9999]
    await features.maintenance(here.parts).purge()
    assert [pk for pk, file in left.items() if file.exists()] == going_on
    assert young.exists()


async def test_a_staging_directory_whose_task_is_locked_is_left_alone(here: Bench) -> None:
    staged = put(here, "videos/x/.0000001.poddispatchd-9999/file.ts")
    async with task_lock(here.parts.media, TaskPk(9999)):
        await features.maintenance(here.parts).purge()
        assert staged.exists()
    await features.maintenance(here.parts).purge()
    assert not staged.parent.exists()


async def test_the_free_space_is_measured_and_a_vanished_media_tree_is_survived(here: Bench) -> None:
    maintenance = features.maintenance(here.parts)
    await maintenance.step()
    gauge = here.parts.metrics.media_free_bytes
    assert gauge._value.get() > 0
    gauge.set(-1)
    here.world.media_root.rename(here.world.media_root.with_name("gone"))
    await maintenance.step()
    assert gauge._value.get() == -1


async def test_ranks_are_written_by_the_scheduler_alone(here: Bench) -> None:
    pending = [await old_task(here, TaskStatus.PENDING, days) for days in (1, 2)]
    schedule(here.parts, None)
    await features.maintenance(here.parts).step()
    assert [await here.of(task, "rank") for task in pending] == [None, None]
    schedule(here.parts, 1)
    await features.maintenance(here.parts).step()
    assert sorted([await here.of(task, "rank") for task in pending]) == [1, 2]


async def test_finished_tasks_are_counted_again_only_after_a_hundred_times_what_counting_them_took(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[bool] = []

    async def slowly(database: Database, *, past: QueueStats | None = None) -> QueueStats:
        counted.append(past is None)
        here.clock.ahead += 1.0 if past is None else 0.0
        return await queue_stats(database, past=past)

    monkeypatch.setattr("poddispatchd.maintenance.queue_counter.queue_stats.queue_stats", slowly)
    maintenance = features.maintenance(here.parts)
    done = await old_task(here, TaskStatus.COMPLETED, 1)
    await maintenance.counter.look()
    await here.execute("UPDATE runner_manager_task SET status = 'failed' WHERE id = $1", done)
    here.clock.ahead += 99.0
    assert (await maintenance.counter.look()).count(TaskType.ENCODING, TaskStatus.COMPLETED) == 1
    here.clock.ahead += 1.0
    assert (await maintenance.counter.look()).count(TaskType.ENCODING, TaskStatus.FAILED) == 1
    assert counted == [True, False, True]


async def test_a_type_that_waits_while_none_of_it_runs_is_told_of_once_until_one_runs(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(stalled_queue, "log", SimpleNamespace(error=lambda event, **_: told.append(event)))
    maintenance, hour = features.maintenance(here.parts), 3600.0
    await old_task(here, TaskStatus.PENDING, 9)

    async def after(hours: float) -> tuple[TaskType, ...]:
        here.clock.ahead += hours * hour
        await maintenance.counter.look()
        return maintenance.stalled.types

    # However long ago it was added: it may have run meanwhile.
    assert await after(0) == ()
    assert await after(1.9) == ()
    assert await after(0.2) == (TaskType.ENCODING,)
    assert await after(1) == (TaskType.ENCODING,)
    state = features.status(here.parts).state(
        Progress(queue_stats=maintenance.counter.stats, stalled_types=maintenance.stalled.types)
    )
    # Whether the managers work is not known here: all of them may be down.
    assert any(
        "encoding have been waiting for more than 2h while none runs: no runner manager of their site can be "
        "used, all runners are busy" in problem
        for problem in state.problems
    )
    assert told == ["queue.stalled"]

    await here.execute("UPDATE runner_manager_task SET status = 'running'")
    assert await after(0.1) == ()
    await here.execute("UPDATE runner_manager_task SET status = 'pending'")
    assert await after(0.1) == ()
    assert await after(2.1) == (TaskType.ENCODING,)
    assert told == ["queue.stalled"] * 2


async def test_a_type_that_came_since_its_sites_were_read_is_not_said_to_belong_to_no_site(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks were counted anew and their sites were not: ``status`` then sent people to dispatch.sites."""
    monkeypatch.setattr(DatabaseSession, "is_up", True)
    await here.parts.managers.refresh()
    maintenance = features.maintenance(here.parts)
    await maintenance.counter.look()
    video = await here.video()
    async with here.pod.connection() as connection:
        await add_task(connection, TaskType.ENCODING, video=video)
    await maintenance.counter.look()
    state = features.status(here.parts).state(Progress(queue_stats=maintenance.counter.stats))
    [why] = [entry.why for entry in state.queue if entry.type is TaskType.ENCODING]
    assert why is not None
    assert why.reason is Reason.NEXT


async def test_so_many_completed_tasks_that_they_take_hours_are_deleted_a_part_at_a_time(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watchdog took the job for stuck after ten minutes, and the daemon was killed, again and again."""
    monkeypatch.setattr(completed_purge, "_BATCH", 1)
    old = [await old_task(here, TaskStatus.COMPLETED, 90) for _ in range(6)]
    purge_completed = tasks.purge_completed

    async def slowly(*args: Any, **kwargs: Any) -> int:  # noqa: ANN401 - as it is called
        here.clock.ahead += 120
        return await purge_completed(*args, **kwargs)

    monkeypatch.setattr(tasks, "purge_completed", slowly)
    left = []
    for _ in range(3):
        await features.maintenance(here.parts).purge()
        left.append(await here.value("SELECT count(*) FROM runner_manager_task WHERE id = ANY($1)", old))
    assert left == [4, 2, 0]


async def test_the_search_for_tasks_that_a_site_does_not_let_go_ends_in_time_and_goes_on_the_next_time(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took as long as it took: 200 refused statements of some seconds each, and the daemon was killed."""
    made = [await old_task(here, TaskStatus.COMPLETED, 61) for _ in range(30)]
    kept = made[::3]
    await here.execute("CREATE TABLE site_report (task_id bigint REFERENCES runner_manager_task)")
    await here.execute("INSERT INTO site_report SELECT unnest($1::bigint[])", kept)
    purge_completed, asked = tasks.purge_completed, 0

    async def slowly(*args: Any, **kwargs: Any) -> int:  # noqa: ANN401 - as it is called
        nonlocal asked
        asked += 1
        here.clock.ahead += 25
        return await purge_completed(*args, **kwargs)

    monkeypatch.setattr(tasks, "purge_completed", slowly)
    maintenance = features.maintenance(here.parts)
    for _ in range(8):
        asked = 0
        await maintenance.purge()
        assert asked <= 10
    assert await here.value("SELECT array_agg(id ORDER BY id) FROM runner_manager_task") == kept


async def test_leftovers_that_take_long_to_delete_are_swept_a_part_at_a_time(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As rows and replaced files: on a slow file server the daemon was killed in the middle, every hour."""
    for number in range(6):
        put(here, f"videos/x/.0000001.poddispatchd-{9990 + number}/a.ts")

    def slowly(path: MediaPath) -> None:
        here.clock.ahead += 100
        delete_tree(path)

    monkeypatch.setattr(sweep, "delete_tree", slowly)
    maintenance, left = features.maintenance(here.parts), []
    for _ in range(2):
        await maintenance.purge()
        left.append(len(here.staged()))
    assert left == [3, 0]


async def test_leftovers_that_hang_keep_no_others_for_ever(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one that did ended each clean-up, and was the first of the next one."""
    for number in range(4):
        put(here, f"videos/x/.0000001.poddispatchd-{9990 + number}/a.ts")
    tried: list[str] = []

    def hanging(path: MediaPath) -> None:
        tried.append(str(path))
        if str(path) == tried[0]:
            raise MediaSlowError("The file system does not answer.")
        delete_tree(path)

    monkeypatch.setattr(sweep, "delete_tree", hanging)
    maintenance = features.maintenance(here.parts)
    for _ in range(2):
        await maintenance.purge()
    assert (len(here.staged()), tried[-1]) == (1, tried[0])


async def test_files_of_closed_imports_that_hang_keep_no_others_for_ever(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        await here.execute(
            "WITH closed AS ("
            " INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, state, finished_at)"
            " VALUES ($1, 1, 'x', 'dropped', now()) RETURNING id)"
            " INSERT INTO poddispatchd.import_file (import_id, path, is_new) SELECT id, $2, true FROM closed",
            9990 + number,
            f"videos/{number}.mp4",
        )
    tried: list[int] = []

    async def hanging(_: Deletion, tree: object, import_id: int, task: object) -> None:
        tried.append(import_id)
        if import_id == tried[0]:
            raise MediaSlowError("The file system does not answer.")

    monkeypatch.setattr(Deletion, "discard_brought", hanging)
    maintenance = features.maintenance(here.parts)
    for _ in range(2):
        await maintenance.purge()
    assert len(set(tried)) == 3
