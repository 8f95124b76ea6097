"""The token of a runner manager is changed in Pod while its runs are in flight."""

from pathlib import Path

from poddispatchd.app import features
from poddispatchd.sandbox.fake_runner_manager import Mode
from tests.integration.imports.bench import bench
from tests.plugins.postgres import PodDatabase

NEW = "token-since-today"


async def test_runs_in_flight_are_found_by_asking_with_the_new_token(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """Their manager calls with the token that it was given them with, and is refused."""
    async with bench(pod_database, media_root, mode=Mode.SHARED) as here:
        task = await here.running()
        watcher = features.reconciler(here.parts)
        await watcher.step()
        await here.end(task)
        here.fake.take_only(NEW)
        here.clock.ahead += 60
        await watcher.step()
        # Between the two changes neither token is right: nothing is lost, nothing fails.
        assert await here.status(task) == "running"
        await here.execute("UPDATE runner_manager SET token = $1", NEW)
        here.clock.ahead += 120
        await here.parts.managers.refresh()
        await watcher.step()
        await here.import_due()
        assert await here.status(task) == "completed"
