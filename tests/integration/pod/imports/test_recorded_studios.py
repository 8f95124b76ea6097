"""Studio tasks that a real Pod imported, imported by us: the same new video, but where we do better."""

import json
from collections.abc import Mapping

import pytest

from poddispatchd.domain.task import TaskType
from tests.integration.pod.imports.changes import Changes
from tests.integration.pod.imports.expected import Deviation
from tests.integration.pod.imports.judging import replay
from tests.integration.pod.imports.vectors import cases
from tests.plugins.shared_world import SharedWorldFactory

EMPLOYEE = "3427d27154d6876362b4faa6ff1a32a38ccc3bd79546f4d04a1cb5b981fe6ee4"
NOOWNER = "7b65b6c596b18959086b8bb6360e2d21bb45e812a341b98b6e52c92df4214e57"


def _nothing_cleaned(changes: Changes) -> None:
    changes.removed = [path for path in changes.removed if not path.startswith("opencast-files/")]


def _nothing_stale(changes: Changes) -> None:
    changes.written = {path: file for path, file in changes.written.items() if "stale" not in path}


def _left_nothing(changes: Changes) -> None:
    changes.removed = [path for path in changes.removed if not path.startswith("tasks/9001/")]


def _unchanged(changes: Changes) -> None:
    for part in (changes.inserted, changes.updated, changes.written):
        part.clear()


def _told_again(changes: Changes) -> None:
    _unchanged(changes)
    words = "\nIts result cannot be imported: info_video.json is missing."
    changes.updated["recorder_recording 2"] = {"comment": 2 * words}


def _restricted(changes: Changes) -> None:
    changes.inserted["video_video"][0]["is_restricted"] = True


def _of_the_user_without_owner(changes: Changes) -> None:
    document = json.dumps([changes.inserted, changes.written])
    document = document.replace(EMPLOYEE, NOOWNER)
    for column in ("owner_id", "created_by_id"):
        document = document.replace(f'"{column}": 2', f'"{column}": 8')
    changes.inserted, changes.written = json.loads(document)


GENERAL = Deviation("cleaning opencast-files is the maintenance's part", change=_nothing_cleaned)

DEVIATIONS: Mapping[str, Deviation] = {
    "st-auth-group": Deviation(
        "no access group has the name: the video is made, and restricted",
        like="st-clean-old",
        change=_restricted,
        other_log=True,
    ),
    "st-existing-task-dir": Deviation("what lay there before is none of this result", change=_nothing_stale),
    "st-info-missing": Deviation("no empty video is made", fails=("info_video.json is missing",)),
    "st-info-missing-twice": Deviation("no empty video is made", fails=("info_video.json is missing",)),
    "st-info-missing-twice again": Deviation("the same once more", change=_told_again),
    "st-no-base-then-ok": Deviation("a failure is told", fails=("studio_base.mp4", "is missing")),
    "st-no-base-then-ok again": Deviation(
        "the failed import has left nothing behind", change=_left_nothing, other_log=True
    ),
    "st-repeat again": Deviation("a completed task does not change", change=_unchanged),
    "st-unknown-rendition": Deviation(
        "no empty video is made", fails=("rendition 426x240, which Pod does not have: add it",)
    ),
    "st-user-noowner": Deviation(
        "the directory of the user's earlier videos is used",
        like="st-clean-old",
        change=_of_the_user_without_owner,
        other_log=True,
    ),
}


@pytest.mark.parametrize("name", cases(TaskType.STUDIO))
async def test_a_studio_task_is_imported_as_pod_imports_it_or_better(
    shared_world: SharedWorldFactory, name: str
) -> None:
    await replay(shared_world, name, DEVIATIONS, general=GENERAL)
