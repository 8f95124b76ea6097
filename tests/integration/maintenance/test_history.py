"""What tasks took is kept: whoever ended them, in few statements, and bounded."""

from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs

from poddispatchd.app import features
from poddispatchd.database.pool import Database
from poddispatchd.database.session_ends import SessionEnds
from poddispatchd.domain.task import TaskPk, TaskStatus, TaskType
from poddispatchd.errors import DatabaseError, DatabaseUnavailableError
from poddispatchd.journal import history
from poddispatchd.journal.history import HistoryEntry
from poddispatchd.maintenance import history as maintenance_history
from poddispatchd.maintenance.job import Maintenance
from poddispatchd.observability.events import Event
from poddispatchd.pod import open_tasks
from poddispatchd.pod.open_tasks import SeenTask
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root) as made:
        yield made


async def ends(here: Bench, task: TaskPk, status: TaskStatus) -> None:
    """As Pod's administration or its CRON would."""
    await here.execute("UPDATE runner_manager_task SET status = $2 WHERE id = $1", task, status.value)


async def ended_runs(here: Bench) -> list[tuple[object, ...]]:
    """What is kept of each; how long it ran in minutes, since a busy machine takes seconds for a test."""
    async with here.pod.connection() as connection:
        rows = await connection.fetch(
            "SELECT task_pk, task_type, status, round(ran / 60), owner_id IS NOT NULL, priority,"
            " source_bytes > 0 FROM poddispatchd.ended_run ORDER BY task_pk"
        )
    return [tuple(row) for row in rows]


async def test_tasks_that_ended_are_kept_one_by_one_and_in_the_sums_of_their_day(here: Bench) -> None:
    maintenance = features.maintenance(here.parts)
    await maintenance.counter.look()
    video = await here.video()
    task, other = await here.running(video=video), await here.running()
    await maintenance.counter.look()
    await ends(here, task, TaskStatus.COMPLETED)
    await ends(here, other, TaskStatus.TIMEOUT)

    await maintenance.counter.look()

    assert await ended_runs(here) == [
        (task, "encoding", "completed", 0, True, 1, True),
        (other, "encoding", "timeout", 0, True, 1, True),
    ]
    sums = "SELECT completed, failed, waits, runs FROM poddispatchd.day_of_tasks"
    async with here.pod.connection() as connection:
        assert [tuple(row) for row in await connection.fetch(sums)] == [(1, 1, 2, 2)]


async def test_of_a_run_that_nobody_saw_the_journal_knows_how_long_it_took(here: Bench) -> None:
    """It began and ended between two looks: reports and forecasts knew nothing of short tasks."""
    maintenance = features.maintenance(here.parts)
    await maintenance.counter.look()
    seen = [await here.running(status=TaskStatus.PENDING) for _ in range(3)]
    await maintenance.counter.look()
    short, restarted, of_pod = seen
    await here.execute("UPDATE runner_manager_task SET date_added = now() - interval '10 minutes'")
    for task, ago in ((short, 8), (restarted, 20)):
        await here.execute(
            "INSERT INTO poddispatchd.submission"
            " (task_pk, task_type, runner_manager_id, attempt, body, state, task_id, settled_at)"
            " SELECT id, type, runner_manager_id, 1, 'x', 'accepted', task_id,"
            " now() - make_interval(mins => $2) FROM runner_manager_task WHERE id = $1",
            task,
            ago,
        )
    await here.execute(
        "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, state, finished_at)"
        " SELECT id, runner_manager_id, task_id, 'done', now() - interval '3 minutes'"
        " FROM runner_manager_task WHERE id = $1",
        short,
    )
    for task in (short, restarted, of_pod):
        await ends(here, task, TaskStatus.COMPLETED)

    await maintenance.counter.look()

    async with here.pod.connection() as connection:
        rows = await connection.fetch(
            "SELECT task_pk, round(waited / 60) AS waited, round(ran / 60) AS ran,"
            " round(extract(epoch FROM now() - ended_at) / 60) AS ago FROM poddispatchd.ended_run"
        )
    assert {row["task_pk"]: (row["waited"], row["ran"], row["ago"]) for row in rows} == {
        short: (2, 5, 3),
        restarted: (None, None, 0),
        of_pod: (None, None, 0),
    }


async def test_a_task_that_is_committed_after_a_newer_one_is_told_as_well(here: Bench) -> None:
    """Its id was given before: nobody looked below the highest one that was known."""
    maintenance = features.maintenance(here.parts)
    await maintenance.counter.look()
    video = await here.video()
    async with here.pod.connection() as other, other.transaction():
        late = await other.fetchval(
            "INSERT INTO runner_manager_task (type, status, video_id, date_added)"
            " VALUES ('encoding', 'failed', $1, now()) RETURNING id",
            video.id,
        )
        newer = await here.running()
        assert newer > late
        await maintenance.counter.look()
    await maintenance.counter.look()
    await ends(here, newer, TaskStatus.COMPLETED)
    await maintenance.counter.look()
    await maintenance.counter.look()

    assert [run[0] for run in await ended_runs(here)] == [late, newer]


async def test_a_task_that_was_added_while_the_others_were_read_is_told_once(here: Bench) -> None:
    """It is above the highest one, and among those that wait: its end was counted twice."""
    maintenance = features.maintenance(here.parts)
    newest, looked = open_tasks.newest_task, []

    async def newest_task(database: Database) -> TaskPk:
        found = await newest(database)
        looked.append(await here.running())
        return found

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(open_tasks, "newest_task", newest_task)
        await maintenance.counter.look()
    await ends(here, looked[0], TaskStatus.COMPLETED)
    await maintenance.counter.look()

    counted = here.parts.metrics.registry.get_sample_value(
        "poddispatchd_ended_total", {"type": "encoding", "outcome": "completed"}
    )
    assert counted == 1


async def test_what_ended_while_the_history_was_held_is_kept_when_it_can_be_had(here: Bench) -> None:
    """Somebody looked after the table for a moment: what ended meanwhile was missing in every report."""
    maintenance = features.maintenance(here.parts)
    await maintenance.counter.look()
    first, second = await here.running(), await here.running()
    await maintenance.counter.look()
    await ends(here, first, TaskStatus.COMPLETED)
    async with here.pod.connection() as other, other.transaction():
        await other.execute("LOCK TABLE poddispatchd.ended_run IN SHARE ROW EXCLUSIVE MODE")
        await maintenance.counter.look()
        assert any("holds a row or a table" in each.words for each in here.parts.incidents.active)
    await ends(here, second, TaskStatus.COMPLETED)
    await maintenance.counter.look()

    assert [run[0] for run in await ended_runs(here)] == [first, second]
    assert not here.parts.incidents.active


async def test_a_task_that_is_restarted_while_the_history_is_held_does_not_end_unseen(here: Bench) -> None:
    restarted = await here.running(status=TaskStatus.COMPLETED)
    maintenance = features.maintenance(here.parts)
    await maintenance.counter.look()
    other = await here.running()
    await maintenance.counter.look()
    await ends(here, other, TaskStatus.COMPLETED)
    await ends(here, restarted, TaskStatus.PENDING)
    async with here.pod.connection() as connection, connection.transaction():
        await connection.execute("LOCK TABLE poddispatchd.ended_run IN SHARE ROW EXCLUSIVE MODE")
        await maintenance.counter.look()
    await ends(here, restarted, TaskStatus.COMPLETED)
    with capture_logs() as logged:
        await maintenance.counter.look()

    assert [line["task"] for line in logged if line["event"] == Event.TASK_ENDED] == [restarted]


async def test_what_was_before_is_learned_though_the_history_was_held_at_the_start(here: Bench) -> None:
    """The first end that was kept told that it was done: reports knew nothing of years."""
    before = await here.running(status=TaskStatus.COMPLETED)
    maintenance = features.maintenance(here.parts)
    async with here.pod.connection() as other, other.transaction():
        await other.execute("LOCK TABLE poddispatchd.day_of_tasks IN SHARE ROW EXCLUSIVE MODE")
        await maintenance.counter.look()
    await maintenance.counter.look()
    task = await here.running()
    await maintenance.counter.look()
    await ends(here, task, TaskStatus.COMPLETED)
    await maintenance.counter.look()

    async with here.pod.connection() as connection:
        kept = await connection.fetchval("SELECT sum(completed) FROM poddispatchd.day_of_tasks")
    assert (before < task, kept) == (True, 2)


async def _statements(maintenance: Maintenance, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a look sends to the database."""
    told: list[str] = []
    driver = asyncpg.connection.Connection

    def telling(name: str) -> None:
        original = getattr(driver, name)

        async def told_of(self: object, query: str, *arguments: object, **named: object) -> object:
            told.append(query)
            return await original(self, query, *arguments, **named)

        monkeypatch.setattr(driver, name, told_of)

    for name in ("fetch", "fetchrow", "fetchval", "execute"):
        telling(name)
    await maintenance.counter.look()
    monkeypatch.undo()
    return told


async def test_a_round_in_which_nothing_ended_takes_no_statement_more_and_one_with_ends_three(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    maintenance = features.maintenance(here.parts)
    await maintenance.counter.look()
    tasks = [await here.running() for _ in range(3)]
    await maintenance.counter.look()

    quiet = await _statements(maintenance, monkeypatch)
    for task in tasks:
        await ends(here, task, TaskStatus.COMPLETED)
    busy = await _statements(maintenance, monkeypatch)

    assert not any("ended_run" in query or "day_of_tasks" in query for query in quiet)
    assert len(busy) == len(quiet) + 3
    assert len(await ended_runs(here)) == 3


async def test_what_the_database_refuses_holds_up_nothing(here: Bench) -> None:
    """The figures of the queue go on although the history cannot be written."""
    maintenance = features.maintenance(here.parts)
    await maintenance.counter.look()
    task = await here.running()
    await maintenance.counter.look()
    await here.execute("ALTER TABLE poddispatchd.ended_run RENAME TO gone")
    await ends(here, task, TaskStatus.FAILED)

    stats = await maintenance.counter.look()

    assert stats.count(TaskType.ENCODING, TaskStatus.FAILED) == 1


async def test_the_first_start_learns_from_the_journal_and_pods_table(here: Bench) -> None:
    for status in (TaskStatus.COMPLETED, TaskStatus.COMPLETED, TaskStatus.FAILED):
        await here.running(status=status)
    known = await here.running(TaskType.TRANSCRIPTION, status=TaskStatus.COMPLETED)
    await here.execute("UPDATE runner_manager_task SET date_added = now() - interval '3 days'")
    await here.execute(
        "INSERT INTO poddispatchd.submission"
        " (task_pk, task_type, runner_manager_id, attempt, body, state, task_id, settled_at)"
        " SELECT id, type, runner_manager_id, 1, 'x', 'accepted', task_id, now() - interval '1 hour'"
        " FROM runner_manager_task WHERE id = $1",
        known,
    )
    await here.execute(
        "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, state, finished_at)"
        " SELECT id, runner_manager_id, task_id, 'done', now() - interval '50 minutes'"
        " FROM runner_manager_task WHERE id = $1",
        known,
    )

    for _ in range(2):
        # Another start learns nothing again.
        await features.maintenance(here.parts).counter.look()

    assert [(run[0], run[2], run[3]) for run in await ended_runs(here)] == [(known, "completed", 10)]
    sums = "SELECT sum(completed), sum(failed), sum(runs), count(DISTINCT day) FROM poddispatchd.day_of_tasks"
    async with here.pod.connection() as connection:
        [row] = await connection.fetch(sums)
    assert tuple(row) == (3, 1, 1, 2)


async def test_what_was_before_is_learnt_later_when_the_database_refuses_it_at_the_first_start(
    here: Bench,
) -> None:
    """The first task that ended afterwards told that it was known: reports began there for good."""
    old = [await here.running() for _ in range(3)]
    for task in old:
        await ends(here, task, TaskStatus.COMPLETED)
    await here.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;"
        " CREATE TRIGGER refuse BEFORE INSERT ON poddispatchd.day_of_tasks"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse()"
    )
    maintenance = features.maintenance(here.parts)
    with capture_logs() as logged:
        await maintenance.counter.look()
    assert [entry["event"] for entry in logged] == [Event.HISTORY_FAILED]
    await here.execute("DROP FUNCTION refuse() CASCADE")

    for _ in range(2):
        task = await here.running()
        await maintenance.counter.look()
        await ends(here, task, TaskStatus.COMPLETED)
        await maintenance.counter.look()

    told = "SELECT sum(completed) FROM poddispatchd.day_of_tasks"
    assert await here.value(told) == len(old) + 2


@pytest.mark.parametrize("ends_it", ["pg_cancel_backend", "pg_terminate_backend"])
async def test_a_first_start_over_which_statements_or_sessions_end_keeps_no_end_from_being_seen(
    here: Bench, monkeypatch: pytest.MonkeyPatch, ends_it: str
) -> None:
    """It was tried with each look, for ever, and until then no task that ended was noticed."""
    monkeypatch.setattr(SessionEnds, "is_usual", lambda _: True)
    await ends(here, await here.running(), TaskStatus.COMPLETED)
    await here.execute(
        "CREATE FUNCTION ends_it() RETURNS trigger LANGUAGE plpgsql"
        f" AS $$ BEGIN PERFORM {ends_it}(pg_backend_pid()); PERFORM pg_sleep(30); END $$;"
        " CREATE TRIGGER ends_it BEFORE INSERT ON poddispatchd.day_of_tasks"
        " FOR EACH STATEMENT EXECUTE FUNCTION ends_it()"
    )
    maintenance = features.maintenance(here.parts)
    task = await here.running()
    await maintenance.counter.look()
    await ends(here, task, TaskStatus.FAILED)
    with capture_logs() as logged:
        await maintenance.counter.look()
    assert [entry["task"] for entry in logged if entry["event"] == Event.TASK_ENDED] == [task]


async def test_what_was_before_and_can_never_be_learnt_keeps_nothing_from_being_kept(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object) -> None:
        raise DatabaseError("The database refused a statement.")

    monkeypatch.setattr(maintenance_history, "fill", refused)
    monkeypatch.setattr(maintenance_history, "_FILL_AGAIN", timedelta())
    monkeypatch.setattr(maintenance_history, "_MOST_REFUSALS", 3)
    maintenance = features.maintenance(here.parts)
    await maintenance.counter.look()
    for _ in range(4):
        task = await here.running()
        await maintenance.counter.look()
        await ends(here, task, TaskStatus.COMPLETED)
        await maintenance.counter.look()
    assert [run[0] for run in await ended_runs(here)] == [task - 1, task]


async def test_the_history_stays_small_however_many_tasks_end(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MOST_RUNS", 1000)
    await here.execute(
        "INSERT INTO poddispatchd.ended_run (task_pk, task_type, status, runner_manager_id, owner_id,"
        " priority, waited, ran, source_seconds, source_bytes, ended_at)"
        " SELECT n, 'encoding', 'completed', n % 10, n % 500, 1, 60, 600, 1800, 123456789,"
        " now() - make_interval(secs => 50000 - n) FROM generate_series(1, 50000) AS n"
    )
    size = await here.value("SELECT pg_total_relation_size('poddispatchd.ended_run') / 50000.0")
    await here.execute(
        "INSERT INTO poddispatchd.ended_run (task_pk, task_type, status, priority, ended_at)"
        " SELECT 0, 'encoding', 'failed', 1, now() - interval '36 days' FROM generate_series(1, 10)"
    )
    await here.execute(
        "INSERT INTO poddispatchd.day_of_tasks (day, task_type, runner_manager_id)"
        " SELECT current_date - n, 'encoding', 1 FROM generate_series(0, 900) AS n"
    )
    days = await here.value("SELECT pg_total_relation_size('poddispatchd.day_of_tasks') / 901.0")

    async with here.parts.database.connection() as connection:
        while await history.purge(connection, batch=20_000):
            pass

    # A hundred thousand runs, and 800 days of three types on ten managers.
    assert 100_000 * float(size) + 800 * 30 * float(days) < 50e6
    kept = "SELECT count(*), min(task_pk) > 0 FROM poddispatchd.ended_run"
    async with here.pod.connection() as connection:
        [(count, only_late)] = await connection.fetch(kept)
    assert (count <= 1000, only_late) == (True, True)
    # A hundred days, and as many weeks.
    assert 195 <= await here.value("SELECT count(*) FROM poddispatchd.day_of_tasks") <= 210


async def test_runs_come_back_as_forecasts_want_them(here: Bench) -> None:
    maintenance = features.maintenance(here.parts)
    await maintenance.counter.look()
    task = await here.running()
    await here.execute("UPDATE runner_manager_task SET date_added = now() - interval '20 minutes'")
    await here.execute(
        "INSERT INTO poddispatchd.submission"
        " (task_pk, task_type, runner_manager_id, attempt, body, state, task_id, settled_at)"
        " SELECT id, type, runner_manager_id, 1, 'x', 'accepted', task_id, now() - interval '10 minutes'"
        " FROM runner_manager_task WHERE id = $1",
        task,
    )
    await ends(here, task, TaskStatus.COMPLETED)
    await maintenance.counter.look()
    await here.execute(
        "INSERT INTO poddispatchd.ended_run (task_pk, task_type, status, priority, ran, ended_at)"
        " VALUES (900, 'encoding', 'completed', 1, 5, now() + interval '3 years')"
    )

    async with here.parts.database.connection() as connection:
        [run] = await history.recent_runs(connection, [kind.value for kind in TaskType])

    assert (run.type, round(run.ran / 60), run.manager) == ("encoding", 10, here.world.managers[0].id)
    assert run.source.bytes


@pytest.mark.parametrize("days", [1500, -1500])
async def test_when_a_task_ended_and_how_long_it_ran_goes_by_the_databases_clock(
    here: Bench, days: int
) -> None:
    """A machine that woke up in another year wrote down ends of that year, which stayed the latest ones."""
    wrong = here.clock.now() + timedelta(days=days)
    here.clock.now = lambda: wrong  # type: ignore[method-assign]
    maintenance = features.maintenance(here.parts)
    await maintenance.counter.look()
    task = await here.running()
    await maintenance.counter.look()
    await ends(here, task, TaskStatus.COMPLETED)
    await maintenance.counter.look()

    async with here.pod.connection() as connection:
        [run] = await connection.fetch(
            "SELECT now() - ended_at < interval '1 hour' AND ended_at <= now() AS lately,"
            " ran < 3600 AS short, waited < 3600 AS soon,"
            " (SELECT abs(now()::date - min(day)) <= 1 FROM poddispatchd.day_of_tasks) AS today"
            " FROM poddispatchd.ended_run"
        )
    assert dict(run) == {"lately": True, "short": True, "soon": True, "today": True}


async def test_what_ended_before_a_scheduler_began_is_told_and_kept_by_it(here: Bench) -> None:
    """A daemon was killed during an import and started again: nobody told that the task had ended."""
    old = features.maintenance(here.parts)
    await old.counter.look()
    told, untold = [await here.running() for _ in range(2)]
    waiting = await here.running(status=TaskStatus.PENDING)
    await old.counter.look()
    for task in (told, untold):
        await _is_imported(here, task)
        if task == told:
            await old.counter.look()

    new = features.maintenance(here.parts)
    with capture_logs() as logged:
        await new.counter.look()
        await new.counter.look()
        await ends(here, waiting, TaskStatus.FAILED)
        await new.counter.look()

    ends_told = [(entry["task"], entry["status"]) for entry in logged if entry["event"] == Event.TASK_ENDED]
    assert ends_told == [(untold, "completed"), (waiting, "failed")]
    runs = [(run[0], run[2], run[3]) for run in await ended_runs(here)]
    assert runs == [(told, "completed", 4), (untold, "completed", 4), (waiting, "failed", None)]


async def test_what_ended_before_a_first_look_that_failed_is_told_by_the_next(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database was lost in its middle, or a page that asked gave up: nobody told of them any more."""
    old = features.maintenance(here.parts)
    await old.counter.look()
    told, task = [await here.running() for _ in range(2)]
    await old.counter.look()
    await _is_imported(here, told)
    await old.counter.look()
    await _is_imported(here, task)
    new = features.maintenance(here.parts)
    moved_tasks, is_lost = open_tasks.moved_tasks, True

    async def lost_once(
        database: Database, *, above: TaskPk, pending: Collection[TaskPk], running: Collection[TaskPk]
    ) -> list[SeenTask]:
        nonlocal is_lost
        if running and is_lost:
            is_lost = False
            raise DatabaseUnavailableError
        return await moved_tasks(database, above=above, pending=pending, running=running)

    monkeypatch.setattr(open_tasks, "moved_tasks", lost_once)
    with pytest.raises(DatabaseUnavailableError):
        await new.counter.look()
    with capture_logs() as logged:
        await new.counter.look()

    assert [entry["task"] for entry in logged if entry["event"] == Event.TASK_ENDED] == [task]
    assert [run[0] for run in await ended_runs(here)] == [told, task]


async def test_an_end_that_is_recorded_again_counts_once(here: Bench) -> None:
    """Whoever was cut off while it was recorded records it again: reports counted it twice."""
    at = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
    entries = [
        HistoryEntry(TaskPk(pk), "encoding", "completed", None, waited=1.0, ran=60.0, at=at) for pk in (7, 8)
    ]
    async with here.parts.database.connection() as connection:
        await history.record(connection, entries[:1], at, "UTC")
        await history.record(connection, entries, at, "UTC")
    async with here.pod.connection() as connection:
        sums = await connection.fetchrow("SELECT completed, waits, runs, ran FROM poddispatchd.day_of_tasks")

    assert [run[0] for run in await ended_runs(here)] == [7, 8]
    assert sums is not None
    assert tuple(sums) == (2, 2, 2, 120.0)


async def test_the_wait_of_a_task_that_began_before_the_first_look_of_a_term_is_measured(here: Bench) -> None:
    """A manager took a task, and answered for it, before the scheduler had looked at the queue once."""
    await here.execute("UPDATE poddispatchd.leader SET since = now() - interval '1 minute'")
    before, ours = [await here.running() for _ in range(2)]
    for task, accepted in ((before, "1 hour"), (ours, "0 minutes")):
        await here.execute(
            "INSERT INTO poddispatchd.submission"
            " (task_pk, task_type, runner_manager_id, attempt, body, state, task_id, settled_at)"
            " SELECT id, type, runner_manager_id, 1, 'x', 'accepted', task_id, now() - $2::text::interval"
            " FROM runner_manager_task WHERE id = $1",
            task,
            accepted,
        )

    await features.maintenance(here.parts).counter.look()

    waits = here.parts.metrics.registry.get_sample_value(
        "poddispatchd_wait_seconds_count", {"type": "encoding"}
    )
    assert waits == 1


async def _is_imported(here: Bench, task: TaskPk) -> None:
    """Its run began five minutes ago, and its result was brought in a minute ago."""
    await here.execute(
        "INSERT INTO poddispatchd.submission"
        " (task_pk, task_type, runner_manager_id, attempt, body, state, task_id, settled_at)"
        " SELECT id, type, runner_manager_id, 1, 'x', 'accepted', task_id, now() - interval '5 minutes'"
        " FROM runner_manager_task WHERE id = $1",
        task,
    )
    await here.execute(
        "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, state, finished_at)"
        " SELECT id, runner_manager_id, task_id, 'done', now() - interval '1 minute'"
        " FROM runner_manager_task WHERE id = $1",
        task,
    )
    await here.execute(
        "UPDATE runner_manager_task SET date_added = now() - interval '6 minutes' WHERE id = $1", task
    )
    await ends(here, task, TaskStatus.COMPLETED)
