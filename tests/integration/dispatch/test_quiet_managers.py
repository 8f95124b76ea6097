"""Managers of which nothing is heard, for there is no task to give them: they are asked how they are."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from poddispatchd.app.jobs import Jobs
from poddispatchd.domain.breaker import BreakerState
from poddispatchd.observability.events import Event
from poddispatchd.runner.client import RunnerClient
from poddispatchd.sandbox.fake_runner_manager import AnswerFault, FaultKind
from tests.integration.dispatch.scene import Daemon, Scene, scene
from tests.plugins.postgres import PodDatabase


@pytest.fixture
async def pod(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Scene]:
    async with scene(pod_database, media_root) as made:
        yield made


def _health_checks(pod: Scene) -> int:
    return sum("health" in request.path for request in pod.fakes["first"].requests)


def _questions(pod: Scene) -> int:
    """How often it was asked about no task."""
    return sum("status/" in request.path for request in pod.fakes["first"].requests)


def _state(daemon: Daemon) -> BreakerState:
    [report] = daemon.parts.registry.reports()
    return report.state


async def test_a_manager_that_goes_in_a_night_without_tasks_is_down_after_a_minute(pod: Scene) -> None:
    """It was called up until the first task of the morning, and later for five minutes."""
    daemon = await pod.daemon()
    await daemon.settle()
    await pod.fakes["first"].stop()

    with capture_logs() as logged:
        await daemon.probe()
        assert _state(daemon) is BreakerState.CLOSED
        daemon.clock.advance(61)
        await daemon.probe()
        assert _state(daemon) is BreakerState.CLOSED  # one failure is none
        daemon.clock.advance(5)
        await daemon.probe()
        assert _state(daemon) is BreakerState.OPEN
        await pod.fakes["first"].start()
        daemon.clock.advance(120)
        await daemon.probe()

    assert _state(daemon) is BreakerState.CLOSED
    told = [entry["event"] for entry in logged if "runner_manager." in str(entry["event"])]
    assert told == [Event.RUNNER_MANAGER_DOWN, Event.RUNNER_MANAGER_UP]


async def test_a_manager_that_answers_is_asked_every_minute_what_costs_it_next_to_nothing(pod: Scene) -> None:
    """Its health makes it read every task that it remembers: seconds of its time, with some thousands."""
    daemon = await pod.daemon()
    await daemon.settle()
    asked = []
    for _ in range(7):
        daemon.clock.advance(20.1)
        await daemon.probe()
        asked.append(_questions(pod))

    assert asked == [0, 0, 1, 1, 1, 2, 2]
    assert len(pod.fakes["first"].requests) == 2


async def test_one_that_fails_over_questions_about_tasks_alone_is_not_called_down_over_them(
    pod: Scene,
) -> None:
    pod.fakes["first"].faults.inject("status", AnswerFault(kind=FaultKind.STATUS, status=500), times=None)
    daemon = await pod.daemon()
    await daemon.settle()
    with capture_logs() as logged:
        for _ in range(4):
            daemon.clock.advance(61)
            await daemon.probe()
    assert (_state(daemon), logged) == (BreakerState.CLOSED, [])
    assert _health_checks(pod) == 4


async def test_a_manager_that_hides_its_health_gets_tasks_after_it_was_away(pod: Scene) -> None:
    """It stayed shut until the daemon was started again, unless one of its tasks still ran."""
    hidden = AnswerFault(kind=FaultKind.STATUS, status=404, body={"detail": "Not Found"})
    pod.fakes["first"].faults.inject("health", hidden, times=None)
    daemon = await pod.daemon()
    await pod.fakes["first"].stop()
    [pk] = await pod.encodings(1)
    for _ in range(4):
        await daemon.settle()
        daemon.clock.advance(10)
    assert _state(daemon) is BreakerState.OPEN

    await pod.fakes["first"].start()
    for _ in range(4):
        daemon.clock.advance(120)
        await daemon.probe()
        await daemon.settle()
    assert (await pod.status(pk), _state(daemon)) == ("running", BreakerState.CLOSED)


async def test_a_limit_of_our_rate_is_an_answer_of_a_manager_that_hides_its_health(pod: Scene) -> None:
    """It came back, and was called misconfigured for ten minutes: a person was to look at its address."""
    faults = pod.fakes["first"].faults
    hidden = AnswerFault(kind=FaultKind.STATUS, status=404, body={"detail": "Not Found"})
    faults.inject("health", hidden, times=None)
    daemon = await pod.daemon()
    await daemon.settle()
    await pod.fakes["first"].stop()
    for seconds in (301, 5):
        daemon.clock.advance(seconds)
        await daemon.probe()
    assert _state(daemon) is BreakerState.OPEN

    await pod.fakes["first"].start()
    faults.inject("status", AnswerFault(kind=FaultKind.STATUS, status=429))
    daemon.clock.advance(120)
    await daemon.probe()
    assert _state(daemon) is BreakerState.CLOSED


async def test_a_manager_that_hides_its_health_gets_tasks_after_a_quiet_night(pod: Scene) -> None:
    """A proxy that passes on only what Pod asks answered 404: the manager was called misconfigured."""
    daemon = await pod.daemon()
    await daemon.settle()
    for endpoint in ("root", "health"):
        pod.fakes["first"].faults.inject(endpoint, AnswerFault(kind=FaultKind.STATUS, status=404), times=None)
    for _ in range(3):
        daemon.clock.advance(301)
        await daemon.probe()
    assert _state(daemon) is BreakerState.CLOSED
    await pod.encodings(1)
    await daemon.settle()
    assert await pod.statuses() == {"running": 1}


async def test_a_manager_that_hides_all_but_submissions_is_believed_when_it_answers_again(pod: Scene) -> None:
    """Because of one question that it had not answered it was asked every five seconds from then on."""
    daemon = await pod.daemon()
    await daemon.settle()
    for endpoint in ("root", "health", "status"):
        pod.fakes["first"].faults.inject(endpoint, AnswerFault(kind=FaultKind.STATUS, status=404), times=None)
    await pod.fakes["first"].stop()
    daemon.clock.advance(301)
    await daemon.probe()
    await pod.fakes["first"].start()

    asked = []
    for _ in range(3):
        daemon.clock.advance(5)
        await daemon.probe()
        asked.append(len(pod.fakes["first"].requests))

    assert asked[0] > 0
    assert asked == [asked[0]] * 3


async def test_a_manager_that_takes_tasks_is_not_asked(pod: Scene) -> None:
    daemon = await pod.daemon()
    await daemon.settle()
    for _ in range(3):
        daemon.clock.advance(200)
        await pod.encodings(1)
        await daemon.settle()
        await daemon.probe()

    assert (_health_checks(pod), _questions(pod)) == (0, 0)


async def test_a_daemon_that_stops_gives_its_questions_up(pod: Scene) -> None:
    """They went on while the HTTP session was being closed, and took that for a failure of the manager."""
    daemon = await pod.daemon()
    fake, jobs = pod.fakes["first"], Jobs.of(daemon.parts)
    fake.faults.inject("status", AnswerFault(kind=FaultKind.HANG), times=None)
    asked = len(fake.requests)
    daemon.clock.advance(301)
    await jobs.prober.step()
    await fake.wait_for(lambda: len(fake.requests) > asked)

    await jobs.stop()

    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("probe of ")]


async def test_a_question_that_meets_what_nobody_foresaw_is_told_and_asked_again(
    pod: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told by asyncio alone, when the process tidied up, and counted by nobody."""
    daemon = await pod.daemon()
    await daemon.settle()
    daemon.clock.advance(301)

    async def surprising(*_: object) -> None:
        raise ValueError("nobody foresaw this")

    with capture_logs() as logged:
        with monkeypatch.context() as patched:
            patched.setattr(RunnerClient, "ping", surprising)
            await daemon.probe()
            [incident] = daemon.parts.incidents.active
            assert (incident.job, incident.times) == ("question about the health of a runner manager", 1)
            await daemon.probe()  # not at once
            assert incident.times == 1
        daemon.clock.advance(5)
        await daemon.probe()

    assert daemon.parts.incidents.active == ()
    assert _questions(pod) > 0
    told = [entry["event"] for entry in logged if str(entry["event"]).startswith("service.")]
    assert told == [Event.SERVICE_CRASHED, Event.SERVICE_RECOVERED]
