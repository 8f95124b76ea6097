"""Several tasks of one type and source: the source is worked on once for all who waited for it."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.dispatch.submitter import Submitter
from poddispatchd.domain.task import TaskPk, TaskStatus, TaskType
from poddispatchd.pod import duplicates, tasks
from poddispatchd.pod.tasks import task_of
from poddispatchd.reconcile.reconciler import ASK_AGAIN_AFTER
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.records import Accepted
from poddispatchd.sandbox.fake_runner_manager import AnswerFault, Endpoint, FaultKind
from poddispatchd.sandbox.pod.world import SampleVideo, add_task, add_video
from tests.integration.dispatch.scene import Scene, Spec, scene
from tests.plugins.postgres import PodDatabase

_MINUTE_AGO = timedelta(minutes=1)


async def _video(pod: Scene) -> SampleVideo:
    return await add_video(pod.connection, pod.world)


async def _add(pod: Scene, video: SampleVideo, *, age: timedelta = timedelta()) -> TaskPk:
    moment = datetime.now(UTC) - age
    return await add_task(pod.connection, TaskType.ENCODING, video=video, date_added=moment)


async def _restart_by_hand(pod: Scene, pk: TaskPk) -> None:
    """Pod's administration restarts a task."""
    await pod.connection.execute(
        "UPDATE runner_manager_task SET status = 'pending', task_id = NULL, runner_manager_id = NULL,"
        " rank = NULL, script_output = NULL, date_added = now() WHERE id = $1",
        pk,
    )


async def _statuses(pod: Scene, *pks: TaskPk) -> list[str]:
    return [await pod.status(pk) for pk in pks]


async def test_one_source_is_submitted_once_and_its_duplicates_follow(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        video = await _video(pod)
        first, second, third = [await _add(pod, video) for _ in range(3)]
        daemon = await pod.daemon()
        await daemon.settle()
        assert await _statuses(pod, first, second, third) == ["running", "pending", "pending"]

        await pod.end(first, TaskStatus.COMPLETED)
        [task_id] = pod.fakes["first"].tasks
        await pod.fakes["first"].finish(task_id)
        later = await _add(pod, video)
        await daemon.settle()
        assert await _statuses(pod, second, third) == ["completed", "completed"]
        assert f"Task {first}" in (await pod.row(second))["script_output"]
        # Added after the first one was submitted: a new request, for the video may have been cut meanwhile.
        assert await pod.status(later) == "running"
        assert pod.posts("first") == 2


async def test_a_task_that_waits_for_one_that_is_completed_by_hand_runs_itself(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """It was completed too, as if the source were done: there was no result of either."""
    async with scene(pod_database, media_root) as pod:
        video = await _video(pod)
        first, second = [await _add(pod, video) for _ in range(2)]
        daemon = await pod.daemon()
        await daemon.settle()
        await pod.complete_by_hand(first)
        [task_id] = pod.fakes["first"].tasks
        await pod.fakes["first"].finish(task_id)
        await daemon.settle()
        assert await _statuses(pod, first, second) == ["completed", "running"]


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(hours=-1)])
async def test_duplicates_are_told_from_new_requests_whatever_pods_clock_says(
    pod_database: PodDatabase, media_root: Path, ahead: timedelta
) -> None:
    async with scene(pod_database, media_root) as pod:
        video = await _video(pod)
        first, second = [await _add(pod, video, age=-ahead) for _ in range(2)]
        daemon = await pod.daemon()
        await daemon.settle()
        later = await _add(pod, video, age=-ahead)
        await pod.end(first)
        [task_id] = pod.fakes["first"].tasks
        await pod.fakes["first"].finish(task_id)
        await daemon.settle()
        assert await _statuses(pod, second, later) == ["completed", "running"]


@pytest.mark.parametrize("end", [TaskStatus.COMPLETED, TaskStatus.FAILED])
async def test_a_hundred_duplicates_follow_too(
    pod_database: PodDatabase, media_root: Path, end: TaskStatus
) -> None:
    # The run that counts was once looked for among the newest duplicates only: closed ones.
    async with scene(pod_database, media_root) as pod:
        video = await _video(pod)
        first, *others = [await _add(pod, video) for _ in range(130)]
        daemon = await pod.daemon()
        await daemon.settle()
        await pod.end(first, end)
        await daemon.settle()
        assert await pod.statuses() == {end: len(others) + 1}
        assert pod.posts("first") == 1


async def test_duplicates_of_a_failure_fail_alike(pod_database: PodDatabase, media_root: Path) -> None:
    async with scene(pod_database, media_root) as pod:
        video = await _video(pod)
        first, second = [await _add(pod, video) for _ in range(2)]
        daemon = await pod.daemon()
        await daemon.settle()
        await pod.end(first, TaskStatus.TIMEOUT)
        await daemon.settle()
        assert await pod.status(second) == "timeout"
        assert pod.posts("first") == 1


@pytest.mark.parametrize("is_last", [True, False])
@pytest.mark.parametrize(
    ("end", "shown"), [(TaskStatus.COMPLETED, (0, "done")), (TaskStatus.FAILED, (-1, "Task 1 did the same"))]
)
async def test_a_video_is_in_progress_no_longer_when_its_last_task_ends_as_a_duplicate(
    pod_database: PodDatabase, media_root: Path, is_last: bool, end: TaskStatus, shown: tuple[int, str]
) -> None:
    """An encoding was brought in while a duplicate of a transcription waited: transcripting, for ever."""
    async with scene(pod_database, media_root) as pod:
        video = await _video(pod)
        first, second = [
            await add_task(pod.connection, TaskType.TRANSCRIPTION, video=video) for _ in range(2)
        ]
        daemon = await pod.daemon()
        await daemon.settle()
        await pod.end(first, end)
        # What the import of an encoding shows while a transcription is on its way.
        await pod.connection.execute("UPDATE video_video SET encoding_in_progress = true")
        if not is_last:
            await pod.start(await _add(pod, video), "first", "an-encoding")
        await daemon.settle()
        assert await pod.status(second) == end
        row = await pod.connection.fetchrow(
            "SELECT encoding_in_progress, num_step, desc_step"
            " FROM video_video AS video JOIN video_encode_transcript_encodingstep ON video_id = video.id"
        )
        assert row is not None
        assert row["encoding_in_progress"] is not is_last
        if is_last:
            assert row["num_step"] == shown[0]
            assert row["desc_step"].startswith(shown[1])


async def test_a_duplicate_that_ends_while_an_encoding_is_brought_in_leaves_no_video_in_progress(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """Whoever brings it in still sees the duplicate wait; whoever ends that still sees the encoding run."""
    async with scene(pod_database, media_root) as pod, pod_database.connection() as importing:
        video = await _video(pod)
        first, second = [
            await add_task(pod.connection, TaskType.TRANSCRIPTION, video=video) for _ in range(2)
        ]
        daemon = await pod.daemon()
        await daemon.settle()
        await pod.end(first)
        encoding = await _add(pod, video)
        await pod.start(encoding, "first", "an-encoding")
        async with importing.transaction():
            done = "UPDATE runner_manager_task SET status = 'completed' WHERE id = $1"
            await importing.execute(done, encoding)
            await importing.execute("UPDATE video_video SET encoding_in_progress = true")
            ending = asyncio.create_task(daemon.settle())
            waits = (
                "SELECT EXISTS (SELECT FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock')"
            )
            while not (ending.done() or await pod.connection.fetchval(waits)):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.001)
        await ending
        assert await pod.status(second) == "completed"
        assert not await pod.connection.fetchval("SELECT encoding_in_progress FROM video_video")


async def test_a_duplicate_of_a_failure_shares_its_run_should_a_runner_mend_it(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """The fault campaign found one failed whose result was there: its duplicate failed, then completed."""
    async with scene(pod_database, media_root) as pod:
        video = await _video(pod)
        first, second = [await _add(pod, video) for _ in range(2)]
        daemon = await pod.daemon()
        await daemon.settle()
        await pod.end(first, TaskStatus.FAILED)
        await daemon.settle()
        failed, follower = await pod.row(first), await pod.row(second)
        assert (follower["status"], follower["task_id"]) == ("failed", failed["task_id"])
        assert follower["runner_manager_id"] == failed["runner_manager_id"]

        await duplicates.complete(pod.connection, task_of(failed))
        assert await pod.status(second) == "completed"


async def test_a_task_whose_spoilt_run_is_repeated_does_not_end_as_the_duplicate_of_that_very_run(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """The fault campaign found both failed: the run failed, was mended, and its result was cut short."""
    async with scene(pod_database, media_root) as pod:
        video = await _video(pod)
        first, second = [await _add(pod, video) for _ in range(2)]
        daemon = await pod.daemon()
        await daemon.settle()
        await pod.end(first, TaskStatus.FAILED)
        [task_id] = pod.fakes["first"].tasks
        await pod.fakes["first"].finish(task_id)
        await daemon.settle()
        failed = task_of(await pod.row(first))
        assert (await pod.row(second))["task_id"] == failed.task_id
        assert await tasks.requeue(pod.connection, failed)
        await daemon.settle()
        assert await _statuses(pod, first, second) == ["running", "failed"]
        assert pod.posts("first") == 2


async def test_duplicates_of_a_task_that_everybody_refuses_fail_unasked(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("one"), Spec("two")) as pod:
        video = await _video(pod)
        first, second, third = [await _add(pod, video) for _ in range(3)]
        for fake in pod.fakes.values():
            refusal = AnswerFault(kind=FaultKind.STATUS, status=422, body={"detail": "no such thing"})
            fake.faults.inject(Endpoint.EXECUTE, refusal, times=None)
        daemon = await pod.daemon()
        await daemon.settle()
        assert await _statuses(pod, first, second, third) == ["failed"] * 3
        assert (pod.posts("one"), pod.posts("two")) == (1, 1)
        words = (await pod.row(third))["script_output"]
        assert f"Task {first} for the same source failed" in words
        assert "no such thing" in words
        # People are told of one failure, not of three.
        assert await pod.connection.fetchval("SELECT count(*) FROM poddispatchd.notice") == 1


async def test_a_duplicate_that_pod_may_be_submitting_is_left_alone_when_another_one_fails(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        await _video(pod)
        video = await add_video(pod.connection, pod.world, with_file=False)
        old, young = await _add(pod, video, age=_MINUTE_AGO), await _add(pod, video)
        daemon = await pod.daemon(dispatch={"grace": "30s"})
        await daemon.settle()
        assert await _statuses(pod, old, young) == ["failed", "pending"]


async def test_one_run_serves_a_duplicate_and_the_task_that_was_restarted_meanwhile(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        video = await _video(pod)
        failed = await _add(pod, video)
        await pod.end(failed, TaskStatus.FAILED)
        waiting = await _add(pod, video)
        await _restart_by_hand(pod, failed)
        daemon = await pod.daemon()
        await daemon.settle()
        # The restarted one stands last: the one that waited for longer runs for both.
        assert await _statuses(pod, waiting, failed) == ["running", "pending"]
        await pod.end(waiting)
        await daemon.settle()
        assert await pod.status(failed) == "completed"
        assert pod.posts("first") == 1


async def test_a_closed_duplicate_that_is_restarted_runs(pod_database: PodDatabase, media_root: Path) -> None:
    async with scene(pod_database, media_root) as pod:
        video = await _video(pod)
        first, second = [await _add(pod, video) for _ in range(2)]
        daemon = await pod.daemon()
        await daemon.settle()
        await pod.end(first)
        [task_id] = pod.fakes["first"].tasks
        await pod.fakes["first"].finish(task_id)
        await daemon.settle()
        assert await pod.status(second) == "completed"
        await _restart_by_hand(pod, second)
        await daemon.settle()
        assert await pod.status(second) == "running"


@pytest.mark.parametrize("status", ["running", "warning"])
async def test_a_source_that_runs_under_pods_own_submission_is_not_submitted_again(
    pod_database: PodDatabase, media_root: Path, status: str
) -> None:
    async with scene(pod_database, media_root) as pod:
        video = await _video(pod)
        older, of_pod = await _add(pod, video, age=_MINUTE_AGO), await _add(pod, video)
        younger = await _add(pod, video, age=-_MINUTE_AGO)
        await pod.start(of_pod, "first", "an-id-of-pod")
        await pod.connection.execute(
            "UPDATE runner_manager_task SET status = $2 WHERE id = $1", of_pod, status
        )
        daemon = await pod.daemon()
        await daemon.settle()
        assert await _statuses(pod, older, younger) == ["pending", "pending"]

        await pod.end(of_pod)
        await daemon.settle()
        # Pod cannot have begun before it added its row: what was asked for earlier is done, the other is not.
        assert await _statuses(pod, older, younger) == ["completed", "running"]
        assert pod.posts("first") == 1


async def test_tasks_that_hang_since_before_the_first_start_run_again_unless_their_source_was_done_since(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """Their managers have forgotten them long ago."""
    async with scene(pod_database, media_root) as pod:
        done_since, other = await _video(pod), await _video(pod)
        hanging = [await _add(pod, video, age=timedelta(days=90)) for video in (done_since, other)]
        later = await _add(pod, done_since, age=timedelta(days=80))
        for pk in (*hanging, later):
            await pod.start(pk, "first", f"forgotten-{pk}")
        await pod.end(later)
        daemon = await pod.daemon(dispatch={"grace": 0}, reconcile={"retry_wait": 0})
        reconciler = features.reconciler(daemon.parts)
        for _ in range(2):
            await reconciler.step()
            daemon.clock.advance(ASK_AGAIN_AFTER)
        await daemon.settle()
        assert await _statuses(pod, *hanging) == ["completed", "running"]
        assert pod.posts("first") == 1


async def test_a_run_that_pod_stored_under_a_new_row_meanwhile_is_the_only_one(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pod looks its row up by the source when a manager has answered, and adds one when none is pending.
    async with scene(pod_database, media_root, Spec("first", 1), Spec("other", 2)) as pod:
        video = await _video(pod)
        ours = await _add(pod, video)
        daemon = await pod.daemon()
        execute, of_pod = RunnerClient.execute, list[TaskPk]()

        async def beaten(client: RunnerClient, manager: object, body: bytes) -> Accepted:
            accepted = await execute(client, manager, body)  # type: ignore[arg-type]  # passed on
            if not of_pod:
                of_pod.append(await _add(pod, video))
                await pod.start(of_pod[0], "other", "an-id-of-pod")
            return accepted

        monkeypatch.setattr(RunnerClient, "execute", beaten)
        await daemon.settle()
        assert await _statuses(pod, ours, of_pod[0]) == ["pending", "running"]
        assert [entry.path.split("/")[-2] for entry in pod.fakes["first"].requests] == ["task", "stop"]

        await pod.end(of_pod[0])
        await daemon.settle()
        assert await pod.status(ours) == "completed"
        assert (pod.posts("first"), pod.posts("other")) == (1, 0)


async def test_a_source_that_begins_to_run_after_the_look_at_the_queue_is_not_posted(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(pod_database, media_root) as pod:
        video = await _video(pod)
        ours = await _add(pod, video)
        daemon = await pod.daemon()
        submit = Submitter.submit

        async def late(submitter: Submitter, *arguments: object) -> object:
            if await pod.statuses() == {"pending": 1}:
                await pod.start(await _add(pod, video), "first", "an-id-of-pod")
            return await submit(submitter, *arguments)  # type: ignore[arg-type]  # passed on

        monkeypatch.setattr(Submitter, "submit", late)
        await daemon.settle()
        assert (await pod.status(ours), pod.posts("first")) == ("pending", 0)


async def test_a_task_that_waits_with_an_id_is_asked_about_before_it_is_submitted(
    pod_database: PodDatabase, media_root: Path
) -> None:
    # Pod stores such rows when a manager answers that it queued the task.
    async with scene(pod_database, media_root) as pod:
        known, unknown = await pod.encodings(2)
        daemon = await pod.daemon()
        await daemon.settle()
        [task_id, _] = [(await pod.row(pk))["task_id"] for pk in (known, unknown)]
        for pk, value in ((known, task_id), (unknown, "an-id-of-nobody")):
            await pod.connection.execute(
                "UPDATE runner_manager_task SET status = 'pending', task_id = $2 WHERE id = $1", pk, value
            )
        await features.dispatcher(daemon.parts).step()
        assert await _statuses(pod, known, unknown) == ["pending", "pending"]

        reconciler = features.reconciler(daemon.parts)
        for _ in range(2):
            await reconciler.step()
            daemon.clock.advance(ASK_AGAIN_AFTER)
        row = await pod.row(unknown)
        assert await _statuses(pod, known, unknown) == ["running", "pending"]
        assert (row["task_id"], row["runner_manager_id"]) == (None, None)


async def test_rows_that_share_a_run_have_one_leader(pod_database: PodDatabase, media_root: Path) -> None:
    async with scene(pod_database, media_root, Spec("first"), Spec("other")) as pod:
        video = await _video(pod)
        leader, sharer, elsewhere = [await _add(pod, video) for _ in range(3)]
        for pk, manager in ((leader, "first"), (sharer, "first"), (elsewhere, "other")):
            await pod.start(pk, manager, "one-id")
        tasks = [task_of(await pod.row(pk)) for pk in (leader, sharer, elsewhere)]
        assert [await duplicates.leader(pod.connection, task) for task in tasks] == [None, tasks[0].pk, None]

        await pod.end(leader)
        await duplicates.complete(pod.connection, tasks[0])
        assert await _statuses(pod, sharer, elsewhere) == ["completed", "running"]
