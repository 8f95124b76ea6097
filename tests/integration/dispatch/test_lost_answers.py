"""Crashes and lost answers: whatever happens, one task runs and one row says so."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from structlog.testing import capture_logs

from poddispatchd.app import features
from poddispatchd.dispatch import acceptance, intents
from poddispatchd.dispatch.acceptance import Acceptance
from poddispatchd.dispatch.intents import open_intents
from poddispatchd.dispatch.payloads import Presence, SourceFiles
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import TaskPk
from poddispatchd.errors import AnswerLostError, DatabaseUnavailableError, RunnerManagerUnavailableError
from poddispatchd.journal import submissions, unwanted_runs
from poddispatchd.journal.submissions import SubmissionState
from poddispatchd.observability.events import Event
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.records import Accepted
from poddispatchd.sandbox.fake_runner_manager import AnswerFault, Endpoint, FaultKind
from poddispatchd.sandbox.fake_runner_manager.clock import ManualClock
from poddispatchd.tasks.accepted_runs import store_accepted
from tests.integration.dispatch.scene import Daemon, Scene, Spec, scene
from tests.integration.journal.aging import age_journal
from tests.plugins.postgres import PodDatabase

_T = TypeVar("_T")


class _Crash(BaseException):
    """The process ends here: nothing of ours may catch it."""


async def _settle_again(daemon: Daemon) -> None:
    """Let a broken manager be probed and everything open be settled."""
    for _ in range(4):
        await daemon.settle()
        daemon.clock.advance(70)
        await daemon.probe()
    await daemon.settle()


async def _assert_one_run(pod: Scene, pk: TaskPk, name: str = "first") -> None:
    row = await pod.row(pk)
    in_flight = [record for record in pod.fakes[name].tasks.values() if record.in_flight]
    assert [record.task_id for record in in_flight] == [row["task_id"]]
    assert row["status"] == "running"
    open_ones = await submissions.open_submissions(pod.connection)
    assert open_ones == []


@pytest.mark.parametrize(
    ("kind", "length"),
    [
        (FaultKind.DROP_ANSWER, 0),
        (FaultKind.DROP, 0),
        (FaultKind.CUT, 20),
        (FaultKind.SHORT, 20),
        (FaultKind.UNENDED, 20),
        (FaultKind.UNENDED, 0),
    ],
)
async def test_a_lost_answer_is_asked_for_with_the_same_bytes(
    pod_database: PodDatabase, media_root: Path, kind: FaultKind, length: int
) -> None:
    async with scene(pod_database, media_root, Spec("first", 1), Spec("other", 2)) as pod:
        [pk] = await pod.encodings(1)
        pod.fakes["first"].faults.inject(Endpoint.EXECUTE, AnswerFault(kind=kind, length=length))
        daemon = await pod.daemon()
        await _settle_again(daemon)
        await _assert_one_run(pod, pk)
        bodies = [entry.json for entry in pod.fakes["first"].requests if entry.path.endswith("/execute")]
        assert bodies == [bodies[0]] * 2
        assert pod.posts("other") == 0
        [submission] = await pod.journal(pk)
        assert (submission.state, submission.posts) == (SubmissionState.ACCEPTED, 2)


async def test_a_task_whose_answer_was_lost_counts_towards_what_a_pass_may_submit(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        lost, _ = await pod.encodings(2)
        pod.fakes["first"].faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.DROP_ANSWER))
        daemon = await pod.daemon(budget=1)
        await _settle_again(daemon)
        await _assert_one_run(pod, lost)
        assert len(pod.fakes["first"].tasks) == 1


async def test_an_answer_that_does_not_come_in_time_is_lost_too(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        [pk] = await pod.encodings(1)
        fault = AnswerFault(kind=FaultKind.LOSE_ANSWER, seconds=2)
        pod.fakes["first"].faults.inject(Endpoint.EXECUTE, fault)
        daemon = await pod.daemon(runners={"request_timeout": "1s"})
        await _settle_again(daemon)
        await _assert_one_run(pod, pk)


@pytest.mark.parametrize(("status", "body"), [(502, "Bad Gateway"), (503, "Backend fetch failed")])
@pytest.mark.parametrize("kind", [FaultKind.STATUS, FaultKind.GAVE_UP])
async def test_a_proxy_that_answers_502_or_503_may_have_passed_the_task_on(
    pod_database: PodDatabase, media_root: Path, status: int, body: str, kind: FaultKind
) -> None:
    async with scene(pod_database, media_root, Spec("first", 1), Spec("other", 2)) as pod:
        [pk] = await pod.encodings(1)
        fault = AnswerFault(kind=kind, status=status, body=body)
        pod.fakes["first"].faults.inject(Endpoint.EXECUTE, fault)
        daemon = await pod.daemon()
        await _settle_again(daemon)
        await _assert_one_run(pod, pk)
        assert pod.posts("other") == 0


async def test_while_an_answer_is_lost_the_others_are_served_and_nothing_spins(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("first", 1), Spec("other", 2, 9)) as pod:
        lost, *others = await pod.encodings(4)
        pod.fakes["first"].faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.DROP), times=None)
        daemon = await pod.daemon()
        await daemon.settle()
        await daemon.settle()
        assert await pod.status(lost) == "pending"
        assert await pod.holders(others) == ["other"] * 3
        daemon.clock.advance(2)
        await daemon.settle()
        # With everything down or done, a look asks for nothing and wants the next one later.
        before = pod.posts("first"), pod.posts("other")
        delay = await daemon.dispatcher.step()
        assert (daemon.dispatcher.in_hand, pod.posts("first"), pod.posts("other")) == (0, *before)
        assert delay > 1


async def test_a_healthy_manager_whose_every_answer_is_cut_keeps_one_task_and_the_others_go_elsewhere(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("first", 1, 9), Spec("other", 2, 20)) as pod:
        pod.fakes["first"].faults.inject(
            Endpoint.EXECUTE, AnswerFault(kind=FaultKind.DROP_ANSWER), times=None
        )
        kept, *others = await pod.encodings(3)
        daemon = await pod.daemon()
        for _ in range(8):
            await daemon.settle()
            # Its health is fine all the time.
            daemon.clock.advance(61)
            await daemon.probe()
            others += await pod.encodings(1)
        await daemon.settle()
        assert await pod.holders(others) == ["other"] * len(others)
        assert (await pod.status(kept), len(pod.fakes["first"].tasks)) == ("pending", 1)
        [intent] = await submissions.open_submissions(pod.connection)
        assert intent.task_pk == kept

        # Given up at last, it goes to another one as well; the first one is asked last from now on.
        daemon.clock.advance(240)
        more = await pod.encodings(2)
        await daemon.settle()
        assert await pod.holders([kept, *more]) == ["other"] * 3
        assert len(pod.fakes["first"].tasks) == 1


async def test_a_manager_whose_answers_come_again_gets_its_turn_back(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("first", 1, 9), Spec("other", 2, 9)) as pod:
        pod.fakes["first"].faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.DROP_ANSWER), times=4)
        [lost] = await pod.encodings(1)
        daemon = await pod.daemon()
        for _ in range(6):
            await daemon.settle()
            daemon.clock.advance(61)
            await daemon.probe()
        assert await pod.holders([lost]) == ["first"]
        more = await pod.encodings(2)
        await daemon.settle()
        assert await pod.holders(more) == ["first", "first"]
        assert len(pod.fakes["first"].tasks) == 3


async def test_a_manager_whose_answers_were_lost_is_tried_again_though_the_others_have_room(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("first", 1, 9), Spec("other", 2, 99)) as pod:
        pod.fakes["first"].faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.DROP), times=None)
        [lost] = await pod.encodings(1)
        daemon = await pod.daemon()
        for _ in range(6):
            await daemon.settle()
            daemon.clock.advance(61)
            await daemon.probe()
        # Given up, it goes to the other one, which is never full: nothing would ever ask the first again.
        daemon.clock.advance(240)
        await daemon.settle()
        pod.fakes["first"].faults.clear()
        soon = await pod.encodings(2)
        await daemon.settle()
        assert await pod.holders([lost, *soon]) == ["other"] * 3

        daemon.clock.advance(601)
        await daemon.probe()
        later = await pod.encodings(2)
        await daemon.settle()
        assert await pod.holders(later) == ["first"] * 2


async def test_a_manager_that_stays_down_does_not_keep_its_lost_task_for_ever(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(pod_database, media_root, Spec("first", 1), Spec("other", 2)) as pod:
        [pk] = await pod.encodings(1)
        pod.fakes["first"].faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.DROP_ANSWER))
        daemon = await pod.daemon()
        await daemon.dispatcher.step()
        await daemon.dispatcher.drain()
        await pod.fakes["first"].stop()
        await daemon.settle()
        assert await pod.status(pk) == "pending"
        # However wrong this machine's clock is.
        monkeypatch.setattr(daemon.clock, "now", lambda: datetime.now(UTC) + timedelta(days=1))
        daemon.clock.advance(120)
        await daemon.probe()
        await daemon.settle()
        assert await pod.holders([pk]) == [None]
        daemon.clock.advance(480)
        await daemon.probe()
        await daemon.settle()
        assert await pod.holders([pk]) == ["other"]
        assert [entry.state for entry in await pod.journal(pk)] == [
            SubmissionState.LOST,
            SubmissionState.ACCEPTED,
        ]


@pytest.mark.parametrize("age", ["1 year", "-1 year"])
async def test_a_clock_that_was_put_forward_or_back_does_not_decide_how_long_a_manager_is_asked(
    pod_database: PodDatabase, media_root: Path, age: str
) -> None:
    """After a weekend without power a manager was up a minute after the daemon: its tasks were done twice."""
    async with scene(pod_database, media_root, Spec("first", 1), Spec("other", 2)) as pod:
        [pk] = await pod.encodings(1)
        pod.fakes["first"].faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.DROP), times=None)
        daemon = await pod.daemon()
        await daemon.settle()
        await pod.fakes["first"].stop()
        await pod.connection.execute(
            "UPDATE poddispatchd.submission SET created_at = created_at - $1::text::interval", age
        )
        for _ in range(3):
            daemon.clock.advance(70)
            await daemon.probe()
            await daemon.settle()
        assert await pod.holders([pk]) == [None]
        daemon.clock.advance(600)
        await daemon.probe()
        await daemon.settle()
        assert await pod.holders([pk]) == ["other"]


async def test_a_pass_of_the_cron_goes_by_the_age_of_what_it_finds(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """None of them asks for ten minutes, and the next one knows nothing of it."""
    async with scene(pod_database, media_root, Spec("first", 1), Spec("other", 2)) as pod:
        [pk] = await pod.encodings(1)
        pod.fakes["first"].faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.DROP), times=None)
        pass_ = await pod.daemon(single_pass=True)
        await pass_.settle()
        await pod.fakes["first"].stop()
        for age, holder in ((0, None), (601, "other")):
            await age_journal(pod.connection, age)
            for _ in range(2):
                pass_.clock.advance(15)
                await pass_.settle()
            assert await pod.holders([pk]) == [holder]


async def test_a_manager_that_is_gone_from_pod_gives_its_open_task_free(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("first", 1), Spec("other", 2)) as pod:
        [pk] = await pod.encodings(1)
        pod.fakes["first"].faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.DROP), times=None)
        daemon = await pod.daemon()
        await daemon.settle()
        await pod.connection.execute("DELETE FROM runner_manager WHERE id = $1", pod.ids["first"])
        daemon.clock.advance(15)
        await daemon.settle()
        assert await pod.holders([pk]) == ["other"]


def _crashing(function: Callable[..., Awaitable[_T]], *, before: bool) -> Callable[..., Awaitable[_T]]:
    async def crash(*arguments: object, **named: object) -> _T:
        if not before:
            await function(*arguments, **named)
        raise _Crash

    return crash


def _answer_lost(function: Callable[..., Awaitable[_T]]) -> Callable[..., Awaitable[_T]]:
    """It is carried out and committed, and the connection is lost with the answer."""

    async def lost(*arguments: object, **named: object) -> _T:
        await function(*arguments, **named)
        raise DatabaseUnavailableError

    return lost


async def _run_into_crash(daemon: Daemon) -> None:
    await daemon.dispatcher.step()
    with capture_logs():
        works = [task for task in asyncio.all_tasks() if task.get_name().startswith("submission of")]
        ends = await asyncio.gather(*works, return_exceptions=True)
    assert [type(end) for end in ends] == [_Crash]


@pytest.mark.parametrize(
    "point",
    [
        "before the intent",
        "before the post",
        "after the post",
        "before the swap",
        "before the commit",
        "after the swap",
    ],
)
async def test_a_crash_at_any_point_ends_in_one_run(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    async with scene(pod_database, media_root) as pod:
        [pk] = await pod.encodings(1)
        first = await pod.daemon()
        with monkeypatch.context() as patch:
            match point:
                case "before the intent":
                    patch.setattr(intents, "open_intents", _crashing(open_intents, before=True))
                case "before the post":
                    patch.setattr(RunnerClient, "execute", _crashing(RunnerClient.execute, before=True))
                case "after the post":
                    patch.setattr(RunnerClient, "execute", _crashing(RunnerClient.execute, before=False))
                case "before the swap":
                    patch.setattr(acceptance, "store_accepted", _crashing(store_accepted, before=True))
                case "before the commit":
                    patch.setattr(acceptance, "store_accepted", _crashing(store_accepted, before=False))
                case _:
                    patch.setattr(Acceptance, "store", _crashing(Acceptance.store, before=False))
            await _run_into_crash(first)
        second = await pod.successor()
        await age_journal(pod.connection, 30)
        await second.settle()
        await _assert_one_run(pod, pk)


async def test_a_daemon_that_is_stopped_in_the_middle_leaves_an_intent_for_the_next(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        [pk] = await pod.encodings(1)
        fault = AnswerFault(kind=FaultKind.LOSE_ANSWER, seconds=30)
        pod.fakes["first"].faults.inject(Endpoint.EXECUTE, fault)
        first = await pod.daemon()
        await first.dispatcher.step()
        await pod.fakes["first"].wait_for(lambda: bool(pod.fakes["first"].tasks))
        await first.dispatcher.stop(0)
        assert len(await submissions.open_submissions(pod.connection)) == 1
        second = await pod.successor()
        await age_journal(pod.connection, 30)
        await second.settle()
        await _assert_one_run(pod, pk)


@pytest.mark.parametrize("single_pass", [False, True])
async def test_a_manager_that_still_looks_for_a_runner_is_not_asked_a_second_time_by_the_next_daemon(
    pod_database: PodDatabase, media_root: Path, single_pass: bool
) -> None:
    """It knows a task as its own once it has found a runner: before, it took both, and ran the task twice."""
    async with scene(pod_database, media_root) as pod:
        [pk] = await pod.encodings(1)
        fake = pod.fakes["first"]
        for runner in fake.runners:
            runner.ping_delay = 1.0
        first = await pod.daemon()
        await first.dispatcher.step()
        await fake.wait_for(lambda: any("/task/execute" in entry.path for entry in fake.requests))
        await first.dispatcher.stop(0)
        second = await pod.successor(single_pass=single_pass)
        await second.settle()
        await fake.wait_for(lambda: bool(fake.tasks))
        await second.settle()
        assert pod.posts("first") == 1
        await age_journal(pod.connection, 60)
        await second.settle()
        assert len(fake.tasks) == 1
        await _assert_one_run(pod, pk)


async def test_a_manager_that_still_looks_for_a_runner_is_not_asked_again_when_the_connection_is_lost(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that was started anew cut it: asked again two seconds later the manager took both."""
    async with scene(pod_database, media_root) as pod:
        [pk] = await pod.encodings(1)
        fake, execute = pod.fakes["first"], RunnerClient.execute
        for runner in fake.runners:
            runner.ping_delay = 1.0

        async def cut(client: RunnerClient, manager: RunnerManager, body: bytes) -> Accepted:
            post = asyncio.ensure_future(execute(client, manager, body))
            await fake.wait_for(lambda: any("/task/execute" in entry.path for entry in fake.requests))
            post.cancel()
            await asyncio.wait([post])
            raise AnswerLostError

        daemon = await pod.daemon()
        with monkeypatch.context() as patch:
            patch.setattr(RunnerClient, "execute", cut)
            await daemon.settle()
        daemon.clock.advance(3)
        await daemon.probe()
        await daemon.settle()
        await fake.wait_for(lambda: bool(fake.tasks))
        assert pod.posts("first") == 1
        # The moment is known at which it can be asked again.
        assert await daemon.dispatcher.step() <= 30
        daemon.clock.advance(30)
        await daemon.settle()
        assert (pod.posts("first"), len(fake.tasks)) == (2, 1)
        await _assert_one_run(pod, pk)


async def test_what_another_daemon_has_posted_since_waits_also_where_this_one_posted_it_first(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        [pk] = await pod.encodings(1)
        pod.fakes["first"].faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.DROP))
        daemon = await pod.daemon()
        await daemon.settle()
        daemon.clock.advance(70)
        await daemon.probe()
        # It scheduled in between, and ended before it had an answer.
        await pod.connection.execute("UPDATE poddispatchd.submission SET posts = posts + 1")
        await daemon.settle()
        assert pod.posts("first") == 1
        daemon.clock.advance(30)
        await daemon.settle()
        assert pod.posts("first") == 2
        await _assert_one_run(pod, pk)


@pytest.mark.parametrize(
    "fault",
    [
        AnswerFault(kind=FaultKind.GAVE_UP, status=504, body="Gateway Timeout"),
        AnswerFault(kind=FaultKind.GAVE_UP, status=502, body="Bad Gateway"),
        AnswerFault(kind=FaultKind.GAVE_UP, status=408, body="Request Timeout"),
    ],
    ids=lambda fault: str(fault.status),
)
async def test_a_manager_that_still_looks_for_a_runner_behind_its_proxys_answer_is_not_asked_a_second_time(
    pod_database: PodDatabase, media_root: Path, fault: AnswerFault
) -> None:
    """The same daemon posted again after a second: the manager took both, and ran the task twice."""
    its_time = ManualClock()
    async with scene(pod_database, media_root, Spec("first", runners=2, fake_clock=its_time)) as pod:
        [pk] = await pod.encodings(1)
        fake = pod.fakes["first"]
        for runner in fake.runners:
            runner.ping_delay = 4.0
        fake.faults.inject(Endpoint.EXECUTE, fault)
        daemon = await pod.daemon()
        daemon.clock.stop()
        await daemon.settle()
        for _ in range(2):
            daemon.clock.advance(2)
            await daemon.settle()
            assert pod.posts("first") == 1
        its_time.advance(4)
        await fake.wait_for(lambda: bool(fake.tasks))
        daemon.clock.advance(26)
        await daemon.settle()
        assert (pod.posts("first"), len(fake.tasks)) == (2, 1)
        await _assert_one_run(pod, pk)


async def test_a_refusal_of_the_manager_itself_that_could_not_be_stored_holds_its_task_up_for_nothing(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was full, and surely is not at work on what it refused."""
    async with scene(pod_database, media_root) as pod:
        [pk] = await pod.encodings(1)
        pod.fakes["first"].faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.STATUS, status=503))
        daemon = await pod.daemon()
        daemon.clock.stop()

        async def gone(*_: object, **__: object) -> None:
            raise DatabaseUnavailableError

        with monkeypatch.context() as patch:
            patch.setattr(submissions, "discard", gone)
            await daemon.dispatcher.step()
            await daemon.dispatcher.drain()
        await daemon.parts.session.available()
        await daemon.settle()
        await _assert_one_run(pod, pk)


async def test_a_database_that_goes_away_after_the_post_is_made_up_for(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(pod_database, media_root) as pod:
        [pk] = await pod.encodings(1)
        daemon = await pod.daemon()
        with monkeypatch.context() as patch:

            async def gone(*_: object, **__: object) -> None:
                raise DatabaseUnavailableError

            patch.setattr(acceptance, "store_accepted", gone)
            await daemon.dispatcher.step()
            await daemon.dispatcher.drain()
        assert await pod.status(pk) == "pending"
        await daemon.parts.session.available()
        await daemon.settle()
        await _assert_one_run(pod, pk)
        assert len(pod.fakes["first"].submissions) == 1


# --- the row is taken by someone else ----------------------------------------------------------------------


def _meanwhile(change: Callable[[Accepted], Awaitable[None]]) -> Callable[..., Awaitable[Accepted]]:
    """``execute`` with something that happens after the manager's answer and before it is stored."""
    execute = RunnerClient.execute

    async def slow(client: RunnerClient, manager: object, body: bytes) -> Accepted:
        accepted = await execute(client, manager, body)  # type: ignore[arg-type]  # passed on
        await change(accepted)
        return accepted

    return slow


async def test_a_row_that_was_taken_meanwhile_keeps_its_taker_and_ours_is_stopped(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(pod_database, media_root, Spec("first", 1), Spec("other", 2)) as pod:
        [pk] = await pod.encodings(1)
        daemon = await pod.daemon()
        taken = _meanwhile(lambda _: pod.start(pk, "other", "an-id-of-pod"))
        monkeypatch.setattr(RunnerClient, "execute", taken)
        with capture_logs() as logs:
            await daemon.settle()
        row = await pod.row(pk)
        assert (row["task_id"], row["runner_manager_id"]) == ("an-id-of-pod", pod.ids["other"])
        assert [entry.state for entry in await pod.journal(pk)] == [SubmissionState.ORPHANED]
        assert Event.SUBMISSION_ORPHANED in [entry["event"] for entry in logs]
        await pod.fakes["first"].wait_for(
            lambda: not any(record.in_flight for record in pod.fakes["first"].tasks.values())
        )


async def test_pod_that_posted_the_same_bytes_and_was_faster_is_no_orphan(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(pod_database, media_root) as pod:
        [pk] = await pod.encodings(1)
        daemon = await pod.daemon()
        taken = _meanwhile(lambda accepted: pod.start(pk, "first", accepted.task_id))
        monkeypatch.setattr(RunnerClient, "execute", taken)
        await daemon.settle()
        await _assert_one_run(pod, pk)
        assert [entry.state for entry in await pod.journal(pk)] == [SubmissionState.ACCEPTED]
        assert not any("/task/stop/" in entry.path for entry in pod.fakes["first"].requests)


async def test_a_row_that_is_deleted_meanwhile_has_its_run_stopped(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(pod_database, media_root) as pod:
        [pk] = await pod.encodings(1)
        daemon = await pod.daemon()

        async def delete(_: Accepted) -> None:
            await pod.connection.execute("DELETE FROM runner_manager_task WHERE id = $1", pk)

        monkeypatch.setattr(RunnerClient, "execute", _meanwhile(delete))
        await daemon.settle()
        assert await pod.statuses() == {}
        assert any("/task/stop/" in entry.path for entry in pod.fakes["first"].requests)


async def test_a_daemon_that_ends_while_it_asks_for_the_stop_of_a_run_leaves_it_to_the_next(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it was to be stopped was written down after the answer; the callback of the run is ignored."""
    async with scene(pod_database, media_root) as pod:
        [pk] = await pod.encodings(1)
        daemon = await pod.daemon()
        asked, stop = asyncio.Event(), RunnerClient.stop

        async def hangs(*_: object) -> None:
            asked.set()
            await asyncio.Event().wait()

        async def delete(_: Accepted) -> None:
            await pod.connection.execute("DELETE FROM runner_manager_task WHERE id = $1", pk)

        monkeypatch.setattr(RunnerClient, "execute", _meanwhile(delete))
        monkeypatch.setattr(RunnerClient, "stop", hangs)
        await daemon.dispatcher.step()
        await asked.wait()
        await daemon.dispatcher.stop(0)
        monkeypatch.setattr(RunnerClient, "stop", stop)
        await pod.connection.execute("UPDATE poddispatchd.unwanted_run SET next_request_at = now()")
        await features.stops((await pod.successor()).parts).step()
        assert any("/task/stop/" in entry.path for entry in pod.fakes["first"].requests)
        assert await pod.connection.fetchval("SELECT count(*) FROM poddispatchd.unwanted_run") == 0


async def test_a_daemon_that_is_killed_once_a_run_belongs_to_nobody_leaves_its_stop_to_the_next(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its intent was settled, and that it was to be stopped not yet written down."""
    async with scene(pod_database, media_root, Spec("first", 1), Spec("other", 2)) as pod:
        [pk] = await pod.encodings(1)
        first = await pod.daemon()
        with monkeypatch.context() as patch:
            taken = _meanwhile(lambda _: pod.start(pk, "other", "an-id-of-pod"))
            patch.setattr(RunnerClient, "execute", taken)
            patch.setattr(acceptance, "store_accepted", _crashing(store_accepted, before=False))
            await _run_into_crash(first)
        assert [entry.state for entry in await pod.journal(pk)] == [SubmissionState.ORPHANED]
        second = await pod.successor()
        await pod.connection.execute("UPDATE poddispatchd.unwanted_run SET next_request_at = now()")
        await features.stops(second.parts).step()
        assert any("/task/stop/" in entry.path for entry in pod.fakes["first"].requests)
        assert await pod.connection.fetchval("SELECT count(*) FROM poddispatchd.unwanted_run") == 0


async def test_a_run_that_is_to_be_stopped_is_stopped_though_the_database_is_lost_at_that_moment(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody asked its manager, and nothing led to it any more: its intent was settled already."""
    async with scene(pod_database, media_root) as pod:
        [pk] = await pod.encodings(1)
        daemon = await pod.daemon()

        async def delete(_: Accepted) -> None:
            await pod.connection.execute("DELETE FROM runner_manager_task WHERE id = $1", pk)

        async def lost(*_: object) -> None:
            raise DatabaseUnavailableError

        monkeypatch.setattr(RunnerClient, "execute", _meanwhile(delete))
        monkeypatch.setattr(unwanted_runs, "add", lost)
        await daemon.settle()
        assert any("/task/stop/" in entry.path for entry in pod.fakes["first"].requests)


async def test_a_row_that_is_deleted_while_its_id_cannot_be_stored_has_its_run_stopped(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id was known, and nobody asked for the stop: a runner worked for hours for nobody."""
    async with scene(pod_database, media_root) as pod:
        [pk] = await pod.encodings(1)
        daemon = await pod.daemon()

        async def gone(*_: object, **__: object) -> None:
            raise DatabaseUnavailableError

        with monkeypatch.context() as patch:
            patch.setattr(acceptance, "store_accepted", gone)
            await daemon.dispatcher.step()
            await daemon.dispatcher.drain()
        await pod.connection.execute("DELETE FROM runner_manager_task WHERE id = $1", pk)
        await daemon.parts.session.available()
        await daemon.settle()
        assert any("/task/stop/" in entry.path for entry in pod.fakes["first"].requests)
        assert await submissions.open_submissions(pod.connection) == []


async def test_a_run_that_belongs_to_nobody_is_stopped_though_the_answer_to_that_commit_was_lost(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its intent was settled by then, and its answer forgotten: it ran for hours for nobody."""
    async with scene(pod_database, media_root, Spec("first", 1), Spec("other", 2)) as pod:
        [pk] = await pod.encodings(1)
        daemon = await pod.daemon()
        taken = _meanwhile(lambda _: pod.start(pk, "other", "an-id-of-pod"))
        with monkeypatch.context() as patch:
            patch.setattr(RunnerClient, "execute", taken)
            patch.setattr(acceptance, "store_accepted", _answer_lost(store_accepted))
            await daemon.dispatcher.step()
            await daemon.dispatcher.drain()
        assert [entry.state for entry in await pod.journal(pk)] == [SubmissionState.ORPHANED]
        await daemon.parts.session.available()
        await daemon.settle()
        assert any("/task/stop/" in entry.path for entry in pod.fakes["first"].requests)
        assert (await pod.row(pk))["task_id"] == "an-id-of-pod"
        assert pod.posts("first") == 1


async def test_an_answer_that_could_not_be_stored_is_stored_though_its_manager_is_down_by_then(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its id was known, and after ten minutes the task was given to another manager, which did it again."""
    async with scene(pod_database, media_root, Spec("first", 1), Spec("other", 2)) as pod:
        [pk] = await pod.encodings(1)
        daemon = await pod.daemon()

        async def gone(*_: object, **__: object) -> None:
            raise DatabaseUnavailableError

        with monkeypatch.context() as patch:
            patch.setattr(acceptance, "store_accepted", gone)
            await daemon.dispatcher.step()
            await daemon.dispatcher.drain()
        pod.fakes["first"].faults.inject(Endpoint.STATUS, AnswerFault(kind=FaultKind.DROP), times=None)
        pod.fakes["first"].faults.inject(Endpoint.HEALTH, AnswerFault(kind=FaultKind.DROP), times=None)
        manager = daemon.parts.registry.get(pod.ids["first"])
        assert manager is not None
        for _ in range(2):
            daemon.parts.registry.learn(manager, RunnerManagerUnavailableError("It is down."))
        await daemon.parts.session.available()
        await daemon.settle()
        await _assert_one_run(pod, pk)
        assert pod.posts("other") == 0


async def test_a_stored_id_whose_commit_was_not_answered_is_told_once_and_its_run_goes_on(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(pod_database, media_root) as pod:
        [pk] = await pod.encodings(1)
        daemon = await pod.daemon()
        with capture_logs() as logs:
            with monkeypatch.context() as patch:
                patch.setattr(acceptance, "store_accepted", _answer_lost(store_accepted))
                await daemon.dispatcher.step()
                await daemon.dispatcher.drain()
            await daemon.parts.session.available()
            await daemon.settle()
        await _assert_one_run(pod, pk)
        assert [entry["event"] for entry in logs].count(Event.TASK_SUBMITTED) == 1
        assert not any("/task/stop/" in entry.path for entry in pod.fakes["first"].requests)
        await daemon.dispatcher.stop(0)
        video = await pod.connection.fetchval(
            "SELECT video FROM video_video WHERE id = $1", (await pod.row(pk))["video_id"]
        )
        folder = (media_root / video).parent / f"{(await pod.row(pk))['video_id']:04d}"
        assert (folder / "encoding.log").is_file()


async def test_an_id_that_was_stored_is_not_given_back_to_a_row_that_waits_again_since(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it was stored was not answered. Another daemon saw its run fail, and had the task wait again."""
    async with scene(pod_database, media_root) as pod:
        [pk] = await pod.encodings(1)
        daemon = await pod.daemon()
        with monkeypatch.context() as patch:
            patch.setattr(acceptance, "store_accepted", _answer_lost(store_accepted))
            await daemon.dispatcher.step()
            await daemon.dispatcher.drain()
        failed = (await pod.row(pk))["task_id"]
        assert failed
        await pod.connection.execute(
            "UPDATE runner_manager_task SET status = 'pending', task_id = NULL, runner_manager_id = NULL"
        )
        await pod.connection.execute("UPDATE poddispatchd.submission SET state = 'lost'")
        await daemon.parts.session.available()
        await daemon.settle()
        row = await pod.row(pk)
        assert row["status"] == "running"
        assert row["task_id"] != failed
        assert pod.posts("first") == 2


async def test_a_row_that_changed_while_the_disk_was_slow_is_not_posted(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(pod_database, media_root) as pod:
        [pk] = await pod.encodings(1)
        daemon = await pod.daemon()

        async def slow(_self: SourceFiles, _path: str) -> Presence:
            await pod.start(pk, "first", "an-id-of-pod")
            return Presence.THERE

        monkeypatch.setattr(SourceFiles, "look", slow)
        await daemon.settle()
        assert pod.posts("first") == 0
        assert (await pod.row(pk))["task_id"] == "an-id-of-pod"
