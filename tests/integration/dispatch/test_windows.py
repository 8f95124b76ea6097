"""Windows and pauses say when something may begin; what runs, and what was posted, goes on."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from poddispatchd.domain.availability import Availability
from poddispatchd.journal import pauses
from poddispatchd.sandbox.fake_runner_manager import AnswerFault, Endpoint, FaultKind
from tests.integration.counting import counted
from tests.integration.dispatch.scene import Daemon, Spec, scene
from tests.plugins.postgres import PodDatabase

_MINUTE = 60.0

_COST = (1, 4)
"""As without windows: one look at the queue, and what a submission takes (``test_statements``)."""


def _hours(begins: timedelta, length: timedelta) -> str:
    """A window from so long after now, in UTC."""
    opens = datetime.now(UTC) + begins
    return f"{opens:%H:%M}-{opens + length:%H:%M}"


def _windows(**values: object) -> dict[str, object]:
    return {"time_zone": "UTC", **values}


async def _after(daemon: Daemon, seconds: float) -> None:
    daemon.clock.advance(seconds)
    await daemon.settle()


async def test_a_type_waits_for_its_window_and_begins_the_moment_it_opens(
    pod_database: PodDatabase, media_root: Path
) -> None:
    hours = _hours(timedelta(minutes=30), timedelta(hours=2))
    async with scene(pod_database, media_root, Spec("one", runners=9)) as pod:
        daemon = await pod.daemon(
            dispatch={"grace": 0, "poll_interval": "1h"},
            windows=_windows(task_types={"transcription": hours}),
        )
        [encoding] = await pod.encodings(1)
        waits = await pod.transcription()
        await daemon.settle()
        assert (await pod.status(encoding), await pod.status(waits)) == ("running", "pending")

        opens_in = await daemon.dispatcher.step()
        assert 28 * _MINUTE < opens_in <= 30 * _MINUTE
        await _after(daemon, opens_in - 1)
        assert await pod.status(waits) == "pending"
        await _after(daemon, 1.5)
        assert await pod.status(waits) == "running"


async def test_closed_tasks_stand_in_nobodys_way(pod_database: PodDatabase, media_root: Path) -> None:
    hours = _hours(timedelta(hours=2), timedelta(hours=2))
    async with scene(pod_database, media_root, Spec("one", runners=9)) as pod:
        daemon = await pod.daemon(windows=_windows(task_types={"transcription": hours}))
        for _ in range(30):
            await pod.transcription()
        [behind] = await pod.encodings(1)
        await daemon.settle()
        assert await pod.status(behind) == "running"
        assert await pod.statuses() == {"pending": 30, "running": 1}


async def test_a_manager_outside_its_window_gets_nothing_and_the_others_do(
    pod_database: PodDatabase, media_root: Path
) -> None:
    closed, open_ = (
        _hours(timedelta(hours=3), timedelta(hours=2)),
        _hours(timedelta(hours=-1), timedelta(hours=2)),
    )
    specs = (Spec("night", 1, runners=9), Spec("day", 2, runners=9))
    async with scene(pod_database, media_root, *specs) as pod:
        daemon = await pod.daemon(windows=_windows(runner_managers={"night": closed, "day": open_}))
        pks = await pod.encodings(3)
        await daemon.settle()
        assert set(await pod.holders(pks)) == {"day"}

        await _after(daemon, 3600)
        [late] = await pod.encodings(1)
        await daemon.settle()
        assert await pod.status(late) == "pending"  # both are closed now
        await _after(daemon, 2 * 3600)
        assert await pod.holders([late]) == ["night"]


async def test_what_runs_when_a_window_closes_is_left_alone_and_a_lost_answer_is_settled(
    pod_database: PodDatabase, media_root: Path
) -> None:
    hours = _hours(timedelta(hours=-1), timedelta(hours=1, minutes=30))
    async with scene(pod_database, media_root, Spec("one", runners=9)) as pod:
        daemon = await pod.daemon(windows=_windows(task_types={"encoding": hours}))
        [runs] = await pod.encodings(1)
        await daemon.settle()
        [lost] = await pod.encodings(1)
        pod.fakes["one"].faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.DROP_ANSWER))
        await daemon.dispatcher.step()
        await daemon.dispatcher.drain()
        assert await pod.status(lost) == "pending"

        await _after(daemon, 3600)
        [new] = await pod.encodings(1)
        for _ in range(3):
            await daemon.probe()
            await _after(daemon, 70)
        assert [await pod.status(pk) for pk in (runs, lost, new)] == ["running", "running", "pending"]


async def test_planned_maintenance_begins_and_ends_by_itself(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("one", runners=9)) as pod:
        daemon = await pod.daemon(dispatch={"grace": 0, "poll_interval": "1h"})
        now = daemon.clock.now()
        async with daemon.parts.database.connection() as connection:
            await pauses.plan(
                connection,
                pod.ids["one"],
                begins=now + timedelta(minutes=10),
                ends=now + timedelta(minutes=40),
                reason="new disks",
            )
        daemon.parts.wakeups.administration.ring()
        [before] = await pod.encodings(1)
        await daemon.settle()
        assert await pod.status(before) == "running"
        [report] = daemon.parts.registry.reports()
        assert [(report.paused, pause.reason) for pause in report.planned_pauses] == [(False, "new disks")]

        daemon.clock.advance(11 * _MINUTE)
        [during] = await pod.encodings(1)
        await daemon.settle()
        assert (await pod.status(before), await pod.status(during)) == ("running", "pending")
        [report] = daemon.parts.registry.reports()
        assert (report.paused, report.pause_reason) == (True, "new disks")

        ends_in = await daemon.dispatcher.step()
        assert 28 * _MINUTE < ends_in <= 29 * _MINUTE
        await _after(daemon, ends_in + 0.5)
        assert await pod.status(during) == "running"


async def test_a_reload_opens_a_window_at_once(pod_database: PodDatabase, media_root: Path) -> None:
    hours = _hours(timedelta(hours=2), timedelta(hours=2))
    async with scene(pod_database, media_root, Spec("one")) as pod:
        daemon = await pod.daemon(windows=_windows(task_types={"encoding": hours}))
        [pk] = await pod.encodings(1)
        await daemon.settle()
        assert await pod.status(pk) == "pending"

        daemon.parts.registry.availability = Availability()
        await daemon.settle()
        assert await pod.status(pk) == "running"


@pytest.mark.parametrize("windows", [{}, {"task_types": {"transcription": "00:00-24:00"}}])
async def test_windows_cost_the_database_nothing(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch, windows: dict[str, object]
) -> None:
    async with scene(pod_database, media_root, Spec("one", runners=9)) as pod:
        daemon = await pod.daemon(windows=_windows(**windows))
        await daemon.settle()
        with counted(monkeypatch) as idle:
            await daemon.dispatcher.step()
        await pod.encoding()
        with counted(monkeypatch) as busy:
            await daemon.dispatcher.step()
            await daemon.dispatcher.drain()
        assert await pod.statuses() == {"running": 1}
        assert (len(idle.statements), len(busy.statements)) == _COST
