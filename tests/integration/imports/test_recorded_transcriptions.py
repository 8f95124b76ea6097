"""Transcriptions that a real Pod imported, imported by us: the same subtitles, but where we do better."""

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from poddispatchd.config.model import PodSettings
from poddispatchd.database import Connection, Database
from poddispatchd.domain.task import Task, TaskType
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.imports import transcription
from poddispatchd.pod.imports.common import ImportOutcome, read_video
from poddispatchd.pod.media_tree import MediaTree
from tests.integration.imports import recorded
from tests.integration.imports.recorded import Changes, Deviation
from tests.plugins.shared_world import SharedWorldFactory

EXAMPLE = (
    "WEBVTT\n\n00:00:00.000 --> 00:00:04.333\nBonjour à tous, voici l'exemple numéro 1\ndu laboratoire. "
    "Bonjour à tous, voici\n\n00:00:04.333 --> 00:00:07.591\nl'exemple numéro 2 du laboratoire.\n"
    "Bonjour à tous, voici l'exemple numéro 3\n\n00:00:07.591 --> 00:00:08.046\ndu laboratoire.\n"
)

NOT_RUN: Mapping[str, str] = {"tr-file-404": "about the download: a file is missing"}


def _row_of_its_own(changes: Changes) -> None:
    """Without podfile, Pod replaces the file of a row that may belong to another video."""
    changes.updated.pop("main_customfilemodel 700")
    changes.inserted["main_customfilemodel"] = [{"file": "files/subtitle_de_{{STAMP}}.vtt"}]
    changes.updated["completion_track 1"] = {"src_id": {"$ref": "main_customfilemodel#1"}}


def _subtitles(text: str) -> Callable[[Changes], None]:
    """Other subtitles in the stored file."""

    def change(changes: Changes) -> None:
        (path,) = (path for path in changes.written if path.startswith("files/"))
        changes.written[path] = f"644 {hashlib.sha256(text.encode()).hexdigest()}"

    return change


DEVIATIONS: Mapping[str, Deviation] = {
    "tr-two-files-nopodfile": Deviation(
        "always a row of its own", like="tr-two-vtt", change=_subtitles(EXAMPLE)
    ),
    "tr-vosk-long-word": Deviation(
        "a word longer than the line is cut",
        like="tr-two-vtt",
        change=_subtitles(
            f"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n{'x' * 55} xxxxx\n",
        ),
    ),
    "vtt-arrow-in-text": Deviation(
        "the caption is kept, its arrow escaped",
        like="vtt-crlf",
        change=_subtitles("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\na --&gt; b\n"),
    ),
    "vtt-utf16": Deviation(
        "subtitles are stored in UTF-8, the only encoding of WebVTT",
        change=_subtitles("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nabc\n"),
    ),
    "tr-existing-track/nopodfile": Deviation("always a row of its own", change=_row_of_its_own),
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
) -> transcription.TranscriptionPlan:
    return await transcription.prepare(database, settings, capabilities, task, staging, now=now)


async def _write_rows(connection: Connection, plan: recorded.PlannedImport) -> ImportOutcome:
    assert isinstance(plan, transcription.TranscriptionPlan)
    return await transcription.write_rows(connection, plan)


IMPORTS = recorded.Imports(_staging, _prepare, _write_rows)


@pytest.mark.parametrize(
    "name",
    [name for name in recorded.cases(TaskType.TRANSCRIPTION) if name.partition("/")[0] not in NOT_RUN],
)
async def test_a_transcription_is_imported_as_pod_imports_it_or_better(
    shared_world: SharedWorldFactory, name: str
) -> None:
    case = recorded.load(name)
    deviation = DEVIATIONS.get(name) or DEVIATIONS.get(name.partition("/")[0])
    world = await shared_world(recorded.text(case["variant"]))
    now = datetime.now(UTC)
    imported = await recorded.run_import(world, case, IMPORTS, now=now)
    wanted = recorded.wanted_changes(case, deviation, now)
    if isinstance(wanted, Changes):
        # The result itself stays out of the video's directory, where it would replace the encoding's files.
        wanted.written = {
            path: fingerprint
            for path, fingerprint in wanted.written.items()
            if not path.startswith("videos/")
        }
    recorded.assert_as_wanted(imported, wanted, other_log=True)
