"""What the result of an encoding passes on its way into Pod."""

from pathlib import Path

from poddispatchd.app import features
from tests.integration.imports.bench import bench, idle
from tests.integration.visited import connect_all, passes, visited
from tests.plugins.postgres import PodDatabase

_MOST_MODULES = 69
"""With two that a busy machine adds: connections that are handed on, and waited for."""

_TROUBLE = (
    "domain/import_failures.py",
    "imports/deletion.py",
    "imports/failure_handling.py",
    "imports/sweep.py",
    "observability/redaction.py",
    "runner/http_errors.py",
    "runtime/media_health.py",
)


async def test_a_result_that_is_well_meets_no_trouble(pod_database: PodDatabase, media_root: Path) -> None:
    with visited() as modules:
        async with bench(pod_database, media_root) as here:
            await here.ready()
            await here.import_due()
            task = await here.ready()
            await here.submitted_by_us(task, task_type="encoding")
            importer = features.importer(here.parts)
            await connect_all(here.parts.database, here.parts.settings.database.pool_size)

            modules.clear()
            await importer.step()
            await idle(importer)
            passed = {*modules}

            assert await here.status(task) == "completed"
    assert passes(passed, *_TROUBLE) == []
    assert len(passed) <= _MOST_MODULES
