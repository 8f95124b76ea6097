"""Transcriptions that a real Pod imported, imported by us: the same subtitles, but where we do better."""

import hashlib
from collections.abc import Callable, Mapping

import pytest

from poddispatchd.domain.task import TaskType
from tests.integration.pod.imports.changes import Changes
from tests.integration.pod.imports.expected import Deviation
from tests.integration.pod.imports.judging import replay
from tests.integration.pod.imports.vectors import cases
from tests.plugins.shared_world import SharedWorldFactory

EXAMPLE = (
    "WEBVTT\n\n00:00:00.000 --> 00:00:04.333\nBonjour à tous, voici l'exemple numéro 1\ndu laboratoire. "
    "Bonjour à tous, voici\n\n00:00:04.333 --> 00:00:07.591\nl'exemple numéro 2 du laboratoire.\n"
    "Bonjour à tous, voici l'exemple numéro 3\n\n00:00:07.591 --> 00:00:08.046\ndu laboratoire.\n"
)


def _private(changes: Changes) -> None:
    changes.written = {
        path: fingerprint for path, fingerprint in changes.written.items() if not path.startswith("videos/")
    }


GENERAL = Deviation(
    "the result stays out of the video's directory, where it would replace the encoding's files",
    change=_private,
    other_log=True,
)


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
    "tr-file-404": Deviation("a file is missing", fails=("does not know the address",), waits=True),
    "tr-two-files-nopodfile": Deviation(
        "always a row of its own", like="tr-two-vtt", change=_subtitles(EXAMPLE)
    ),
    "tr-vosk-long-word": Deviation(
        "a word longer than the line is cut",
        like="tr-two-vtt",
        change=_subtitles(
            f"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n{'x' * 55}\n{'xxxxx'.ljust(55)}\n",
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


@pytest.mark.parametrize("name", cases(TaskType.TRANSCRIPTION))
async def test_a_transcription_is_imported_as_pod_imports_it_or_better(
    shared_world: SharedWorldFactory, name: str
) -> None:
    await replay(shared_world, name, DEVIATIONS, general=GENERAL)
