"""What can go wrong around a campaign: crashes, other people, other daemons, videos that hang."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from poddispatchd.app import features
from poddispatchd.database.connections import GuardedConnection
from poddispatchd.dispatch.payloads import Payloads
from poddispatchd.domain.payload import Payload
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import ManagerId, Run, RunnerTaskId, Task, TaskPk, TaskStatus
from poddispatchd.errors import DatabaseUnavailableError, MediaMissingError, RowLockedError
from poddispatchd.journal import campaigns, imports
from poddispatchd.journal.campaigns import CampaignState, VideoState
from poddispatchd.sandbox.pod.world import add_video
from poddispatchd.tasks.campaign_progress import bar, progress_of
from tests.integration.campaigns.test_campaign_job import Bench
from tests.integration.dispatch.scene import Spec, scene
from tests.plugins.postgres import PodDatabase

Fitness = Callable[[Task], None]


@pytest.fixture
def spec() -> Spec:
    return Spec("first", runners=9)


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path, spec: Spec) -> AsyncIterator[Bench]:
    async with scene(pod_database, media_root, spec) as pod:
        daemon = await pod.daemon()
        await daemon.settle()
        yield Bench(pod, daemon, features.campaigns(daemon.parts))


def _fitness(here: Bench, monkeypatch: pytest.MonkeyPatch, refuse: Fitness) -> None:
    """Have looking at some videos fail."""
    real = Payloads.of

    async def of(self: Payloads, task: Task, site: Site) -> Payload:
        refuse(task)
        return await real(self, task, site)

    monkeypatch.setattr(Payloads, "of", of)
    here.job = features.campaigns(here.daemon.parts)


# --- Pod's own queue is in nobody's way ---------------------------------------------------------------------


@pytest.mark.parametrize("spec", [Spec("first", runners=0)])
async def test_a_task_that_got_no_runner_is_taken_out_of_pods_queue_again(here: Bench) -> None:
    """A manager never says that it is full before it is asked: the task stood before all that came later."""
    await here.make(await here.videos(2))
    await here.step()
    assert len(await here.rows()) == 1
    await here.daemon.settle()  # 503

    await here.step()

    assert await here.rows() == []
    assert await here.states() == {VideoState.WAITING: 2}
    assert await here.pod.connection.fetchval("SELECT count(*) FROM poddispatchd.own_task") == 0


async def test_whoever_comes_while_a_task_of_a_campaign_waits_goes_first(here: Bench) -> None:
    await here.make(await here.videos(2))
    await here.step()
    [of_campaign] = await here.rows()
    own = await here.pod.transcription()

    await here.step(2)

    assert await here.rows() == [own]
    await here.play()
    await here.step()
    [again] = await here.rows()
    assert again != of_campaign
    assert await here.states() == {VideoState.WAITING: 1, VideoState.RUNNING: 1}


async def test_somebody_who_asks_for_the_same_video_gets_a_task_of_their_own(here: Bench) -> None:
    video = await add_video(here.pod.connection, here.pod.world)
    await here.make([video.id])
    await here.step()
    own = await here.pod.encoding_of(video)

    await here.step(2)

    assert await here.rows() == [own]
    await here.pod.start(own, "first", "runs")
    await here.step(2)
    assert await here.words() == [f"Task {own} does it already."]


async def test_a_run_for_which_somebody_waited_is_not_the_campaigns_alone(here: Bench) -> None:
    """Both were in the queue at the moment of the submission: the mail and the captions are the user's."""
    first, second = [await add_video(here.pod.connection, here.pod.world) for _ in range(2)]
    await here.make([first.id, second.id])
    await here.step()
    await here.pod.encoding_of(first)
    await here.daemon.settle()
    await here.play()
    await here.step()
    await here.daemon.settle()
    rows = await here.pod.connection.fetch(
        "SELECT task_pk, runner_manager_id, task_id FROM poddispatchd.submission ORDER BY id"
    )
    assert len(rows) == 2
    for row in rows:
        run = Run(ManagerId(row["runner_manager_id"]), RunnerTaskId(row["task_id"]))
        assert await imports.open_import(here.pod.connection, TaskPk(row["task_pk"]), run)

    found = await here.pod.connection.fetch("SELECT of_campaign FROM poddispatchd.import ORDER BY id")
    assert [row["of_campaign"] for row in found] == [False, True]


async def test_what_is_being_submitted_stays(here: Bench) -> None:
    await here.make(await here.videos(1))
    await here.step()
    [task] = await here.rows()
    await here.pod.connection.execute(
        "INSERT INTO poddispatchd.submission (task_pk, task_type, runner_manager_id, attempt, body)"
        " VALUES ($1, 'encoding', $2, 1, 'x')",
        task,
        here.pod.ids["first"],
    )
    assert await campaigns.pause(here.pod.connection, "anew", "a person")

    await here.step(2)

    assert await here.rows() == [task]
    assert await here.states() == {VideoState.RUNNING: 1}


async def test_one_that_a_person_restarted_is_that_persons(here: Bench) -> None:
    await here.make(await here.videos(1))
    await here.step()
    [task] = await here.play(TaskStatus.FAILED)
    await here.step()
    await here.pod.connection.execute(
        "UPDATE runner_manager_task SET status = 'pending', task_id = NULL, date_added = now() WHERE id = $1",
        task,
    )
    await here.pod.transcription()

    await here.step(2)

    assert task in await here.rows()


@pytest.mark.parametrize("spec", [Spec("first", runners=0)])
async def test_one_that_has_not_begun_is_not_begun_any_more_once_it_is_paused_or_cancelled(
    here: Bench,
) -> None:
    await here.make(await here.videos(2))
    await here.step()
    assert len(await here.rows()) == 1
    assert await campaigns.pause(here.pod.connection, "anew", "a person")
    await here.step()
    assert (await here.rows(), await here.states()) == ([], {VideoState.WAITING: 2})
    assert await campaigns.resume(here.pod.connection, "anew", "a person")
    await here.step()
    assert len(await here.rows()) == 1
    async with here.pod.connection.transaction():
        assert await campaigns.cancel(here.pod.connection, "anew", "a person")
    await here.step()
    assert (await here.rows(), await here.states()) == ([], {VideoState.CANCELLED: 2})


async def test_its_hours_end_while_its_task_waits(here: Bench) -> None:
    await here.make(await here.videos(1), windows="00:00-24:00")
    await here.step()
    now = here.daemon.clock.now()
    later = f"{(now.hour + 5) % 24:02d}:00-{(now.hour + 6) % 24:02d}:00"
    await here.pod.connection.execute("UPDATE poddispatchd.campaign SET windows = $1", later)

    await here.step()

    assert (await here.rows(), await here.states()) == ([], {VideoState.WAITING: 1})


# --- crashes and other daemons ------------------------------------------------------------------------------


async def test_a_crash_between_the_fifth_failure_and_the_pause_loses_the_pause_not(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.make(await here.videos(9), at_most=1)
    for _ in range(5):
        await here.step()
        await here.play(TaskStatus.FAILED)
    real = campaigns.pause

    async def pause(*_: object) -> bool:
        raise DatabaseUnavailableError("It went away.")

    monkeypatch.setattr(campaigns, "pause", pause)
    with pytest.raises(DatabaseUnavailableError):
        await here.step()
    monkeypatch.setattr(campaigns, "pause", real)

    await here.step()

    assert (await here.campaign()).state is CampaignState.PAUSED


async def test_a_crash_at_any_statement_loses_no_video_and_makes_no_second_task(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.make(await here.videos(4), at_most=1)
    real = {name: getattr(GuardedConnection, name) for name in ("execute", "fetch", "fetchrow", "fetchval")}

    async def crash_at(nth: int) -> None:
        calls = itertools.count(1)

        def crashing(name: str) -> Callable[..., Awaitable[object]]:
            async def call(self: GuardedConnection, *arguments: object) -> object:
                if next(calls) == nth:
                    raise DatabaseUnavailableError("It went away.")
                return await real[name](self, *arguments)

            return call

        with monkeypatch.context() as patch:
            for name in real:
                patch.setattr(GuardedConnection, name, crashing(name))
            with suppress(DatabaseUnavailableError):
                await here.step()
        here.job = features.campaigns(here.daemon.parts)

    for nth in range(1, 16):
        await crash_at(nth)
        open_rows = await here.rows()
        assert len(open_rows) <= 1
        counts = (await here.campaign()).counts
        assert counts[VideoState.SKIPPED] == 0
        # What runs in the journal is in Pod's table, and the other way round.
        assert counts[VideoState.RUNNING] >= len(open_rows)
        if nth % 4 == 0:
            await here.play()
    for _ in range(8):
        await here.step()
        await here.play()
    await here.step()

    assert await here.states() == {VideoState.COMPLETED: 4}
    tasks = await here.pod.connection.fetch(
        "SELECT count(*) AS tasks FROM runner_manager_task GROUP BY video_id"
    )
    assert [row["tasks"] for row in tasks] == [1] * 4


async def test_one_that_is_cancelled_while_it_adds_leaves_nothing_waiting(here: Bench) -> None:
    for number in range(6):
        await here.make(await here.videos(3), name=f"c{number}", at_most=3)

        async def cancel(name: str) -> None:
            async with here.daemon.parts.database.transaction() as connection:
                assert await campaigns.cancel(connection, name, "a person")

        await asyncio.gather(here.step(), cancel(f"c{number}"), here.step())
        await here.step()
        assert VideoState.WAITING not in await here.states(f"c{number}")
        assert await here.rows() == []


async def test_two_daemons_at_the_same_moment_add_no_more_than_they_may_and_each_video_once(
    here: Bench,
) -> None:
    await here.make(await here.videos(6), at_most=2)
    others = [features.campaigns(here.daemon.parts) for _ in range(3)]
    for _ in range(4):
        await asyncio.gather(*(job.step() for job in [here.job, *others]))
        await here.daemon.settle()
        running = await here.rows("running")
        assert len(running) <= 2
        for pk in running:
            await here.pod.end(pk)

    tasks = await here.pod.connection.fetch(
        "SELECT video_id, count(*) AS tasks FROM runner_manager_task GROUP BY video_id"
    )
    assert {row["tasks"] for row in tasks} == {1}


async def test_a_daemon_whose_term_is_over_withdraws_nothing(here: Bench) -> None:
    await here.make(await here.videos(1))
    await here.step()
    await here.pod.transcription()
    await here.pod.connection.execute("UPDATE poddispatchd.leader SET term = term + 1")

    await here.step(2)

    assert len(await here.rows()) == 2


# --- videos that nobody can look at -------------------------------------------------------------------------


async def test_videos_whose_directory_hangs_hold_up_none_of_the_others(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    *hang, good = await here.videos(5)

    def refuse(task: Task) -> None:
        if task.video_id in hang:
            raise MediaMissingError("It does not answer.")

    _fitness(here, monkeypatch, refuse)
    await here.make([*hang, good])

    await here.step(2)

    assert await here.states() == {VideoState.WAITING: 4, VideoState.RUNNING: 1}
    hang.clear()
    await here.play()
    here.daemon.clock.advance(601)
    await here.step()
    assert await here.states() == {VideoState.WAITING: 3, VideoState.COMPLETED: 1, VideoState.RUNNING: 1}


async def test_videos_of_a_site_without_runners_hold_up_none_of_the_others(here: Bench) -> None:
    away = await here.videos(25)
    await here.pod.connection.execute(
        "UPDATE video_video_sites SET site_id = $1 WHERE video_id = ANY ($2::int[])",
        here.pod.world.other_site.id,
        away,
    )
    await here.make([*away, *await here.videos(1)])

    await here.step()

    assert await here.states() == {VideoState.WAITING: 25, VideoState.RUNNING: 1}


async def test_five_surprises_in_a_row_pause_it_before_all_of_it_is_skipped(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Task) -> None:
        raise KeyError("a bug")

    _fitness(here, monkeypatch, refuse)
    await here.make(await here.videos(60))

    await here.step(9)

    paused = await here.campaign()
    assert (paused.state, paused.words.startswith("5 videos of it could not be tried")) == (
        CampaignState.PAUSED,
        True,
    )
    assert paused.counts[VideoState.WAITING] >= 40


async def test_hours_that_another_release_wrote_pause_one_campaign_and_stop_no_other(here: Bench) -> None:
    await here.make(await here.videos(1), name="odd", windows="at full moon")
    await here.make(await here.videos(1), name="good")

    await here.step()

    assert (await here.campaign("odd")).words == "This release cannot read its hours."
    assert await here.states("good") == {VideoState.RUNNING: 1}


async def test_a_video_that_is_deleted_while_its_task_runs_is_told(here: Bench) -> None:
    first, second = await here.videos(2)
    await here.make([first, second], at_most=1)
    await here.step()
    await here.pod.connection.execute("DELETE FROM runner_manager_task")
    await here.pod.connection.execute("DELETE FROM video_video_sites WHERE video_id = $1", first)

    await here.step()

    assert await here.words() == ["Its task was deleted."]
    assert await here.states() == {VideoState.SKIPPED: 1, VideoState.RUNNING: 1}


async def test_a_task_that_is_completed_and_purged_before_anybody_looks_counts_as_completed(
    here: Bench,
) -> None:
    """It was told as skipped, for its task was deleted."""
    [video] = await here.videos(1)
    await here.make([video])
    await here.step()
    [task] = await here.play()
    await here.pod.connection.execute(
        "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, state, finished_at)"
        " VALUES ($1, 1, 'x', 'done', now())",
        task,
    )
    await here.pod.connection.execute("DELETE FROM runner_manager_task WHERE id = $1", task)

    await here.step()

    assert await here.states() == {VideoState.COMPLETED: 1}


# --- what is shown ------------------------------------------------------------------------------------------


async def test_metrics_count_its_videos_and_forget_it_when_it_is_over(here: Bench) -> None:
    def sample(name: str, state: str) -> float | None:
        return here.daemon.parts.metrics.registry.get_sample_value(f"poddispatchd_{name}", {"state": state})

    await here.make(await here.videos(2), at_most=1)
    await here.step()
    assert (sample("campaigns", "active"), sample("campaign_videos", "waiting")) == (1, 1)
    await here.play()
    here.daemon.clock.advance(61)
    await here.step()
    assert (sample("campaign_videos", "running"), sample("campaign_videos", "completed")) == (1, 1)
    async with here.pod.connection.transaction():
        assert await campaigns.cancel(here.pod.connection, "anew", "a person")
    await here.play()
    await here.step(2)
    assert (sample("campaigns", "active"), sample("campaign_videos", "completed")) == (0, 0)


async def test_one_that_is_half_forgotten_can_be_shown(here: Bench) -> None:
    """Its videos go first; as long as somebody held the campaign itself, no campaign could be listed."""
    await here.make(await here.videos(1))
    await here.pod.connection.execute(
        "UPDATE poddispatchd.campaign SET state = 'cancelled', changed_at = now() - interval '91 days'"
    )
    database = here.daemon.parts.database
    async with here.pod.connection.transaction():
        await here.pod.connection.execute("SELECT FROM poddispatchd.campaign FOR UPDATE")
        async with database.connection() as connection:
            with pytest.raises(RowLockedError):
                await campaigns.purge(connection, days=90, batch=10)
        async with database.connection() as connection:
            [progress] = await progress_of(connection, ZoneInfo("UTC"), here.daemon.clock.now())
    assert bar(progress.campaign) == f"[{'#' * 30}] 0 of 0 (100 %)"
