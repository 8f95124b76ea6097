"""Tasks that a person restarts or cancels while it is not known whether a manager took them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from poddispatchd.app import features
from poddispatchd.callbacks import inbox
from poddispatchd.domain.callback import Callback
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import RunnerStatus, RunnerTaskId, TaskPk
from poddispatchd.errors import RunnerManagerFullError
from poddispatchd.journal.submissions import SubmissionState
from poddispatchd.observability.events import Event
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.records import Accepted, StopOutcome
from poddispatchd.sandbox.fake_runner_manager import AnswerFault, Endpoint, FaultKind
from poddispatchd.sandbox.pod.world import add_video
from poddispatchd.tasks.administration import cancel_tasks, restart_tasks
from tests.integration.dispatch.scene import Daemon, Scene, scene
from tests.plugins.postgres import PodDatabase


@pytest.fixture
async def pod(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Scene]:
    async with scene(pod_database, media_root) as made:
        yield made


async def _restart(daemon: Daemon, pk: TaskPk) -> None:
    [treated] = await restart_tasks(daemon.parts.database, daemon.parts.client, [pk], by="somebody")
    assert treated.done


async def _restart_in_pod(pod: Scene, pk: TaskPk) -> None:
    """As Pod's administration does, which tells nobody."""
    await pod.connection.execute(
        "UPDATE runner_manager_task SET status = 'pending', task_id = NULL, runner_manager_id = NULL,"
        " rank = NULL, script_output = NULL, date_added = now() WHERE id = $1",
        pk,
    )


async def _lost(pod: Scene, daemon: Daemon) -> RunnerTaskId:
    """Submit, and lose the answer; the id that nobody knows."""
    pod.fakes["first"].faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.DROP_ANSWER))
    await daemon.dispatcher.step()
    await daemon.dispatcher.drain()
    [record] = pod.fakes["first"].tasks.values()
    return record.task_id


async def _called(pod: Scene, daemon: Daemon, task_id: RunnerTaskId) -> None:
    """The manager calls about a run."""
    async with daemon.parts.database.connection() as connection:
        said = Callback(task_id, RunnerStatus.COMPLETED)
        await inbox.record(connection, (pod.ids["first"],), said)
    await features.callback_worker(daemon.parts).step()


async def _submitted(daemon: Daemon) -> None:
    daemon.clock.advance(120)
    await daemon.probe()
    await daemon.settle()


async def test_a_restarted_task_runs_anew_and_not_as_it_was_posted_before(pod: Scene) -> None:
    """Its old bytes went out again, and the manager gave back the run that nobody wanted any more."""
    [pk] = await pod.encodings(1)
    daemon = await pod.daemon()
    unknown = await _lost(pod, daemon)
    await _restart(daemon, pk)
    await _submitted(daemon)
    first, second = await pod.journal(pk)
    assert (first.state, second.state) == (SubmissionState.ORPHANED, SubmissionState.ACCEPTED)
    assert first.body != second.body
    assert (await pod.row(pk))["task_id"] == second.task_id != unknown
    await _called(pod, daemon, unknown)
    assert (await pod.row(pk))["task_id"] == second.task_id


@pytest.mark.parametrize("change", ["restarted", "of another type"])
async def test_one_that_is_another_request_in_pod_by_now_is_not_posted_as_it_was(
    pod: Scene, change: str
) -> None:
    """Its old bytes went out again, and it was given the run of what was asked for before."""
    [pk] = await pod.encodings(1)
    daemon = await pod.daemon()
    unknown = await _lost(pod, daemon)
    if change == "restarted":
        await _restart_in_pod(pod, pk)
    else:
        await pod.connection.execute(
            "UPDATE runner_manager_task SET type = 'transcription' WHERE id = $1", pk
        )
    await _submitted(daemon)
    first, second = await pod.journal(pk)
    assert (first.state, second.state) == (SubmissionState.ORPHANED, SubmissionState.ACCEPTED)
    assert first.body != second.body
    assert (await pod.row(pk))["task_id"] == second.task_id != unknown
    await _called(pod, daemon, unknown)
    assert (await pod.row(pk))["task_id"] == second.task_id


async def test_one_that_is_restarted_in_pod_as_its_bytes_are_about_to_go_out_again_has_that_run_stopped(
    pod: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    [pk] = await pod.encodings(1)
    daemon = await pod.daemon()
    unknown = await _lost(pod, daemon)
    daemon.clock.advance(120)
    await daemon.probe()
    ping = RunnerClient.ping

    async def restarted_meanwhile(client: RunnerClient, manager: RunnerManager) -> None:
        monkeypatch.undo()
        await ping(client, manager)
        await _restart_in_pod(pod, pk)

    monkeypatch.setattr(RunnerClient, "ping", restarted_meanwhile)
    await daemon.settle()
    await _submitted(daemon)
    assert (await pod.row(pk))["task_id"] not in (None, unknown)
    assert pod.fakes["first"].tasks[unknown].status == "failed"


async def test_a_call_for_the_run_before_a_restart_is_not_taken_for_the_task(pod: Scene) -> None:
    [pk] = await pod.encodings(1)
    daemon = await pod.daemon()
    unknown = await _lost(pod, daemon)
    await _restart(daemon, pk)
    daemon.clock.advance(120)
    await daemon.probe()
    await _called(pod, daemon, unknown)
    assert dict(await pod.row(pk))["status"] == "pending"


async def test_a_cancelled_task_brings_nothing_in_whatever_its_manager_made_of_it(pod: Scene) -> None:
    [pk] = await pod.encodings(1)
    daemon = await pod.daemon()
    unknown = await _lost(pod, daemon)
    await cancel_tasks(daemon.parts.database, daemon.parts.client, [pk], by="somebody")
    await _submitted(daemon)
    await _called(pod, daemon, unknown)
    row = await pod.row(pk)
    assert (row["status"], row["task_id"], pod.posts("first")) == ("failed", None, 1)
    await _restart(daemon, pk)
    await _submitted(daemon)
    assert (await pod.row(pk))["task_id"] not in (None, unknown)


async def test_a_restart_while_the_answer_is_on_its_way_makes_that_run_nobodys(pod: Scene) -> None:
    [pk] = await pod.encodings(1)
    daemon = await pod.daemon()
    fake = pod.fakes["first"]
    fake.faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.SLOW, seconds=1.0))
    await daemon.dispatcher.step()
    await fake.wait_for(lambda: bool(fake.tasks))
    await _restart(daemon, pk)
    async with asyncio.timeout(20):
        await daemon.dispatcher.drain()
    [stopped] = fake.tasks.values()
    assert (await pod.row(pk))["task_id"] is None
    await _submitted(daemon)
    assert (await pod.row(pk))["task_id"] not in (None, stopped.task_id)
    assert [request.path for request in fake.requests if "stop" in request.path] == [
        f"/task/stop/{stopped.task_id}"
    ]


async def test_a_restart_while_a_manager_looks_in_vain_for_a_runner_is_met_as_any_other_moment(
    pod: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at the open intents had forgotten the post that was refused: it ended as a bug."""
    [pk] = await pod.encodings(1)
    daemon = await pod.daemon()

    async def full(_client: RunnerClient, _manager: RunnerManager, _body: bytes) -> Accepted:
        monkeypatch.undo()
        await _restart_in_pod(pod, pk)
        term = daemon.parts.session.term
        assert term is not None
        await daemon.dispatcher.unanswered.settle({pk}, lambda *_: None, term=term)
        raise RunnerManagerFullError

    monkeypatch.setattr(RunnerClient, "execute", full)
    with capture_logs() as logs:
        await daemon.settle()
        await _submitted(daemon)
    assert [entry for entry in logs if entry["event"] == Event.SERVICE_CRASHED] == []
    first, second = await pod.journal(pk)
    assert (first.state, second.state) == (SubmissionState.ORPHANED, SubmissionState.ACCEPTED)
    assert (await pod.row(pk))["task_id"] == second.task_id


async def test_one_that_waited_behind_a_cancelled_task_does_not_get_its_run_that_is_being_stopped(
    pod: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manager gives it for the same bytes for as long as it runs: that task failed as cancelled, too."""
    video = await add_video(pod.connection, pod.world)
    cancelled = await pod.encoding_of(video)
    daemon = await pod.daemon()
    await daemon.settle()
    waiting = await pod.encoding_of(video)
    stop = RunnerClient.stop

    async def submitted_before(
        client: RunnerClient, manager: RunnerManager, task_id: RunnerTaskId
    ) -> StopOutcome:
        monkeypatch.undo()
        await _submitted(daemon)
        return await stop(client, manager, task_id)

    monkeypatch.setattr(RunnerClient, "stop", submitted_before)
    await cancel_tasks(daemon.parts.database, daemon.parts.client, [cancelled], by="somebody")
    await _submitted(daemon)
    [stopped] = [run for run in await pod.journal(cancelled) if run.task_id is not None]
    first, second = await pod.journal(waiting)
    assert (first.state, second.state) == (SubmissionState.LOST, SubmissionState.ACCEPTED)
    assert (await pod.row(waiting))["task_id"] == second.task_id != stopped.task_id
    assert pod.fakes["first"].tasks[RunnerTaskId(str(second.task_id))].in_flight
