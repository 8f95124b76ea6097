"""What a manager's refusal means for the task, for the manager and for everyone else."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from poddispatchd.domain.breaker import BreakerState
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.routing import Lane
from poddispatchd.domain.task import ManagerId, TaskType
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.managers.state import ManagerReport
from poddispatchd.observability.events import Event
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.records import Accepted
from poddispatchd.sandbox.fake_runner_manager import AnswerFault, Endpoint, FaultKind
from tests.integration.dispatch.scene import Daemon, Scene, Spec, scene
from tests.plugins.postgres import PodDatabase

_ENCODERS = frozenset({TaskType.ENCODING.value})


def _refuse(pod: Scene, name: str, status: int, body: dict[str, object] | None = None) -> None:
    fault = AnswerFault(kind=FaultKind.STATUS, status=status, body=body)
    pod.fakes[name].faults.inject(Endpoint.EXECUTE, fault, times=None)


def _report(daemon: Daemon, name: str) -> ManagerReport:
    [report] = [entry for entry in daemon.parts.registry.reports() if entry.name == name]
    return report


def _said(logs: Sequence[structlog.typing.EventDict], *events: Event) -> list[str]:
    return [entry["event"] for entry in logs if entry["event"] in events]


async def test_a_full_manager_is_not_broken_and_asked_again_after_a_while(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("one", runners=1)) as pod:
        await pod.encodings(2)
        daemon = await pod.daemon()
        await daemon.settle()
        assert (await pod.statuses(), pod.posts("one")) == ({"running": 1, "pending": 1}, 2)
        report = _report(daemon, "one")
        assert (report.state, report.error) == (BreakerState.CLOSED, None)

        await daemon.settle()
        assert pod.posts("one") == 2
        daemon.clock.advance(16)
        await daemon.settle()
        assert pod.posts("one") == 3
        daemon.clock.advance(16)
        await daemon.settle()
        assert pod.posts("one") == 3  # the wait grows
        assert await pod.connection.fetchval("SELECT count(*) FROM poddispatchd.submission") == 1


async def test_a_callback_ends_the_wait_at_once(pod_database: PodDatabase, media_root: Path) -> None:
    async with scene(pod_database, media_root, Spec("one", runners=1)) as pod:
        first, second = await pod.encodings(2)
        daemon = await pod.daemon()
        await daemon.settle()
        [task_id] = pod.fakes["one"].tasks
        await pod.fakes["one"].finish(task_id)
        await pod.end(first)
        await daemon.settle()
        assert await pod.status(second) == "pending"

        daemon.parts.registry.freed(pod.ids["one"])
        await daemon.settle()
        assert await pod.status(second) == "running"


async def test_fullness_of_one_type_does_not_hold_back_another(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("one", types=_ENCODERS)) as pod:
        waiting = [await pod.transcription() for _ in range(30)]
        encoding = await pod.encoding()
        daemon = await pod.daemon()
        await daemon.settle()
        assert (await pod.status(encoding), await pod.status(waiting[0])) == ("running", "pending")
        assert pod.posts("one") == 2


async def test_a_429_leaves_the_manager_alone_for_a_minute(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        [pk] = await pod.encodings(1)
        pod.fakes["first"].faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.STATUS, status=429))
        daemon = await pod.daemon()
        await daemon.settle()
        daemon.clock.advance(59)
        await daemon.settle()
        assert (await pod.status(pk), pod.posts("first")) == ("pending", 1)
        assert _report(daemon, "first").state is BreakerState.CLOSED
        daemon.clock.advance(2)
        await daemon.settle()
        assert await pod.status(pk) == "running"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, None),
        (403, None),
        (404, None),
        (400, {"detail": "notify_url host not allowed"}),
    ],
)
async def test_a_misconfigured_manager_is_shown_and_not_hammered_and_the_next_one_works(
    pod_database: PodDatabase, media_root: Path, status: int, body: dict[str, object] | None
) -> None:
    async with scene(pod_database, media_root, Spec("wrong", 1), Spec("right", 2, 9)) as pod:
        pks = await pod.encodings(5)
        _refuse(pod, "wrong", status, body)
        daemon = await pod.daemon()
        with capture_logs() as logs:
            await daemon.settle()
            for _ in range(20):
                daemon.clock.advance(1)
                await daemon.settle()
                await daemon.probe()
        assert await pod.holders(pks) == ["right"] * 5
        assert pod.posts("wrong") == 1
        report = _report(daemon, "wrong")
        assert report.state is BreakerState.MISCONFIGURED
        assert report.error is not None
        assert "Pod" in report.error
        assert _said(logs, Event.RUNNER_MANAGER_MISCONFIGURED, Event.RUNNER_MANAGER_DOWN) == [
            Event.RUNNER_MANAGER_MISCONFIGURED
        ]


async def test_a_problem_that_only_tasks_meet_is_tried_with_one_task_and_told_once(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        pks = await pod.encodings(2)
        _refuse(pod, "first", 400, {"detail": "notify_url host not allowed"})
        daemon = await pod.daemon()
        events = (Event.RUNNER_MANAGER_MISCONFIGURED, Event.RUNNER_MANAGER_UP, Event.RUNNER_MANAGER_DOWN)
        with capture_logs() as logs:
            for _ in range(3):
                await daemon.settle()
                daemon.clock.advance(61)
                await daemon.probe()
        # Its health is fine all the time: that says nothing about the address it refuses.
        assert _said(logs, *events) == [Event.RUNNER_MANAGER_MISCONFIGURED]
        assert pod.posts("first") == 3
        pod.fakes["first"].faults.clear()
        with capture_logs() as logs:
            await daemon.settle()
        assert _said(logs, *events) == [Event.RUNNER_MANAGER_UP]
        assert await pod.holders(pks) == ["first", "first"]


async def test_a_task_that_everybody_refuses_fails_in_words(
    pod_database: PodDatabase, media_root: Path
) -> None:
    detail: dict[str, object] = {
        "detail": [{"loc": ["body", "parameters"], "msg": "Input should be a valid dictionary"}]
    }
    async with scene(pod_database, media_root, Spec("one"), Spec("two")) as pod:
        [pk] = await pod.encodings(1)
        for name in ("one", "two"):
            _refuse(pod, name, 422, detail)
        daemon = await pod.daemon()
        await daemon.settle()
        row = await pod.row(pk)
        assert row["status"] == "failed"
        assert "Input should be a valid dictionary" in row["script_output"]
        assert (pod.posts("one"), pod.posts("two")) == (1, 1)
        assert {report.state for report in daemon.parts.registry.reports()} == {BreakerState.CLOSED}

        # Restarted by a person, it is tried again from the beginning.
        for fake in pod.fakes.values():
            fake.faults.clear()
        await pod.connection.execute(
            "UPDATE runner_manager_task SET status = 'pending', date_added = now() WHERE id = $1", pk
        )
        await daemon.settle()
        assert await pod.status(pk) == "running"


async def test_a_task_that_one_manager_refuses_is_given_to_another_and_blocks_nobody(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("picky", 1, 9), Spec("full", 2, 0)) as pod:
        refused = await pod.encodings(1)
        pod.fakes["picky"].faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.STATUS, status=422))
        daemon = await pod.daemon()
        await daemon.settle()
        others = await pod.encodings(3)
        await daemon.settle()
        assert await pod.status(refused[0]) == "pending"
        assert await pod.holders(others) == ["picky"] * 3


async def test_many_refused_tasks_are_looked_at_together(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All managers, with their windows and pauses, were looked at once more for each of them."""
    async with scene(pod_database, media_root, Spec("picky", 1, 9), Spec("full", 2, 0)) as pod:
        refused = await pod.encodings(6)
        _refuse(pod, "picky", 422)
        daemon = await pod.daemon()
        await daemon.settle()
        assert pod.posts("picky") == len(refused)
        looks, lanes = [], ManagerRegistry.lanes

        def counted(registry: ManagerRegistry, only: ManagerId | None = None) -> list[Lane]:
            looks.append(only)
            return lanes(registry, only)

        monkeypatch.setattr(ManagerRegistry, "lanes", counted)
        daemon.clock.advance(20)
        await daemon.dispatcher.step()
        assert len(looks) < len(refused)


async def test_a_task_that_the_last_manager_left_refuses_fails_in_words(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("picky", 1, 9), Spec("full", 2, 0)) as pod:
        [pk] = await pod.encodings(1)
        _refuse(pod, "picky", 422, {"detail": "no such parameter"})
        daemon = await pod.daemon()
        await daemon.settle()
        assert await pod.status(pk) == "pending"

        # The one it waited for is taken out of service.
        await pod.connection.execute(
            "UPDATE runner_manager SET is_active = false WHERE id = $1", pod.ids["full"]
        )
        daemon.clock.advance(15)
        await daemon.settle()
        row = await pod.row(pk)
        assert (row["status"], pod.posts("picky")) == ("failed", 2)
        assert "no such parameter" in row["script_output"]


async def test_a_task_is_not_failed_for_a_manager_that_is_taken_out_of_service_while_it_refuses(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody was left who could take it, which was taken for a refusal of all."""
    execute = RunnerClient.execute

    async def deactivated_meanwhile(client: RunnerClient, manager: RunnerManager, body: bytes) -> Accepted:
        if manager.name == "picky":
            await pod.connection.execute("UPDATE runner_manager SET is_active = false")
            await daemon.parts.managers.refresh(within=0)
        return await execute(client, manager, body)

    monkeypatch.setattr(RunnerClient, "execute", deactivated_meanwhile)
    async with scene(pod_database, media_root, Spec("picky"), Spec("new", is_active=False)) as pod:
        [pk] = await pod.encodings(1)
        _refuse(pod, "picky", 422, {"detail": "no such parameter"})
        daemon = await pod.daemon()
        await daemon.settle()
        assert await pod.status(pk) == "pending"

        await pod.connection.execute("UPDATE runner_manager SET is_active = (name = 'new')")
        daemon.clock.advance(15)
        await daemon.settle()
        assert await pod.holders([pk]) == ["new"]


async def test_a_manager_that_refused_a_task_is_asked_again_after_an_hour(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("picky", 1, 9), Spec("full", 2, 0)) as pod:
        [pk] = await pod.encodings(1)
        _refuse(pod, "picky", 422)
        daemon = await pod.daemon()
        await daemon.settle()
        pod.fakes["picky"].faults.clear()  # upgraded
        daemon.clock.advance(3500)
        await daemon.settle()
        assert (await pod.status(pk), pod.posts("picky")) == ("pending", 1)
        daemon.clock.advance(101)
        await daemon.settle()
        assert await pod.holders([pk]) == ["picky"]


async def test_an_outage_is_told_once_and_health_decides_when_tasks_come_back(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("down", 1), Spec("up", 2, 9)) as pod:
        await pod.fakes["down"].stop()
        pks = []
        daemon = await pod.daemon()
        events = (Event.RUNNER_MANAGER_DOWN, Event.RUNNER_MANAGER_UP)
        with capture_logs() as logs:
            for _ in range(4):
                pks += await pod.encodings(1)
                await daemon.settle()
                await daemon.probe()
                daemon.clock.advance(70)
        assert await pod.holders(pks) == ["up"] * 4
        assert _said(logs, *events) == [Event.RUNNER_MANAGER_DOWN]
        assert "down" in str(_report(daemon, "down").error)

        await pod.fakes["down"].start()
        late = await pod.encodings(1)
        await daemon.settle()
        assert pod.posts("down") == 0  # no task is risked
        daemon.clock.advance(70)
        daemon.parts.wakeups.dispatcher.ring()
        assert await daemon.parts.wakeups.dispatcher.wait(0)
        with capture_logs() as logs:
            await daemon.probe()
        assert await daemon.parts.wakeups.dispatcher.wait(0)  # it is woken when a manager is back
        late += await pod.encodings(1)
        await daemon.settle()
        assert _said(logs, *events) == [Event.RUNNER_MANAGER_UP]
        assert await pod.holders(late) == ["up", "down"]


async def test_a_healthy_manager_that_fails_every_task_is_left_alone_longer_each_time(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        await pod.encodings(1)
        _refuse(pod, "first", 500)
        daemon = await pod.daemon()
        await daemon.settle()
        assert pod.posts("first") == 1  # one failure may be chance: it is only left alone for a moment
        daemon.clock.advance(1.1)
        waits = []
        for _ in range(5):
            await daemon.settle()
            wait = _report(daemon, "first").retry_in
            assert wait is not None
            waits.append(wait)
            daemon.clock.advance(wait + 0.1)
            await daemon.probe()
        assert waits == sorted(waits)
        assert waits[-1] > 5 * waits[0]
        assert pod.posts("first") == 6


async def test_a_page_instead_of_an_answer_is_no_acceptance(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("page", 1), Spec("real", 2)) as pod:
        [pk] = await pod.encodings(1)
        pod.fakes["page"].faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.HTML), times=None)
        daemon = await pod.daemon()
        await daemon.settle()
        assert await pod.holders([pk]) == ["real"]
        assert not pod.fakes["page"].tasks


async def test_an_id_that_another_task_has_is_never_stored_twice(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        first = await pod.encoding()
        daemon = await pod.daemon()
        await daemon.settle()
        row = await pod.row(first)
        # Over for Pod, while the manager still works on it, or believes so.
        await pod.connection.execute("UPDATE runner_manager_task SET status = 'failed' WHERE id = $1", first)
        again = await pod.connection.fetchval(
            "INSERT INTO runner_manager_task (type, status, date_added, video_id)"
            " VALUES ('encoding', 'pending', now(), $1) RETURNING id",
            row["video_id"],
        )
        await daemon.settle()
        fresh = await pod.row(again)
        assert fresh["status"] == "running"
        assert fresh["task_id"] != row["task_id"]
        assert pod.fakes["first"].submissions[-1].notify_url.endswith("attempt=2")


async def test_a_slow_manager_delays_nobody_else(pod_database: PodDatabase, media_root: Path) -> None:
    async with scene(pod_database, media_root, Spec("slow", 1, 9), Spec("quick", 2, 9)) as pod:
        pks = await pod.encodings(4)
        hang = AnswerFault(kind=FaultKind.SLOW, seconds=3)
        pod.fakes["slow"].faults.inject(Endpoint.EXECUTE, hang, times=None)
        daemon = await pod.daemon()
        await daemon.dispatcher.step()
        # The answer may be near: a better manager is waited for, but not for long.
        await daemon.dispatcher.step()
        assert daemon.dispatcher.in_hand == 1
        daemon.clock.advance(2)
        while await pod.statuses() != {"running": 3, "pending": 1}:
            await daemon.dispatcher.step()
            await daemon.parts.wakeups.dispatcher.wait(1)
        assert daemon.dispatcher.in_hand == 1
        await daemon.dispatcher.drain()
        assert await pod.holders(pks) == ["slow", "quick", "quick", "quick"]

        # Once it is known to be slow nobody waits for it at all.
        more = await pod.encodings(3)
        await daemon.dispatcher.step()
        assert daemon.dispatcher.in_hand == 2
        while (await pod.statuses())["running"] < 6:
            await daemon.dispatcher.step()
            await daemon.parts.wakeups.dispatcher.wait(1)
        assert await pod.holders(more) == [None, "quick", "quick"]
