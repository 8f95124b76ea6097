"""What would follow from what managers say of running tasks, and what Pod makes of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from poddispatchd.domain.task import RunnerTaskId, TaskPk, TaskStatus
from poddispatchd.reconcile.reconciler import ASK_AGAIN_AFTER
from poddispatchd.sandbox.fake_runner_manager import Behaviour, RunOutcome
from tests.integration.dispatch.scene import Scene, scene
from tests.integration.shadow.watcher import CRON_INTERVAL, watching
from tests.plugins.postgres import PodDatabase

INTERVAL = 60.0


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Scene]:
    async with scene(pod_database, media_root) as made:
        yield made


async def running(here: Scene) -> tuple[TaskPk, RunnerTaskId]:
    """A task that Pod has submitted, on its manager and in its row; not among the requests counted."""
    task, fake = await here.encoding(), here.fakes["first"]
    body = {
        "etab_name": "University / Pod",
        "app_name": "Esup-Pod",
        "app_version": "4.3.0",
        "task_type": "encoding",
        "source_url": f"http://pod.example.org/media/{task}.mp4",
        "notify_url": "",
        "parameters": {"rendition": "{}"},
    }
    headers = {"Authorization": f"Bearer {fake.token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{fake.url}/task/execute", json=body) as answer,
    ):
        task_id = RunnerTaskId((await answer.json())["task_id"])
    fake.requests.clear()
    await here.start(task, "first", task_id)
    return task, task_id


async def test_a_result_that_pod_fetches_agrees(here: Scene) -> None:
    task, task_id = await running(here)
    async with watching(here) as shadow:
        await shadow.ask()
        assert shadow.expected() == []
        await here.fakes["first"].finish(task_id)
        await shadow.ask(after=INTERVAL)
        await here.end(task)
        await shadow.ask(after=INTERVAL)
        assert shadow.expected() == [(task, "import", "first")]
        assert (shadow.agreed(), shadow.differed()) == ([(task, "same")], [])


async def test_a_result_that_nobody_fetches_is_told_once(here: Scene) -> None:
    task, task_id = await running(here)
    await here.fakes["first"].finish(task_id)
    async with watching(here) as shadow:
        await shadow.ask()
        await shadow.ask(after=5 * CRON_INTERVAL - INTERVAL)
        assert shadow.differed() == []
        for _ in range(3):
            await shadow.ask(after=2 * INTERVAL)
        assert (shadow.expected(), shadow.differed()) == (
            [(task, "import", "first")],
            [(task, "left_running")],
        )
        assert "poddispatchd would have imported its result" in shadow.words()


async def test_a_failure_that_a_new_submission_could_cure_is_given_up_by_pod(here: Scene) -> None:
    task, task_id = await running(here)
    crashed = Behaviour(
        outcome=RunOutcome.FAILED, error="Task process is no longer running", script_output=""
    )
    await here.fakes["first"].finish(task_id, behaviour=crashed)
    async with watching(here) as shadow:
        await shadow.ask()
        await here.end(task, TaskStatus.FAILED)
        await shadow.ask(after=INTERVAL)
        assert shadow.expected() == [(task, "requeue", "first")]
        assert shadow.differed() == [(task, "given_up")]
        assert "no longer running" in shadow.words()


async def test_a_failure_for_good_fails_in_pod_as_well(here: Scene) -> None:
    task, task_id = await running(here)
    broken = Behaviour(outcome=RunOutcome.FAILED, error="No stream", script_output="ffmpeg said no")
    await here.fakes["first"].finish(task_id, behaviour=broken)
    async with watching(here) as shadow:
        await shadow.ask()
        await here.end(task, TaskStatus.FAILED)
        await shadow.ask(after=INTERVAL)
        assert (shadow.expected(), shadow.agreed()) == ([(task, "fail", "first")], [(task, "same")])


async def test_a_task_that_its_manager_forgot_is_asked_about_no_more_often_than_others(here: Scene) -> None:
    task = await here.encoding()
    await here.start(task, "first", "forgotten")
    async with watching(here) as shadow:
        await shadow.ask()
        await shadow.ask(after=ASK_AGAIN_AFTER)
        assert shadow.expected() == [(task, "requeue", "first")]
        asked = len(here.fakes["first"].requests)
        await shadow.ask(after=ASK_AGAIN_AFTER)
        assert len(here.fakes["first"].requests) == asked
        await here.end(task)
        await shadow.ask(after=INTERVAL)
        assert shadow.differed() == [(task, "ended_otherwise")]


async def test_what_a_manager_takes_back_is_not_held_against_pod(here: Scene) -> None:
    """A manager that comes back from a crash may deny a task and know it again."""
    task, task_id = await running(here)
    record = here.fakes["first"].tasks.pop(task_id)
    async with watching(here) as shadow:
        await shadow.ask()
        await shadow.ask(after=ASK_AGAIN_AFTER)
        here.fakes["first"].tasks[task_id] = record
        await shadow.ask(after=INTERVAL)
        await shadow.ask(after=10 * CRON_INTERVAL)
        assert shadow.expected() == [(task, "requeue", "first")]
        assert (shadow.agreed(), shadow.differed()) == ([], [])
