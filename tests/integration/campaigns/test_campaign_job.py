"""A campaign on a real Pod: when it adds a task, and what becomes of each video."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.app.campaign_checks import campaign_findings
from poddispatchd.app.findings import CheckLevel
from poddispatchd.campaigns.job import CampaignJob
from poddispatchd.dispatch.payloads import Payloads
from poddispatchd.domain.payload import Payload
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import Task, TaskPk, TaskStatus, TaskType, VideoId
from poddispatchd.journal import campaigns
from poddispatchd.journal.campaigns import Campaign, CampaignState, VideoState, Wanted
from poddispatchd.sandbox.pod.world import add_video
from tests.integration.counting import counted
from tests.integration.dispatch.scene import Daemon, Scene, Spec, scene
from tests.plugins.postgres import PodDatabase


@dataclass(slots=True)
class Bench:
    """A Pod, a daemon and its job of campaigns."""

    pod: Scene
    daemon: Daemon
    job: CampaignJob

    async def videos(self, count: int, **facts: object) -> list[VideoId]:
        made = [
            await add_video(self.pod.connection, self.pod.world, title=f"Old lecture {number}", **facts)  # type: ignore[arg-type]
            for number in range(count)
        ]
        return [video.id for video in made]

    async def make(
        self,
        videos: Sequence[int],
        *,
        name: str = "anew",
        kind: TaskType = TaskType.ENCODING,
        at_most: int = 2,
        windows: str | None = None,
    ) -> None:
        wanted = Wanted(name, kind, at_most, windows, "a person")
        async with self.pod.connection.transaction():
            assert await campaigns.create(self.pod.connection, wanted, list(map(VideoId, videos))) is not None

    async def campaign(self, name: str = "anew") -> Campaign:
        [found] = await campaigns.campaigns(self.pod.connection, name)
        return found

    async def states(self, name: str = "anew") -> dict[VideoState, int]:
        return {state: count for state, count in (await self.campaign(name)).counts.items() if count}

    async def words(self, name: str = "anew") -> list[str]:
        found = await campaigns.videos_of(
            self.pod.connection, (await self.campaign(name)).id, [VideoState.SKIPPED], limit=99
        )
        return [video.words for video in found]

    async def step(self, times: int = 1) -> float:
        delay = 0.0
        for _ in range(times):
            delay = await self.job.step()
        return delay

    async def rows(self, status: str = "pending") -> list[TaskPk]:
        rows = await self.pod.connection.fetch(
            "SELECT id FROM runner_manager_task WHERE status = $1 ORDER BY id", status
        )
        return [TaskPk(row["id"]) for row in rows]

    async def play(self, status: TaskStatus = TaskStatus.COMPLETED) -> list[TaskPk]:
        """The pending tasks run, and end so."""
        pending = await self.rows()
        for pk in pending:
            await self.pod.end(pk, status)
        return pending


@pytest.fixture
def spec() -> Spec:
    return Spec("first", runners=9)


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path, spec: Spec) -> AsyncIterator[Bench]:
    async with scene(pod_database, media_root, spec) as pod:
        daemon = await pod.daemon()
        await daemon.settle()
        yield Bench(pod, daemon, features.campaigns(daemon.parts))


async def test_one_task_after_the_other_is_added_and_submitted_and_at_most_so_many_at_once(
    here: Bench,
) -> None:
    await here.make(await here.videos(5))

    await here.step()
    assert len(await here.rows()) == 1
    # Its own row waits for the runner: there is no second one before it has it.
    await here.step()
    assert len(await here.rows()) == 1
    await here.daemon.settle()
    assert await here.pod.statuses() == {"running": 1}
    await here.step()
    await here.daemon.settle()
    assert await here.pod.statuses() == {"running": 2}
    await here.step(3)
    assert await here.rows() == []
    assert await here.states() == {VideoState.WAITING: 3, VideoState.RUNNING: 2}


async def test_a_campaign_goes_on_when_its_tasks_end_and_is_done_with_the_last(here: Bench) -> None:
    await here.make(await here.videos(3), at_most=1)
    for _ in range(3):
        await here.step()
        assert len(await here.play()) == 1
    await here.step()

    assert await here.states() == {VideoState.COMPLETED: 3}
    assert (await here.campaign()).state is CampaignState.DONE
    assert await here.step() >= 300


async def test_nothing_is_added_while_anything_waits_for_a_free_runner(here: Bench) -> None:
    await here.make(await here.videos(2))
    # A task of any type whose runner is free, also one that Pod may be submitting itself.
    task = await here.pod.transcription()

    await here.step(3)
    assert await here.rows() == [task]
    await here.pod.end(task)
    await here.step()
    assert len(await here.rows()) == 1


async def test_what_waits_for_something_else_than_a_runner_holds_nothing_up(here: Bench) -> None:
    video = await add_video(here.pod.connection, here.pod.world)
    running, duplicate = await here.pod.encoding_of(video), await here.pod.encoding_of(video)
    await here.pod.start(running, "first", "runs-already")
    waits = await here.pod.encoding()
    await here.pod.connection.execute(
        "INSERT INTO poddispatchd.own_task (task_pk, date_added, not_before)"
        " SELECT id, date_added, now() + interval '5 minutes' FROM runner_manager_task WHERE id = $1",
        waits,
    )
    odd = await here.pod.encoding()
    await here.pod.connection.execute("UPDATE runner_manager_task SET type = 'odd' WHERE id = $1", odd)
    await here.make(await here.videos(1))

    await here.step()

    added = set(await here.rows()) - {duplicate, waits, odd}
    assert len(added) == 1


@pytest.mark.parametrize("spec", [Spec("first", runners=1, types=frozenset({TaskType.ENCODING}))])
async def test_a_type_that_is_full_everywhere_holds_another_one_up_no_more(here: Bench) -> None:
    await here.make(await here.videos(1))
    transcription = await here.pod.transcription()
    await here.daemon.settle()  # 503: no runner takes transcriptions
    assert await here.pod.status(transcription) == "pending"

    await here.step()

    assert len(await here.rows()) == 2


@pytest.mark.parametrize("spec", [Spec("first", runners=1)])
async def test_a_full_manager_gets_nothing_from_a_campaign(here: Bench) -> None:
    await here.pod.encoding()
    await here.pod.encoding()
    await here.daemon.settle()
    assert await here.pod.statuses() == {"running": 1, "pending": 1}
    await here.make(await here.videos(1))

    await here.step(3)

    assert len(await here.rows()) == 1


async def test_a_paused_manager_gets_nothing_from_a_campaign(here: Bench) -> None:
    await here.pod.connection.execute(
        "INSERT INTO poddispatchd.manager_state (id, paused_at) SELECT id, now() FROM runner_manager"
    )
    await here.daemon.parts.managers.refresh(within=0)
    await here.make(await here.videos(1))

    await here.step(2)

    assert await here.rows() == []


async def test_outside_its_hours_a_campaign_begins_nothing(here: Bench) -> None:
    now = here.daemon.clock.now()
    later = f"{(now.hour + 5) % 24:02d}:00-{(now.hour + 6) % 24:02d}:00"
    await here.make(await here.videos(1), windows=later)
    await here.make(await here.videos(1), name="always", windows="00:00-24:00")

    await here.step()

    assert (await here.states(), await here.states("always")) == (
        {VideoState.WAITING: 1},
        {VideoState.RUNNING: 1},
    )


async def test_a_video_that_is_gone_or_has_no_file_is_skipped_with_its_reason(here: Bench) -> None:
    gone, missing, good = 999_999, *await here.videos(2)
    file = await here.pod.connection.fetchval("SELECT video FROM video_video WHERE id = $1", missing)
    (here.pod.media_root / file).unlink()
    await here.make([gone, missing, good])

    await here.step(2)

    assert await here.states() == {VideoState.SKIPPED: 2, VideoState.RUNNING: 1}
    assert any(f"Video {gone} has been deleted." in words for words in await here.words())
    assert any("does not exist" in words for words in await here.words())


async def test_a_video_that_nobody_was_prepared_for_stops_no_other(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd, good = await here.videos(2)
    fitness = Payloads.of

    async def of(self: Payloads, task: Task, site: Site) -> Payload:
        if task.video_id == odd:
            raise KeyError("a bug")
        return await fitness(self, task, site)

    monkeypatch.setattr(Payloads, "of", of)
    here.job = features.campaigns(here.daemon.parts)
    await here.make([odd, good])

    await here.step(2)

    assert await here.states() == {VideoState.SKIPPED: 1, VideoState.RUNNING: 1}
    assert any("an error nobody foresaw (KeyError)" in words for words in await here.words())


async def test_a_video_whose_task_the_site_refuses_stops_no_other(here: Bench) -> None:
    """A trigger of the site raised an error: the job met it at every look, and nothing was added."""
    odd, good = await here.videos(2)
    await here.pod.connection.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON runner_manager_task"
        f" FOR EACH ROW WHEN (NEW.video_id = {odd}) EXECUTE FUNCTION refuse()"
    )
    await here.make([odd, good])

    await here.step(2)

    assert await here.states() == {VideoState.SKIPPED: 1, VideoState.RUNNING: 1}
    assert any("The database refused a statement" in words for words in await here.words())
    assert not any("not this one" in words for words in await here.words())


async def test_a_video_whose_row_is_held_waits_and_the_next_one_goes(
    here: Bench, pod_database: PodDatabase
) -> None:
    """Somebody had left a session open: no campaign went on until he closed it."""
    held, good = await here.videos(2)
    await here.make([held, good])
    async with pod_database.connection() as other, other.transaction():
        await other.execute("SELECT FROM video_video WHERE id = $1 FOR UPDATE", held)

        await here.step()

        assert await here.states() == {VideoState.WAITING: 1, VideoState.RUNNING: 1}
    await here.play()
    here.daemon.clock.advance(61)
    await here.step()
    assert await here.states() == {VideoState.COMPLETED: 1, VideoState.RUNNING: 1}


async def test_a_campaign_whose_row_is_held_waits_and_the_next_one_goes(
    here: Bench, pod_database: PodDatabase
) -> None:
    await here.make(await here.videos(5), name="held")
    await here.make(await here.videos(1), name="good")
    async with pod_database.connection() as other, other.transaction():
        await other.execute("SELECT FROM poddispatchd.campaign WHERE name = 'held' FOR UPDATE")

        await here.step()

        assert await here.states("held") == {VideoState.WAITING: 5}
        assert await here.states("good") == {VideoState.RUNNING: 1}


async def test_nothing_is_skipped_because_the_media_tree_is_away(here: Bench) -> None:
    await here.make(await here.videos(3))
    here.pod.media_root.rename(here.pod.media_root.with_name("away"))

    await here.step(2)

    assert await here.states() == {VideoState.WAITING: 3}
    assert await here.rows() == []


async def test_a_video_whose_task_waits_or_runs_already_gets_no_second_one(here: Bench) -> None:
    video = await add_video(here.pod.connection, here.pod.world)
    task = await here.pod.encoding_of(video)
    await here.pod.start(task, "first", "runs-already")
    await here.make([video.id])

    await here.step(2)

    assert await here.words() == [f"Task {task} does it already."]
    assert await here.rows() == []
    assert (await here.campaign()).state is CampaignState.DONE


async def test_a_video_that_is_busy_with_another_type_waits_and_the_next_one_goes(here: Bench) -> None:
    first = await add_video(here.pod.connection, here.pod.world)
    second = await add_video(here.pod.connection, here.pod.world)
    task = await here.pod.encoding_of(first)
    await here.pod.start(task, "first", "encodes")
    await here.make([first.id, second.id], kind=TaskType.TRANSCRIPTION)

    await here.step()

    rows = await here.pod.connection.fetch(
        "SELECT video_id FROM runner_manager_task WHERE type = 'transcription'"
    )
    assert [row["video_id"] for row in rows] == [second.id]


async def test_five_failures_in_a_row_pause_it_and_a_person_can_resume(here: Bench) -> None:
    await here.make(await here.videos(9), at_most=1)
    for _ in range(5):
        await here.step()
        await here.play(TaskStatus.FAILED)
    await here.step(2)

    paused = await here.campaign()
    assert (paused.state, paused.counts[VideoState.FAILED]) == (CampaignState.PAUSED, 5)
    assert "The last 5 tasks of it failed" in paused.words
    [finding] = await campaign_findings(here.daemon.parts.database)
    assert (finding.severity, paused.words in finding.words) == (CheckLevel.PROBLEM, True)
    assert await here.rows() == []
    assert await campaigns.resume(here.pod.connection, "anew", "a person")
    await here.step()
    assert len(await here.rows()) == 1
    [finding] = await campaign_findings(here.daemon.parts.database)
    assert (finding.severity, finding.words.startswith("anew has done 5 of 9 videos")) == (
        CheckLevel.NOTE,
        True,
    )


async def test_a_failure_that_is_mended_counts_as_done(here: Bench) -> None:
    await here.make(await here.videos(2), at_most=1)
    await here.step()
    [task] = await here.play(TaskStatus.FAILED)
    await here.step()
    assert await here.states() == {VideoState.FAILED: 1, VideoState.RUNNING: 1}
    await here.pod.end(task, TaskStatus.COMPLETED)
    await here.step()
    assert await here.states() == {VideoState.COMPLETED: 1, VideoState.RUNNING: 1}


async def test_a_cancelled_campaign_begins_nothing_more_and_follows_what_runs(here: Bench) -> None:
    await here.make(await here.videos(3), at_most=1)
    await here.step()
    async with here.pod.connection.transaction():
        assert await campaigns.cancel(here.pod.connection, "anew", "a person")
    await here.play()
    await here.step(2)

    assert await here.states() == {VideoState.COMPLETED: 1, VideoState.CANCELLED: 2}
    assert await here.rows() == []


async def test_who_schedules_no_more_adds_nothing(here: Bench) -> None:
    await here.make(await here.videos(1))
    # Another daemon has begun a term, and this one has not heard of it.
    await here.pod.connection.execute("UPDATE poddispatchd.leader SET term = term + 1")

    await here.step(2)

    assert await here.rows() == []
    assert await here.states() == {VideoState.WAITING: 1}


async def test_what_was_added_is_known_to_the_successor(here: Bench) -> None:
    await here.make(await here.videos(3), at_most=1)
    await here.step()
    successor = await here.pod.successor()
    again = features.campaigns(successor.parts)
    for _ in range(3):
        await again.step()

    assert len(await here.rows()) == 1


async def test_several_campaigns_take_turns(here: Bench) -> None:
    await here.make(await here.videos(4), name="one")
    await here.make(await here.videos(4), name="two")
    for _ in range(2):
        await here.step()
        await here.daemon.settle()

    assert await here.states("one") == await here.states("two")


async def test_without_a_campaign_it_is_one_statement_every_five_minutes(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with counted(monkeypatch) as cost:
        delay = await here.step()

    assert (len(cost.statements), cost.transactions) == (1, 0)
    assert delay >= 300
