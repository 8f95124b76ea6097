"""What a task passes on its way from a pending row to a running one."""

from pathlib import Path

from tests.integration.dispatch.scene import scene
from tests.integration.visited import connect_all, passes, visited
from tests.plugins.postgres import PodDatabase

_MOST_MODULES = 53

_OFF = (
    "campaigns/",
    "shadow/",
    # Fair share.
    "domain/fair_share.py",
    "journal/fair_share.py",
    "tasks/fair_order.py",
    # Windows and pauses.
    "domain/availability.py",
    "domain/time_windows.py",
    "managers/timetable.py",
    # Forecasts.
    "domain/forecast.py",
    "tasks/forecasts.py",
)

_TROUBLE = (
    "dispatch/waiting_duplicates.py",
    "dispatch/unanswered.py",
    "observability/redaction.py",
    "runner/http_errors.py",
)


async def test_a_task_meets_no_feature_that_is_off_and_no_trouble_that_it_does_not_have(
    pod_database: PodDatabase, media_root: Path
) -> None:
    with visited() as modules:
        async with scene(pod_database, media_root) as pod:
            daemon = await pod.daemon()
            await pod.encoding()
            await daemon.settle()
            task = await pod.encoding(title="Algèbre")
            await connect_all(daemon.parts.database, daemon.parts.settings.database.pool_size)

            modules.clear()
            await daemon.settle()
            passed = {*modules}

            assert await pod.status(task) == "running"
    assert passes(passed, *_OFF) == []
    assert passes(passed, *_TROUBLE) == []
    assert len(passed) <= _MOST_MODULES
