"""Studio tasks that a real Pod imported, imported by us: the same new video, but where we do better."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from poddispatchd.config.model import PodSettings
from poddispatchd.database import Connection, Database
from poddispatchd.domain.task import Task, TaskType
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.imports import studio
from poddispatchd.pod.imports.common import ImportOutcome
from poddispatchd.pod.media_tree import MediaTree
from tests.integration.imports import recorded
from tests.integration.imports.recorded import Changes, Deviation
from tests.plugins.shared_world import SharedWorldFactory

EMPLOYEE = "3427d27154d6876362b4faa6ff1a32a38ccc3bd79546f4d04a1cb5b981fe6ee4"
NOOWNER = "7b65b6c596b18959086b8bb6360e2d21bb45e812a341b98b6e52c92df4214e57"


def _nothing_cleaned(changes: Changes) -> None:
    """Cleaning opencast-files is the janitor's."""
    changes.removed = [path for path in changes.removed if not path.startswith("opencast-files/")]


def _restricted(changes: Changes) -> None:
    _nothing_cleaned(changes)
    changes.inserted["video_video"][0]["is_restricted"] = True


def _of_the_user_without_owner(changes: Changes) -> None:
    _nothing_cleaned(changes)
    document = json.dumps([changes.inserted, changes.written])
    document = document.replace(EMPLOYEE, NOOWNER)
    for column in ("owner_id", "created_by_id"):
        document = document.replace(f'"{column}": 2', f'"{column}": 8')
    changes.inserted, changes.written = json.loads(document)


DEVIATIONS: Mapping[str, Deviation] = {
    "st-auth-group": Deviation(
        "no access group has the name: the video is made, and restricted",
        like="st-clean-old",
        change=_restricted,
        other_log=True,
    ),
    "st-clean-old": Deviation("cleaning is the janitor's part", change=_nothing_cleaned),
    "st-user-noowner": Deviation(
        "the directory of the user's earlier videos is used",
        like="st-clean-old",
        change=_of_the_user_without_owner,
        other_log=True,
    ),
}


async def _staging(database: Database, tree: MediaTree, task: Task) -> Path:
    return tree.studio_staging_directory(task.pk)


async def _prepare(
    database: Database,
    settings: PodSettings,
    capabilities: Capabilities,
    task: Task,
    *,
    staging: Path,
    now: datetime,
) -> studio.StudioPlan:
    async with database.connection() as connection:
        video_id = await studio.reserve_video_id(connection)
    return await studio.prepare(
        database, settings, capabilities, task, staging, video_id=video_id, created_at=now, now=now
    )


async def _write_rows(connection: Connection, plan: recorded.PlannedImport) -> ImportOutcome:
    assert isinstance(plan, studio.StudioPlan)
    return await studio.write_rows(connection, plan)


IMPORTS = recorded.Imports(_staging, _prepare, _write_rows)


@pytest.mark.parametrize("name", recorded.cases(TaskType.STUDIO))
async def test_a_studio_task_is_imported_as_pod_imports_it_or_better(
    shared_world: SharedWorldFactory, name: str
) -> None:
    case = recorded.load(name)
    deviation = DEVIATIONS.get(name.partition("/")[0])
    world = await shared_world(recorded.text(case["variant"]))
    now = datetime.now(UTC)
    imported = await recorded.run_import(world, case, IMPORTS, now=now)
    wanted = recorded.wanted_changes(case, deviation, now)
    if isinstance(wanted, Changes):
        # Pod leaves an empty tasks/ behind; files in tasks/<id> went to the video.
        wanted.removed = [path for path in wanted.removed if not path.startswith("tasks/9001/")] + [
            path for path in imported.changes.removed if path.startswith("tasks/9001/")
        ]
    recorded.assert_as_wanted(imported, wanted, other_log=deviation is not None and deviation.other_log)
