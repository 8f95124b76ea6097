"""What closes the breaker of a runner manager, and what does not (I9)."""

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from poddispatchd.clock import Clock
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.task import ManagerId, SiteId, TaskType
from poddispatchd.errors import (
    PoddispatchdError,
    RunnerManagerBusyError,
    RunnerManagerFullError,
    RunnerManagerMisconfiguredError,
    RunnerManagerUnavailableError,
)
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.managers.state import POLICY
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics
from poddispatchd.runner.request_errors import named

_ID = ManagerId(1)
_MANAGER = RunnerManager(_ID, "m", 1, "http://m", SecretStr("a-token"), SiteId(1))
_FAILS = RunnerManagerUnavailableError("It failed with status 500.")


class StillClock(Clock):
    def __init__(self) -> None:
        self.now_at = 1000.0

    def monotonic(self) -> float:
        return self.now_at

    def random(self) -> float:
        return 1.0


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def registry(clock: StillClock) -> ManagerRegistry:
    made = ManagerRegistry(clock, Metrics())
    made.refresh([_MANAGER], {}, {})
    return made


def submitted(registry: ManagerRegistry, error: PoddispatchdError | None) -> None:
    registry.learn(_MANAGER, error, kind=TaskType.ENCODING)


def asked(registry: ManagerRegistry, error: PoddispatchdError | None = None) -> None:
    registry.learn(_MANAGER, error)


def test_a_manager_that_answers_questions_and_fails_over_every_task_is_left_alone(
    registry: ManagerRegistry,
) -> None:
    """A thousand of its tasks run, and it is asked about each: every answer made it fit for the next task."""
    submitted(registry, _FAILS)
    asked(registry)
    assert registry.lanes()[0].closed_until > 1000.0
    submitted(registry, _FAILS)
    assert registry.is_down(_ID)


def test_it_is_left_alone_for_longer_and_longer(registry: ManagerRegistry, clock: StillClock) -> None:
    """That it had failed before was forgotten with the second question that it answered."""
    waits = []
    for _ in range(4):
        while not registry.is_down(_ID):
            submitted(registry, _FAILS)
        waits.append(registry.opening_of(_ID) - clock.now_at)
        clock.now_at = registry.opening_of(_ID)
        asked(registry)
        asked(registry)
        assert not registry.is_down(_ID)
    assert waits == [3.0, 5.0, 9.0, 17.0]


@pytest.mark.parametrize("taken", [None, RunnerManagerFullError("It is full.")], ids=["taken", "full"])
def test_a_task_that_it_answers_for_makes_all_of_it_good(
    registry: ManagerRegistry, taken: PoddispatchdError | None
) -> None:
    submitted(registry, _FAILS)
    submitted(registry, taken)
    submitted(registry, _FAILS)
    assert not registry.is_down(_ID)


def test_a_question_that_failed_is_made_good_by_the_next_one(registry: ManagerRegistry) -> None:
    for _ in range(3):
        asked(registry, _FAILS)
        asked(registry)
    assert not registry.is_down(_ID)
    asked(registry, _FAILS)
    asked(registry, _FAILS)
    assert registry.is_down(_ID)


def test_an_error_of_a_request_that_nobody_foresaw_is_logged_with_its_traceback(
    registry: ManagerRegistry,
) -> None:
    """The name of its class was all that could be known of a fault in a library."""
    bug, manager = AttributeError("'NoneType' object has no attribute 'getall'"), registry.get(_ID)
    assert manager is not None
    error = named(bug, manager, "POST")
    error.__cause__ = bug

    with capture_logs() as logs:
        for _ in range(POLICY.threshold):
            submitted(registry, error)

    (line,) = [line for line in logs if line["event"] == Event.RUNNER_MANAGER_DOWN]
    assert line["exc_info"] is bug
    assert "the log tells more" in line["error"]


def test_an_outage_is_logged_in_words_alone(registry: ManagerRegistry) -> None:
    error = RunnerManagerUnavailableError("It did not answer in time.")
    error.__cause__ = TimeoutError()

    with capture_logs() as logs:
        for _ in range(POLICY.threshold):
            submitted(registry, error)

    (line,) = [line for line in logs if line["event"] == Event.RUNNER_MANAGER_DOWN]
    assert line["exc_info"] is None


def test_that_a_manager_limits_our_rate_is_told_at_its_beginning_and_shown(
    registry: ManagerRegistry, clock: StillClock
) -> None:
    """Nothing was logged, and ``status`` called it up while no task went there."""
    with capture_logs() as logs:
        for _ in range(3):
            submitted(registry, RunnerManagerBusyError("It limits our rate of requests."))
            clock.now_at += 61
    assert [entry["event"] for entry in logs] == [Event.RUNNER_MANAGER_LIMITS]
    clock.now_at += 600
    with capture_logs() as logs:
        submitted(registry, RunnerManagerBusyError("It limits our rate of requests."))
    assert [entry["event"] for entry in logs] == [Event.RUNNER_MANAGER_LIMITS]

    view = registry.reports()[0].view(clock.now())
    assert view.retry_at is not None
    assert view.paced_until is None


@pytest.mark.parametrize("change", [{"url": "http://n"}, {"token": SecretStr("another-token")}])
def test_what_comes_late_from_an_old_address_or_token_tells_nothing_of_the_new_one(
    registry: ManagerRegistry, change: dict[str, object]
) -> None:
    new = replace(_MANAGER, **change)
    registry.refresh([new], {}, {})
    registry.learn(_MANAGER, RunnerManagerMisconfiguredError("It refuses our token (401)."))
    assert not registry.is_down(_ID)
    for _ in range(POLICY.threshold):
        registry.learn(new, _FAILS)
    registry.learn(_MANAGER, None)
    assert registry.is_down(_ID)
