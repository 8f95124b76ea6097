"""What would be submitted where, and what Pod does with it instead."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from poddispatchd.dispatch.payloads import Payloads
from poddispatchd.domain.payload import Payload
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import Task, TaskPk, TaskStatus, TaskType
from poddispatchd.errors import MediaMissingError
from poddispatchd.observability.events import Event
from poddispatchd.sandbox.fake_runner_manager import AnswerFault, Endpoint, FaultKind
from poddispatchd.sandbox.pod.world import add_task, add_video
from poddispatchd.shadow import dispatch
from tests.integration.dispatch.scene import Scene, Spec, scene
from tests.integration.shadow.watcher import CRON_INTERVAL, watching
from tests.plugins.postgres import PodDatabase

INTERVAL = 60.0


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Scene]:
    """One manager with two runners."""
    async with scene(pod_database, media_root, Spec("first")) as made:
        yield made


@pytest.fixture
async def equals(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Scene]:
    """Two managers of the same priority with one runner each, and one that comes after them."""
    specs = [Spec("left", runners=1), Spec("right", runners=1), Spec("last", priority=2, runners=1)]
    async with scene(pod_database, media_root, *specs) as made:
        yield made


async def running(here: Scene, manager: str, count: int = 1) -> list[TaskPk]:
    """Tasks of Pod's that run on a manager."""
    tasks = await here.encodings(count)
    for task in tasks:
        await here.start(task, manager, f"id-of-{task}")
    return tasks


# --- what would be done ----------------------------------------------------------------------------------


async def test_as_many_tasks_are_expected_as_runners_are_free_each_once(here: Scene) -> None:
    await running(here, "first")
    tasks = await here.encodings(3)
    async with watching(here) as shadow:
        await shadow.look()
        await shadow.look(after=INTERVAL)
        assert shadow.expected() == [(tasks[0], "submit", "first")]


async def test_tasks_of_equal_managers_take_turns_and_the_last_manager_gets_the_rest(equals: Scene) -> None:
    tasks = await equals.encodings(4)
    async with watching(equals) as shadow:
        await shadow.look()
        managers = {task: manager for task, _, manager in shadow.expected()}
    assert {managers[task] for task in tasks[:2]} == {"left", "right"}
    assert [managers.get(task) for task in tasks[2:]] == ["last", None]


async def test_a_type_that_a_manager_never_took_is_not_expected_of_it(equals: Scene) -> None:
    for name in ("left", "right"):
        for task in await running(equals, name):
            await equals.end(task)
    task = await equals.transcription()
    async with watching(equals) as shadow:
        await shadow.look()
        assert shadow.expected() == [(task, "submit", "last")]


async def test_a_runner_whose_task_has_ended_on_its_manager_is_free(here: Scene) -> None:
    """Pod's row says running until its webhook or its CRON has been at work."""
    lost = await running(here, "first", 2)
    task = await here.encoding()
    async with watching(here) as shadow:
        await shadow.look()
        assert shadow.expected() == []
        await shadow.ask()
        await shadow.ask(after=INTERVAL)
        await shadow.look(after=INTERVAL)
        assert shadow.expected() == [*((pk, "requeue", "first") for pk in lost), (task, "submit", "first")]


async def test_nothing_is_expected_of_a_manager_that_does_not_tell_its_runners(here: Scene) -> None:
    await here.encoding()
    here.fakes["first"].faults.inject(Endpoint.RUNNERS, AnswerFault(kind=FaultKind.STATUS, status=404))
    async with watching(here) as shadow:
        await shadow.look()
        assert shadow.expected() == []
        assert shadow.jobs.progress.blind == ["first"]


@pytest.mark.parametrize("error", [KeyError("a bug"), MediaMissingError("its directory hangs")])
async def test_a_task_about_which_nothing_can_be_decided_stops_no_other(
    here: Scene, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Nothing was expected of those behind it for as long as it waited, as if all managers were full."""
    odd, good = await here.encodings(2)
    payload_of = Payloads.of

    async def of(self: Payloads, task: Task, site: Site) -> Payload:
        if task.pk == odd:
            raise error
        return await payload_of(self, task, site)

    monkeypatch.setattr(Payloads, "of", of)
    async with watching(here) as shadow:
        await shadow.look()
        assert shadow.expected() == [(good, "submit", "first")]
        monkeypatch.undo()
        await shadow.look(after=INTERVAL)
        assert shadow.expected() == [(good, "submit", "first"), (odd, "submit", "first")]


async def test_a_surprise_that_a_task_is_at_each_look_is_logged_once_and_told(
    here: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A traceback a minute for each such task, for as long as it waited."""
    [odd] = await here.encodings(1)

    async def of(*_: object) -> Payload:
        raise KeyError("a bug")

    monkeypatch.setattr(Payloads, "of", of)
    async with watching(here) as shadow:
        for _ in range(3):
            await shadow.look(after=INTERVAL)
        told = [entry["task"] for entry in shadow.told if entry["event"] == Event.SERVICE_CRASHED]
        assert told == [odd]
        assert [incident.job for incident in shadow.parts.incidents.active] == ["decision about a task"]


async def test_while_the_media_tree_is_away_few_tasks_are_looked_at(
    here: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.encodings(20)
    asked: list[TaskPk] = []

    async def of(_: Payloads, task: Task, __: Site) -> Payload:
        asked.append(task.pk)
        raise MediaMissingError

    monkeypatch.setattr(Payloads, "of", of)
    async with watching(here) as shadow:
        await shadow.look()
        assert shadow.expected() == []
    assert 0 < len(asked) <= 2 * dispatch._SILENT


async def test_expectations_are_bounded(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_MOST", 3)
    tasks = [await here.encoding(title=f"Gone {number}", with_file=False) for number in range(5)]
    await here.encoding(title="Here", owner="student")
    async with watching(here) as shadow:
        await shadow.look()
        await shadow.look(after=INTERVAL)
        assert [task for task, _, _ in shadow.expected()] == tasks[:3]


# --- what Pod did ----------------------------------------------------------------------------------------


async def test_pod_agrees_when_the_same_manager_gets_the_task_however_it_ended_since(here: Scene) -> None:
    submitted, over = await here.encodings(2)
    async with watching(here) as shadow:
        await shadow.look()
        await here.start(submitted, "first", "one")
        await here.start(over, "first", "two")
        await here.end(over, TaskStatus.FAILED)
        await shadow.look(after=45)
        assert shadow.agreed() == [(submitted, "same"), (over, "same")]
        state = shadow.jobs.stats.state()
        assert (state.waits, 45 <= state.longest_wait < 60) == (2, True)


async def test_another_manager_of_the_priority_is_another_turn_and_any_other_is_told_as_such(
    equals: Scene,
) -> None:
    turn, other = await equals.encodings(2)
    async with watching(equals) as shadow:
        await shadow.look()
        [(_, _, mine), _] = shadow.expected()
        await equals.start(turn, "right" if mine == "left" else "left", "one")
        await equals.start(other, "last", "two")
        await shadow.look(after=20)
        assert shadow.differed() == [(turn, "other_turn"), (other, "other_manager")]
        assert "Pod submitted it to last; poddispatchd would have submitted it to" in shadow.words()


async def test_a_task_that_waits_for_longer_than_a_turn_of_the_cron_is_told_once(here: Scene) -> None:
    task = await here.encoding()
    async with watching(here) as shadow:
        await shadow.look()
        await shadow.look(after=CRON_INTERVAL - 30)
        assert shadow.differed() == []
        for _ in range(3):
            await shadow.look(after=40)
        assert shadow.differed() == [(task, "left_pending")]
        # The looks themselves take a moment, too.
        assert re.search(r"poddispatchd would have offered it 19\d s ago to first, where 2", shadow.words())
        await here.start(task, "first", "one")
        await shadow.look(after=40)
        assert shadow.agreed() == [(task, "same")]


async def test_a_task_that_overtakes_others_of_its_type_is_out_of_order(here: Scene) -> None:
    before, after = await here.encoding(owner="employee"), await here.encoding(owner="student")
    studio = await here.studio()
    async with watching(here) as shadow:
        await shadow.look()
        await here.start(after, "first", "one")
        await shadow.look(after=20)
        assert shadow.differed() == [(after, "out_of_order")]
        assert shadow.words().endswith(f"while 1 of its type and site stood before it: {before}.")
        # It overtook no task of another type, and the one that it overtook overtakes nobody.
        await here.start(before, "first", "two")
        await shadow.look(after=20)
        assert shadow.differed() == [(after, "out_of_order")]
        assert await here.status(studio) == "pending"


async def test_a_young_task_is_left_to_pod(here: Scene) -> None:
    """Pod's web process submits a new task at once, past the queue: the daemon would let it."""
    old = await here.encoding()
    await here.connection.execute("UPDATE runner_manager_task SET date_added = now() - interval '1 hour'")
    async with watching(here, dispatch={"grace": "30s"}) as shadow:
        await shadow.look()
        young = await here.encoding(title="New")
        await shadow.look()
        await here.start(young, "first", "one")
        await shadow.look()
        assert [task for task, _, _ in shadow.expected()] == [old]
        assert (shadow.agreed(), shadow.differed()) == ([(young, "left_to_pod")], [])


async def test_a_task_that_waits_with_an_id_is_left_to_pod(here: Scene) -> None:
    """Pod stores such rows after some odd answers: it may run already, and would be asked about first."""
    task = await here.encoding()
    await here.start(task, "first", "odd")
    await here.connection.execute("UPDATE runner_manager_task SET status = 'pending'")
    async with watching(here) as shadow:
        await shadow.look()
        await here.start(task, "first", "one")
        await shadow.look(after=20)
        assert (shadow.expected(), shadow.agreed()) == ([], [(task, "left_to_pod")])


async def test_a_task_that_no_runner_was_known_to_be_free_for_is_unforeseen(here: Scene) -> None:
    await running(here, "first", 2)
    task = await here.encoding()
    async with watching(here) as shadow:
        await shadow.look()
        await here.start(task, "first", "one")
        await shadow.look(after=20)
        assert (shadow.expected(), shadow.agreed()) == ([], [(task, "unforeseen")])


async def test_a_source_that_is_submitted_twice_is_told(here: Scene) -> None:
    video = await add_video(here.connection, here.world)
    first, second = [await add_task(here.connection, TaskType.ENCODING, video=video) for _ in range(2)]
    async with watching(here) as shadow:
        await shadow.look()
        await here.start(first, "first", "one")
        await here.start(second, "first", "two")
        await shadow.look(after=20)
        assert shadow.expected() == [(first, "submit", "first")]
        assert shadow.differed() == [(second, "submitted_twice")]


async def test_a_source_that_does_not_exist_would_fail_and_pod_submits_it_in_vain(here: Scene) -> None:
    vain, failed = [await here.encoding(title=f"Gone {n}", with_file=False) for n in range(2)]
    sound = await here.encoding(title="Here")
    async with watching(here) as shadow:
        await shadow.look()
        assert shadow.expected() == [(vain, "fail", None), (failed, "fail", None), (sound, "submit", "first")]
        await here.start(vain, "first", "one")
        await here.end(failed, TaskStatus.FAILED)
        await shadow.look(after=20)
        assert (shadow.differed(), shadow.agreed()) == ([(vain, "submitted_in_vain")], [(failed, "same")])
        assert "does not exist" in shadow.words()


async def test_restarted_and_deleted_tasks_are_withdrawn_and_ended_ones_went_nowhere(here: Scene) -> None:
    restarted, deleted = await here.encodings(2)
    async with watching(here) as shadow:
        await shadow.look()
        await here.connection.execute(
            "UPDATE runner_manager_task SET date_added = now() WHERE id = $1", restarted
        )
        await here.connection.execute("DELETE FROM runner_manager_task WHERE id = $1", deleted)
        await shadow.look(after=20)
        assert shadow.agreed() == [(restarted, "withdrawn"), (deleted, "withdrawn")]
        await here.end(restarted)
        await shadow.look(after=20)
        assert shadow.differed() == [(restarted, "nowhere")]
