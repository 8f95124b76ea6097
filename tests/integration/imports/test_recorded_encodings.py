"""Encodings that a real Pod imported, imported by us: the same rows and files, but where we do better."""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from poddispatchd.config.model import PodSettings
from poddispatchd.database import Connection, Database
from poddispatchd.domain.task import Task, TaskType
from poddispatchd.errors import ResultIncompleteError, ResultRefusedError
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.imports import encoding
from poddispatchd.pod.imports.common import ImportOutcome, read_video
from poddispatchd.pod.media_tree import MediaTree
from tests.integration.imports import recorded
from tests.integration.imports.recorded import Changes, Deviation
from tests.plugins.shared_world import SharedWorldFactory

STUDENT = "da450550873992f126df136c723604527763d2759d8033a7883e85ebb1040427"
NOOWNER = "7b65b6c596b18959086b8bb6360e2d21bb45e812a341b98b6e52c92df4214e57"
PUSHER = "18130d18b5b6c05f015ec356c848a11fda4cdff4fb419c5249915c65d53ed0d5"

NOT_RUN: Mapping[str, str] = {
    "man-401": "about the download: the manifest is refused",
    "man-404": "about the download: there is no manifest",
    "man-files-dict": "about the download: the manifest cannot be used",
    "man-dict-sha-wrong": "about the download: a checksum is wrong",
    "man-traversal": "about the download: unsafe names refuse the whole result",
    "file-404": "about the download: a file is missing",
    "enc-file-permissions-bad": "our configuration refuses such a setting at start",
}


def _replacing(replacements: Mapping[str, str]) -> Callable[[Changes], None]:
    """A change of every text of an expectation, keys included."""

    def change(changes: Changes) -> None:
        document = json.dumps([changes.inserted, changes.updated, changes.written])
        for old, new in replacements.items():
            document = document.replace(old, new)
        changes.inserted, changes.updated, changes.written = json.loads(document)

    return change


def _for_video(number: int, owner: int, hashkey: str, slug: str) -> Callable[[Changes], None]:
    """The expectation of video 2, for another one."""
    return _replacing(
        {
            STUDENT: hashkey,
            "/0002/": f"/{number:04d}/",
            "0002-student-video": slug,
            '"video_id": 2': f'"video_id": {number}',
            "video_video 2": f"video_video {number}",
            '"owner_id": 1': f'"owner_id": {owner}',
            '"created_by_id": 1': f'"created_by_id": {owner}',
        }
    )


def _title_untouched(changes: Changes) -> None:
    for column in ("title", "slug"):
        del changes.updated["video_video 2"][column]
    for folder in changes.inserted.get("podfile_userfolder", []):
        folder["name"] = "0002-student-video"


def _stale_rows_gone(changes: Changes) -> None:
    changes.deleted += [
        "video_encode_transcript_encodingvideo 2",
        "video_encode_transcript_playlistvideo 1",
    ]
    changes.deleted.sort()


def _is_a_video(changes: Changes) -> None:
    changes.updated["video_video 2"]["is_video"] = True


def _with_files(**contents: str) -> Callable[[Changes], None]:
    """More files in the output directory."""

    def change(changes: Changes) -> None:
        for name, content in contents.items():
            digest = hashlib.sha256(content.encode()).hexdigest()
            changes.written[f"videos/{STUDENT}/0002/{name}"] = f"644 {digest}"

    return change


_ODD_NAMES = ("a b é.txt", "100%.txt", "h#x.txt", "q?y=1.txt", "p+q&r.txt", "日本.txt")


def _own_info(changes: Changes) -> None:
    """The result's own info_video.json, whatever its bytes."""
    changes.written[f"videos/{STUDENT}/0002/info_video.json"] = "644 *"


DEVIATIONS: Mapping[str, Deviation] = {
    "enc-accept-language-en": Deviation("the title and slug are never touched", change=_title_untouched),
    "enc-title-null-langs": Deviation("the title and slug are never touched", change=_title_untouched),
    "enc-file-permissions": Deviation(
        "the mode is parsed once, for every file", like="enc-debug", change=_replacing({'"644 ': '"640 '})
    ),
    "enc-noowner": Deviation(
        "the files are beside the source, the owner's directory is told by it",
        like="enc-debug",
        change=_for_video(14, 8, NOOWNER, "0014-owner-row-missing"),
    ),
    "enc-push": Deviation(
        "a push is not part of the import",
        like="enc-debug",
        change=_for_video(19, 10, PUSHER, "0019-owner-wants-a-push"),
    ),
    "enc-reencode-same-names": Deviation("rows that the result does not bring go", change=_stale_rows_gone),
    "failed-then-completed": Deviation("the failure is the webhook's part", like="enc-debug"),
    "file-empty": Deviation("an empty rendition fails the whole import", error=ResultIncompleteError),
    "info-audio-missing": Deviation("one warning, in our words", other_log=True),
    "info-bom": Deviation("a byte order mark is tolerated", like="enc-debug", change=_own_info),
    "info-encode-result-false": Deviation("the runner says it failed", error=ResultRefusedError),
    "info-missing-has-audio": Deviation(
        "a missing key is false", like="info-thumb-video-only", change=_own_info, other_log=True
    ),
    "info-missing-has-video": Deviation(
        "a missing key is false", like="info-no-video", change=_own_info, other_log=True
    ),
    "info-missing-rendition-ts": Deviation("a missing file fails the import", error=ResultIncompleteError),
    "info-thumb-empty": Deviation("a warning in our words", other_log=True),
    "info-thumb-false": Deviation("no warning: the result says there is none", other_log=True),
    "info-thumb-missing-file": Deviation("one warning, in our words", other_log=True),
    "info-video-empty-list": Deviation("a video without renditions fails", error=ResultIncompleteError),
    "info-video-without-renditions": Deviation(
        "a video without renditions fails", error=ResultIncompleteError
    ),
    "is-video-false-before": Deviation("is_video is set either way", change=_is_a_video),
    "man-dotdot-prefix": Deviation(
        "two dots at the start of a name are harmless", change=_with_files(**{"..double.txt": "x"})
    ),
    "man-odd-names": Deviation(
        "the download encodes names",
        like="enc-debug",
        change=_with_files(**{name: name for name in _ODD_NAMES}),
    ),
    "no-overview": Deviation("no line in the log about what nobody promised", other_log=True),
    "task-type-encoding-with-recording": Deviation("an encoding is one, recording or not", like="enc-debug"),
}


async def _staging(database: Database, tree: MediaTree, task: Task) -> Path:
    video = await read_video(database, task)
    return tree.staging_directory(video.video, video.id, task.pk)


async def _prepare(
    database: Database,
    settings: PodSettings,
    capabilities: Capabilities,
    task: Task,
    *,
    staging: Path,
    now: datetime,
) -> encoding.EncodingPlan:
    return await encoding.prepare(database, settings, capabilities, task, staging, now=now)


async def _write_rows(connection: Connection, plan: recorded.PlannedImport) -> ImportOutcome:
    assert isinstance(plan, encoding.EncodingPlan)
    return await encoding.write_rows(connection, plan)


IMPORTS = recorded.Imports(_staging, _prepare, _write_rows)


@pytest.mark.parametrize(
    "name",
    [name for name in recorded.cases(TaskType.ENCODING) if name.partition("/")[0] not in NOT_RUN],
)
async def test_an_encoding_is_imported_as_pod_imports_it_or_better(
    shared_world: SharedWorldFactory, name: str
) -> None:
    case = recorded.load(name)
    deviation = DEVIATIONS.get(name.partition("/")[0])
    world = await shared_world(recorded.text(case["variant"]))
    now = datetime.now(UTC)
    imported = await recorded.run_import(world, case, IMPORTS, now=now)
    wanted = recorded.wanted_changes(case, deviation, now)
    recorded.assert_as_wanted(imported, wanted, other_log=deviation is not None and deviation.other_log)
