"""Encodings that a real Pod imported, imported by us: the same rows and files, but where we do better."""

import hashlib
import json
from collections.abc import Callable, Mapping

import pytest

from poddispatchd.config.section import UnfitSettingsError
from poddispatchd.domain.task import TaskType
from tests.integration.pod.imports.changes import Changes
from tests.integration.pod.imports.expected import Deviation
from tests.integration.pod.imports.judging import replay
from tests.integration.pod.imports.vectors import cases
from tests.plugins.shared_world import SharedWorldFactory

STUDENT = "da450550873992f126df136c723604527763d2759d8033a7883e85ebb1040427"
NOOWNER = "7b65b6c596b18959086b8bb6360e2d21bb45e812a341b98b6e52c92df4214e57"
PUSHER = "18130d18b5b6c05f015ec356c848a11fda4cdff4fb419c5249915c65d53ed0d5"


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


_WHOLE = (
    *("360p_s.m3u8", "360p_s.ts", "360p_s.mp4", "audio_192k_s.mp3", "s_0.png", "s_1.png"),
    *("overview.vtt", "overview.png", "encoding.log", "info_video.json"),
)
"""The files that most results consist of."""

_ODD_NAMES: Mapping[str, str] = {
    "a b é.txt": "a%20b%20%C3%A9.txt",
    "100%.txt": "100%25.txt",
    "h#x.txt": "h%23x.txt",
    "q?y=1.txt": "q%3Fy=1.txt",
    "p+q&r.txt": "p+q&r.txt",
    "日本.txt": "%E6%97%A5%E6%9C%AC.txt",
}
"""File names, and how they are asked for."""


def _own_info(changes: Changes) -> None:
    """The result's own info_video.json, whatever its bytes."""
    changes.written[f"videos/{STUDENT}/0002/info_video.json"] = "644 *"


def _unchanged(changes: Changes) -> None:
    changes.updated.clear()


def _after_the_failure(changes: Changes) -> None:
    """What the failure said stays; it had ended the progress of the video already."""
    words = "Its result cannot be imported: info_video.json is missing."
    changes.updated["runner_manager_task 9001"]["script_output"] = f"one\n{words}two\n"
    del changes.updated["video_video 2"]["encoding_in_progress"]


DEVIATIONS: Mapping[str, Deviation] = {
    # A result that cannot be imported fails in words; Pod completes the task, or leaves it running for ever.
    "duration-huge": Deviation("it fits no column", fails=("out of range: 2147483648 seconds",)),
    "duration-string-float": Deviation("it is no number", fails=("not a number of seconds: '12.5'",)),
    "file-404": Deviation(
        "a file is missing", fails=("'360p_s.mp4' cannot be had from runner manager 'rm1'",)
    ),
    "file-empty": Deviation("a rendition is empty", fails=("360p_s.mp4", "is empty")),
    "file-html-200": Deviation("a page is no file", fails=("'info_video.json' came as a web page",)),
    "info-encode-result-false": Deviation(
        "the runner says that it failed", fails=("says that the encoding failed",)
    ),
    "info-latin1": Deviation("it cannot be read", fails=("info_video.json is not readable JSON",)),
    "info-list": Deviation("it cannot be read", fails=("info_video.json is not a JSON object",)),
    "info-missing": Deviation("a file is missing", fails=("info_video.json is missing",)),
    "info-missing-duration": Deviation("its duration is missing", fails=("info_video.json has no duration",)),
    "info-missing-rendition-ts": Deviation("a file is missing", fails=("missing",)),
    "info-unknown-rendition": Deviation(
        "Pod does not have the rendition", fails=("rendition 426x240, which Pod does not have: add it",)
    ),
    "info-video-empty-list": Deviation("no rendition", fails=("the result names no rendition",)),
    "info-video-without-renditions": Deviation("no rendition", fails=("the result names no rendition",)),
    "man-404": Deviation("no list of files", fails=("The list of result files cannot be had",)),
    "man-dict-sha-wrong": Deviation(
        "a file is spoilt", fails=("'s_1.png' did not arrive in 5 attempts", "sha256 that was announced")
    ),
    "man-empty-files": Deviation("no file", fails=("The result lists no file",)),
    "man-traversal": Deviation("unsafe names", fails=("'../evil.txt' leaves", "'/abs.txt' is absolute")),
    "repeat-after-failure": Deviation("a file is missing", fails=("info_video.json is missing",)),
    "task-without-video": Deviation("no video", fails=("The video of task 9001 does not exist any more",)),
    # What only a person can mend is waited for.
    "man-401": Deviation("our token is refused", fails=("refuses our token (401)",), waits=True),
    "man-files-dict": Deviation("something else answers", fails=("without a list of files",), waits=True),
    # A result that Pod trips over is imported.
    "enc-file-permissions": Deviation(
        "the mode is parsed once, for every file", like="enc-debug", change=_replacing({'"644 ': '"640 '})
    ),
    "enc-file-permissions-bad": Deviation("the setting is refused at the start", like="enc-debug"),
    "enc-noowner": Deviation(
        "the files are beside the source, the owner's directory is told by it",
        like="enc-debug",
        change=_for_video(14, 8, NOOWNER, "0014-owner-row-missing"),
        asks=_WHOLE,
    ),
    "enc-push": Deviation(
        "a push is not part of the import",
        like="enc-debug",
        change=_for_video(19, 10, PUSHER, "0019-owner-wants-a-push"),
    ),
    "info-bom": Deviation("a byte order mark is tolerated", like="enc-debug", change=_own_info),
    "info-missing-has-audio": Deviation(
        "what is named and there is imported", like="enc-debug", change=_own_info, other_log=True
    ),
    "info-missing-has-video": Deviation(
        "what is named and there is imported", like="enc-debug", change=_own_info, other_log=True
    ),
    "man-dotdot-prefix": Deviation(
        "a name that begins with a dot is left out, in words", like="enc-debug", asks=_WHOLE, other_log=True
    ),
    "man-odd-names": Deviation(
        "names are escaped",
        like="enc-debug",
        change=_with_files(**{name: name for name in _ODD_NAMES}),
        asks=(*_WHOLE, *_ODD_NAMES.values()),
    ),
    "task-type-encoding-with-recording": Deviation("an encoding is one, recording or not", like="enc-debug"),
    # The end is the same, but what Pod spoils on the way stays whole.
    "enc-accept-language-en": Deviation("the title and slug are never touched", change=_title_untouched),
    "enc-title-null-langs": Deviation("the title and slug are never touched", change=_title_untouched),
    "enc-reencode-same-names": Deviation("rows that the result does not bring go", change=_stale_rows_gone),
    "is-video-false-before": Deviation("is_video is set either way", change=_is_a_video),
    "man-duplicates": Deviation("a file listed twice is fetched once", asks=_WHOLE),
    "repeat-after-failure again": Deviation(
        "the failure stays told", change=_after_the_failure, other_log=True
    ),
    "repeat-completed again": Deviation("a completed task does not change", change=_unchanged),
    # The log says what happened in our words.
    "info-audio-missing": Deviation("one warning", other_log=True),
    "info-thumb-empty": Deviation("one warning", other_log=True),
    "info-thumb-false": Deviation("no warning: the result says there is none", other_log=True),
    "info-thumb-missing-file": Deviation("one warning", other_log=True),
    "no-overview": Deviation("no line about what nobody promised", other_log=True),
}

_REFUSED_SETTING = "enc-file-permissions-bad/podfile"


@pytest.mark.parametrize("name", [name for name in cases(TaskType.ENCODING) if name != _REFUSED_SETTING])
async def test_an_encoding_is_imported_as_pod_imports_it_or_better(
    shared_world: SharedWorldFactory, name: str
) -> None:
    await replay(shared_world, name, DEVIATIONS)


@pytest.mark.parametrize("name", [name for name in cases(TaskType.ENCODING) if name == _REFUSED_SETTING])
async def test_a_file_mode_that_is_none_is_refused_at_the_start_not_at_each_import(
    shared_world: SharedWorldFactory, name: str
) -> None:
    with pytest.raises(UnfitSettingsError, match="write an octal file mode in quotes"):
        await replay(shared_world, name, DEVIATIONS)
    await replay(shared_world, name, DEVIATIONS, file_permissions="0644")
