"""Whoever ends a task in words of our own wakes the notifier, which otherwise looks after ten minutes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.pod.tasks import get_task
from poddispatchd.sandbox.fake_runner_manager import Behaviour, RunOutcome
from poddispatchd.sandbox.pod.world import add_task
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    changes = {"reconcile": {"max_attempts": 1}, "imports": {"max_attempts": 1}}
    async with bench(pod_database, media_root, changes=changes) as made:
        yield made


async def _is_told(here: Bench, task: TaskPk) -> None:
    """The task has failed, somebody is to be told of it, and the notifier and the dispatcher look at once."""
    assert await here.status(task) == "failed"
    assert await here.value("SELECT count(*) FROM poddispatchd.notice WHERE task_pk = $1", task) == 1
    assert await here.parts.wakeups.notifier.wait(0)
    assert await here.parts.wakeups.dispatcher.wait(0)


async def test_of_a_source_that_is_gone(here: Bench) -> None:
    video = await here.video()
    (here.world.media_root / video.path).unlink()
    async with here.pod.connection() as connection:
        pk = await add_task(connection, TaskType.ENCODING, video=video)
        task = await get_task(connection, pk)
    assert task is not None
    dispatcher = features.dispatcher(here.parts)
    turn = dispatcher._turns.take(here.world.managers[0].id)
    await dispatcher._submitter.submit(task, here.parts.sites.current, turn)
    await _is_told(here, pk)


async def test_of_a_result_that_cannot_be_imported(here: Bench) -> None:
    task = await here.ready(behaviour=Behaviour(files={"info_video.json": b"{}"}))
    await here.import_due()
    await _is_told(here, task)


async def test_of_a_failure_that_was_reported(here: Bench) -> None:
    task = await here.running()
    await here.end(task, Behaviour(outcome=RunOutcome.FAILED, error="Bad medium"))
    await features.reconciler(here.parts).step()
    await _is_told(here, task)


async def test_of_a_failure_that_was_found_while_its_result_was_asked_for(here: Bench) -> None:
    """It was rung for within the transaction: whoever looked at once found nothing."""
    task = await here.running()
    await here.end(task, Behaviour(outcome=RunOutcome.FAILED, error="Bad medium"))
    await here.open_import(task)
    await here.import_due()
    await _is_told(here, task)
