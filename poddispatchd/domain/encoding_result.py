"""What the ``info_video.json`` of an encoding promises."""

import json
import math
import posixpath
from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from poddispatchd.domain.file_policy import path_problem
from poddispatchd.domain.script_output import storable
from poddispatchd.errors import ResultIncompleteError, ResultRefusedError

INFO_FILE = "info_video.json"
OVERVIEW_FILE = "overview.vtt"
MPEG_TS = "video/mp2t"
MP4 = "video/mp4"
MP3 = "audio/mp3"

_LARGEST_DURATION = 2**31 - 1
_MOST_ENTRIES = 1000
_MOST_VALUES = 50_000
"""Of the whole document: it has some hundreds, and a parser that makes millions holds up everything else."""

_LONGEST_RENDITION = 50
_LONGEST_WORDS = 200


class Findings(Struct):
    """Everything wrong with a result, collected so that a person learns all of it at once.

    ``incomplete``: a new attempt may bring what is missing. ``refused``: it would bring the same.
    ``warnings``: the result is imported all the same. ``alerts``: those of them that ADMINS must know.
    """

    incomplete: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)

    def raise_any(self) -> None:
        """Stop here if anything forbids the import.

        Raises:
            ResultRefusedError: a new attempt would bring the same.
            ResultIncompleteError: worth a new attempt.
        """
        if self.refused:
            raise ResultRefusedError(*dict.fromkeys(self.refused + self.incomplete))
        if self.incomplete:
            raise ResultIncompleteError(*dict.fromkeys(self.incomplete))


class EncodedFile(Struct, frozen=True):
    """An entry of ``encode_video`` or ``encode_audio``; ``rendition`` is ``640x360`` or empty for audio."""

    encoding_format: str
    filename: str
    rendition: str = ""

    def with_extension(self, extension: str) -> str:
        """The file's name with another extension: Pod trusts the format, not the extension."""
        return posixpath.splitext(self.filename)[0] + extension


class EncodingInfo(Struct, frozen=True):
    """``info_video.json`` in our types. ``duration`` is whole seconds.

    ``thumbnails`` are in the order of the document. ``overview`` holds the names that ``encode_overview``
    promises; older runners wrote none.
    """

    duration: int
    has_video: bool
    has_audio: bool
    has_thumbnail: bool
    videos: tuple[EncodedFile, ...]
    audios: tuple[EncodedFile, ...]
    thumbnails: tuple[str, ...]
    overview: tuple[str, ...]


def is_safe_name(name: object) -> bool:
    """Whether a name that a result holds could be one of its files."""
    return isinstance(name, str) and path_problem(name) is None


def parse_info(data: bytes, findings: Findings) -> EncodingInfo | None:
    """Read ``info_video.json``; everything odd goes to ``findings``, None when nothing can be read."""
    if sum(map(data.count, (b"[", b"{", b","))) > _MOST_VALUES:
        findings.refused.append(f"{INFO_FILE} holds more than {_MOST_VALUES} values.")
        return None
    try:
        document: object = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        findings.incomplete.append(f"{INFO_FILE} is not readable JSON.")
        return None
    if not isinstance(document, dict):
        findings.incomplete.append(f"{INFO_FILE} is not a JSON object.")
        return None
    info: dict[str, object] = document
    _check_outcome(info, findings)
    return EncodingInfo(
        duration=_duration(info, findings),
        has_video=_flag(info, "has_stream_video", findings),
        has_audio=_flag(info, "has_stream_audio", findings),
        has_thumbnail=_flag(info, "has_stream_thumbnail", findings),
        videos=_encoded_files(info, "encode_video", findings),
        audios=_encoded_files(info, "encode_audio", findings),
        thumbnails=_thumbnails(info, findings),
        overview=_overview(info, findings),
    )


def _check_outcome(info: Mapping[str, object], findings: Findings) -> None:
    """``encode_result`` is the last thing an Esup-Runner writes: without it the runner died on the way.

    Other encoders, which never wrote it, are known by the absence of ``codec``, one of the first things
    an Esup-Runner writes; for them the files speak.
    """
    outcome = info.get("encode_result")
    if outcome is True:
        return
    if outcome is not None:
        error = info.get("error")
        reason = f": {storable(error[:_LONGEST_WORDS])}" if isinstance(error, str) and error else ""
        findings.refused.append(f"{INFO_FILE} says that the encoding failed{reason}.")
    elif "codec" in info:
        findings.incomplete.append(f"{INFO_FILE} does not say that the encoding ended (encode_result).")


def _duration(info: Mapping[str, object], findings: Findings) -> int:
    """Whole seconds, as Pod's ``int()`` takes them: a text may hold an integer only, ``true`` is one."""
    value = info.get("duration")
    if value is None:
        findings.incomplete.append(f"{INFO_FILE} has no duration.")
        return 0
    try:
        if not isinstance(value, (int, float, str)) or (
            isinstance(value, float) and not math.isfinite(value)
        ):
            raise ValueError  # noqa: TRY301 - one place words every bad duration
        seconds = int(value)
    except ValueError:
        findings.refused.append(
            f"The duration in {INFO_FILE} is not a number of seconds: {str(value)[:50]!r}."
        )
        return 0
    if abs(seconds) > _LARGEST_DURATION:
        findings.refused.append(f"The duration in {INFO_FILE} is out of range: {str(seconds)[:20]} seconds.")
        return 0
    return seconds


def _flag(info: Mapping[str, object], key: str, findings: Findings) -> bool:
    value = info.get(key)
    if value is None:
        findings.warnings.append(unsaid(key))
    return bool(value)


def unsaid(key: str) -> str:
    """What people are told when the document does not speak of a stream."""
    return f"{INFO_FILE} does not say {key}: taken as false."


def _objects(info: Mapping[str, object], key: str, findings: Findings) -> Sequence[object]:
    """An entry that may be one object or a list of them; an empty object is none, as for Pod."""
    value = info.get(key)
    if isinstance(value, dict):
        return [value] if value else []
    entries = value if isinstance(value, list) else []
    if len(entries) > _MOST_ENTRIES:
        findings.refused.append(f"{key} of {INFO_FILE} has {len(entries)} entries.")
        return []
    return entries


def _name(entry: object, key: str, where: str, findings: Findings) -> str | None:
    """A file name of the document; an unsafe one forbids the import."""
    name = entry.get(key) if isinstance(entry, dict) else None
    if not is_safe_name(name):
        findings.refused.append(
            f"A file name in {where} of {INFO_FILE} is not acceptable: {str(name)[:100]!r}."
        )
        return None
    assert isinstance(name, str)  # noqa: S101 - is_safe_name accepts text only; tells mypy
    return name


def _encoded_files(info: Mapping[str, object], key: str, findings: Findings) -> tuple[EncodedFile, ...]:
    files = []
    for entry in _objects(info, key, findings):
        name = _name(entry, "filename", key, findings)
        if name is not None and isinstance(entry, dict):
            rendition = entry.get("rendition")
            # People are told of it, in a text that must be short and that a database can store.
            known = storable(rendition[:_LONGEST_RENDITION]) if isinstance(rendition, str) else ""
            files.append(EncodedFile(str(entry.get("encoding_format")), name, known))
    return tuple(files)


def _thumbnails(info: Mapping[str, object], findings: Findings) -> tuple[str, ...]:
    """Entries that name nothing are passed over: a video can be watched without a thumbnail."""
    entries = [
        entry
        for entry in _objects(info, "encode_thumbnail", findings)
        if (entry.get("filename") if isinstance(entry, dict) else entry)
    ]
    names = [_name(entry, "filename", "encode_thumbnail", findings) for entry in entries]
    return tuple(name for name in names if name is not None)


def _overview(info: Mapping[str, object], findings: Findings) -> tuple[str, ...]:
    overview = info.get("encode_overview")
    if not isinstance(overview, dict):
        return ()
    # Pod reads none of them: what names no file promises none.
    keys = (key for key in ("sprite_filename", "vtt_filename") if overview.get(key))
    names = (_name(overview, key, "encode_overview", findings) for key in keys)
    return tuple(name for name in names if name is not None)
