"""What an accepted task leaves behind, in which order tasks go, and to whom."""

import asyncio
import json
from pathlib import Path

import pytest

from poddispatchd.dispatch.acceptance import Acceptance
from poddispatchd.domain.task import TaskType
from poddispatchd.errors import DatabaseUnavailableError
from poddispatchd.journal import pauses, scheduling
from poddispatchd.journal.submissions import SubmissionState
from poddispatchd.sandbox.fake_runner_manager import AnswerFault, Endpoint, FaultKind
from poddispatchd.sandbox.pod.world import add_task
from tests.integration.dispatch.scene import Spec, scene
from tests.plugins.postgres import PodDatabase


async def test_an_accepted_encoding_runs_and_shows_it_on_the_videos_page(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        pk = await pod.encoding(title="Algèbre")
        daemon = await pod.daemon()
        await daemon.settle()

        row = await pod.row(pk)
        [submission] = await pod.journal(pk)
        [task_id] = pod.fakes["first"].tasks
        assert (row["status"], row["task_id"], row["runner_manager_id"], row["rank"]) == (
            "running",
            task_id,
            pod.ids["first"],
            None,
        )
        assert (submission.state, submission.task_id, submission.attempt) == (
            SubmissionState.ACCEPTED,
            task_id,
            1,
        )
        video = await pod.connection.fetchrow("SELECT * FROM video_video WHERE id = $1", row["video_id"])
        step = await pod.connection.fetchval(
            "SELECT num_step FROM video_encode_transcript_encodingstep WHERE video_id = $1", row["video_id"]
        )
        log = await pod.connection.fetchval(
            "SELECT log FROM video_encode_transcript_encodinglog WHERE video_id = $1", row["video_id"]
        )
        assert video is not None
        assert (video["encoding_in_progress"], step) == (True, 3)
        assert "task/execute" in log
        assert pod.fakes["first"].token not in log
        folder = (media_root / video["video"]).parent / f"{row['video_id']:04d}"
        assert (folder / "encoding.log").read_text().startswith("Start at")


async def test_what_was_accepted_just_before_the_end_has_its_log_all_the_same(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("one", runners=30), Spec("two", runners=30)) as pod:
        await pod.encodings(60)
        daemon = await pod.daemon()
        await daemon.settle()
        await daemon.dispatcher.stop(0)
        assert len(_logs_below(media_root)) == 60
        assert await pod.statuses() == {"running": 60}


async def test_a_session_that_holds_the_managers_row_keeps_no_task_from_being_stored(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod, pod_database.connection() as other:
        await pod.encoding()
        daemon = await pod.daemon()
        await daemon.settle()
        await pod.connection.execute("UPDATE poddispatchd.manager_state SET last_given_at = '2020-01-01'")
        async with other.transaction():
            await other.execute("SELECT FROM poddispatchd.manager_state FOR UPDATE")
            second = await pod.encoding()
            await daemon.settle()
            assert await pod.status(second) == "running"


async def test_studio_and_transcription_are_submitted_too(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        studio, subtitles = await pod.studio(), await pod.transcription()
        daemon = await pod.daemon()
        await daemon.settle()
        assert [await pod.status(studio), await pod.status(subtitles)] == ["running", "running"]
        assert {entry.task_type for entry in pod.fakes["first"].submissions} == {"studio", "transcription"}


async def test_tasks_go_in_the_order_of_the_queue(pod_database: PodDatabase, media_root: Path) -> None:
    async with scene(pod_database, media_root, Spec("first", runners=9)) as pod:
        owners = ("student", "employee", "priority", "student", "faculty", "priority")
        titles = [f"{owner} {number}" for number, owner in enumerate(owners)]
        for title, owner in zip(titles, owners, strict=True):
            await pod.encoding(title=title, owner=owner)
        daemon = await pod.daemon()
        await daemon.settle()
        posted = [entry.parameters["video_title"] for entry in pod.fakes["first"].submissions]
        assert [titles[number] for number in (2, 5, 1, 4, 0, 3)] == posted


async def test_equal_priorities_take_turns_also_over_a_restart(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, *(Spec(name) for name in ("one", "two", "three"))) as pod:
        first = await pod.encoding(title="first")
        await (await pod.daemon()).settle()
        [holder] = await pod.holders([first])
        more = await pod.encodings(2)
        second = await pod.successor()
        await second.settle()
        assert holder == "one"
        assert set(await pod.holders(more)) == {"two", "three"}
        async with second.parts.database.connection() as connection:
            memories = await scheduling.manager_memories(connection)
        assert all(memories[pk].last_given_at is not None for pk in pod.ids.values())


async def test_what_pod_submits_itself_counts_as_a_turn(pod_database: PodDatabase, media_root: Path) -> None:
    async with scene(pod_database, media_root, *(Spec(name) for name in ("one", "two"))) as pod:
        of_pod = await pod.encodings(1)
        await pod.start(of_pod[0], "one", "an-id-of-pod")
        daemon = await pod.daemon()
        first = await pod.encodings(1)
        await daemon.settle()
        assert await pod.holders(first) == ["two"]

        of_pod += await pod.encodings(1)
        await pod.start(of_pod[1], "one", "another-id-of-pod")
        daemon.clock.advance(11)  # managers are read again
        second = await pod.encodings(1)
        await daemon.settle()
        assert await pod.holders(second) == ["two"]


async def test_the_better_priority_is_filled_first(pod_database: PodDatabase, media_root: Path) -> None:
    async with scene(pod_database, media_root, Spec("spare", 2, 5), Spec("best", 1, 2)) as pod:
        pks = await pod.encodings(4)
        daemon = await pod.daemon()
        await daemon.settle()
        assert await pod.holders(pks) == ["best", "best", "spare", "spare"]


async def test_paused_and_inactive_managers_get_nothing(pod_database: PodDatabase, media_root: Path) -> None:
    specs = (Spec("paused"), Spec("inactive", is_active=False), Spec("last", 9))
    async with scene(pod_database, media_root, *specs) as pod:
        daemon = await pod.daemon()
        async with daemon.parts.database.connection() as connection:
            await pauses.pause(connection, pod.ids["paused"])
        daemon.clock.advance(60)
        [pk] = await pod.encodings(1)
        await daemon.settle()
        assert await pod.holders([pk]) == ["last"]

        async with daemon.parts.database.connection() as connection:
            assert await pauses.resume(connection, pod.ids["paused"])
        daemon.clock.advance(60)
        [pk] = await pod.encodings(1)
        await daemon.settle()
        assert await pod.holders([pk]) == ["paused"]


async def test_a_missing_source_fails_the_task_in_words(pod_database: PodDatabase, media_root: Path) -> None:
    async with scene(pod_database, media_root) as pod:
        await pod.encoding(title="there")
        pk = await pod.encoding(title="gone", with_file=False)
        daemon = await pod.daemon()
        await daemon.settle()
        row = await pod.row(pk)
        assert row["status"] == "failed"
        assert "does not exist" in row["script_output"]
        assert len(pod.fakes["first"].submissions) == 1


async def test_a_media_tree_that_is_not_mounted_fails_no_task(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        pk = await pod.encoding()
        away = media_root.with_name("away")
        await asyncio.to_thread(media_root.rename, away)
        await asyncio.to_thread(media_root.mkdir)
        daemon = await pod.daemon()
        await daemon.settle()
        assert (await pod.status(pk), pod.posts("first")) == ("pending", 0)

        await asyncio.to_thread(media_root.rmdir)
        await asyncio.to_thread(away.rename, media_root)
        daemon.clock.advance(6)
        await daemon.settle()
        assert await pod.status(pk) == "running"


async def test_a_task_without_a_video_fails_in_words(pod_database: PodDatabase, media_root: Path) -> None:
    async with scene(pod_database, media_root) as pod:
        pk = await add_task(pod.connection, TaskType.ENCODING)
        daemon = await pod.daemon()
        await daemon.settle()
        assert (await pod.row(pk))["status"] == "failed"
        assert "no video" in (await pod.row(pk))["script_output"]


async def test_the_budget_counts_accepted_tasks_of_each_type(
    pod_database: PodDatabase, media_root: Path
) -> None:
    specs = (Spec("full", 1, runners=0), Spec("roomy", 2, runners=9))
    async with scene(pod_database, media_root, *specs) as pod:
        await pod.encodings(3)
        for _ in range(3):
            await pod.transcription()
        daemon = await pod.daemon(budget=2)
        await daemon.settle()
        types = [entry.task_type for entry in pod.fakes["roomy"].submissions]
        assert sorted(types) == ["encoding", "encoding", "transcription", "transcription"]
        assert daemon.dispatcher.budget == 2  # two studio tasks could still go


async def test_a_lost_answer_uses_up_the_budget(pod_database: PodDatabase, media_root: Path) -> None:
    async with scene(pod_database, media_root, Spec("cut", 1), Spec("good", 2, 9)) as pod:
        pod.fakes["cut"].faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.DROP_ANSWER), times=None)
        await pod.encodings(5)
        daemon = await pod.daemon(budget=2)
        for _ in range(3):
            await daemon.settle()
            daemon.clock.advance(61)
            await daemon.probe()
        # One may be with the manager whose answer was lost.
        assert (len(pod.fakes["cut"].tasks), len(pod.fakes["good"].tasks)) == (1, 1)


async def test_the_body_on_the_wire_is_the_one_of_the_intent(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        pk = await pod.encoding(title="É «»")
        daemon = await pod.daemon()
        await daemon.settle()
        [submission] = await pod.journal(pk)
        [request] = [entry for entry in pod.fakes["first"].requests if entry.path.endswith("/task/execute")]
        assert json.loads(submission.body) == request.json


async def test_an_answer_that_was_stored_by_somebody_else_is_not_kept_for_ever(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailableError("away")

    async with scene(pod_database, media_root) as pod:
        [pk] = await pod.encodings(1)
        daemon = await pod.daemon()
        with monkeypatch.context() as patched:
            patched.setattr(Acceptance, "store", away)
            await daemon.dispatcher.step()
            await daemon.dispatcher.drain()
        submitter = daemon.dispatcher._submitter
        [intent] = await pod.journal(pk)
        assert [run.intent.id for run in submitter.outstanding.answers] == [intent.id]
        # A callback was quicker.
        await pod.connection.execute("UPDATE poddispatchd.submission SET state = 'accepted'")
        await pod.end(pk)
        daemon.clock.advance(60.0)
        await daemon.settle()
        assert submitter.outstanding.answers == ()


def _logs_below(media_root: Path) -> list[Path]:
    """Without a turn of the event loop, in which more of them could be begun."""
    return list(media_root.rglob("encoding.log"))
