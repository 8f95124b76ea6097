"""Submissions to a manager stay below its rate limit, so that it never has to refuse any."""

from pathlib import Path

from msgspec.structs import replace

from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.task import ManagerId, SiteId
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.observability.metrics import Metrics
from poddispatchd.sandbox.fake_runner_manager import ManualClock
from tests.integration.dispatch.scene import HandClock, Spec, running, scene
from tests.plugins.postgres import PodDatabase

_PACED = {"request_timeout": "5s", "submissions_per_minute": 10}


class _SameTime(ManualClock):
    """A manager whose minutes are those of the daemon; its tasks never end."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__()
        self._clock = clock

    def time(self) -> float:
        return self._clock.monotonic()


async def test_a_manager_with_a_rate_limit_never_has_to_refuse_a_task(
    pod_database: PodDatabase, media_root: Path
) -> None:
    clock = HandClock()
    spec = Spec("one", runners=30, rate_limit=12, fake_clock=_SameTime(clock))
    async with (
        scene(pod_database, media_root, spec) as pod,
        running(pod.settings(runners=_PACED), clock=clock) as daemon,
    ):
        await pod.encodings(25)
        await daemon.settle()
        assert pod.posts("one") == 8  # at once
        [report] = daemon.parts.registry.reports()
        assert report.paced_for is not None

        passed = 0.0
        while (await pod.statuses()).get("pending"):
            seconds = await daemon.dispatcher.step()
            clock.advance(seconds)
            passed += seconds
            await daemon.settle()
        assert pod.posts("one") == 25  # one refused because of the rate would have been posted twice
        assert passed < 150


async def test_a_manager_that_may_be_asked_less_often_than_it_likes_shares_its_tasks(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(
        pod_database, media_root, Spec("one", priority=1, runners=30), Spec("two", priority=2, runners=30)
    ) as pod:
        await pod.encodings(12)
        daemon = await pod.daemon(runners=_PACED)
        await daemon.settle()
        assert (pod.posts("one"), pod.posts("two")) == (8, 4)


def _row(number: int, url: str) -> RunnerManager:
    return RunnerManager(ManagerId(number), f"rm{number}", 1, url, SecretStr("t"), SiteId(number))


def test_rows_of_one_address_are_counted_together() -> None:
    clock = HandClock()
    registry = ManagerRegistry(clock, Metrics(), per_minute=10)
    rows = [_row(1, "http://rm.example.org/manager"), _row(2, "http://rm.example.org/manager/")]
    registry.refresh([*rows, _row(3, "http://other.example.org/manager")], {}, {})
    for _ in range(8):
        registry.posts(ManagerId(1))
    now = clock.monotonic()
    assert [lane.closed_until <= now for lane in registry.lanes()] == [False, False, True]
    assert [registry.is_free(ManagerId(number)) for number in (1, 2, 3)] == [False, False, True]

    registry.refresh([_row(2, "http://rm.example.org/manager")], {}, {})
    assert not registry.is_free(ManagerId(2))
    clock.advance(60)
    assert registry.is_free(ManagerId(2))


def test_what_ends_at_an_old_address_leaves_the_new_one_busy() -> None:
    """Two tasks went to the new address at once: their numbers began anew, and met."""
    registry = ManagerRegistry(HandClock(), Metrics())
    old = _row(1, "http://old")
    registry.refresh([old], {}, {})
    turn = registry.begin(old.id)
    registry.refresh([replace(old, url="http://new")], {}, {})
    assert not registry.is_busy(old.id)
    registry.begin(old.id)
    registry.end(old.id, turn)
    assert registry.is_busy(old.id)
