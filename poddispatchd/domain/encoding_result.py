"""What the ``info_video.json`` of an encoding promises, and whether a result keeps it."""

import json
import math
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from poddispatchd.domain.content import name_problem
from poddispatchd.domain.hls import playlist_findings
from poddispatchd.domain.manifest import unsafe
from poddispatchd.domain.script_output import storable
from poddispatchd.errors import ResultIncompleteError, ResultRefusedError

INFO_FILE = "info_video.json"
OVERVIEW_FILE = "overview.vtt"
MPEG_TS = "video/mp2t"
MP4 = "video/mp4"
MP3 = "audio/mp3"

_LARGEST_DURATION = 2**31 - 1
_MOST_ENTRIES = 1000
_LONGEST_RENDITION = 50
_LONGEST_WORDS = 200
_MOST_NAMED = 3


@dataclass(slots=True)
class Findings:
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


@dataclass(frozen=True, slots=True)
class EncodedFile:
    """An entry of ``encode_video`` or ``encode_audio``; ``rendition`` is ``640x360`` or empty for audio."""

    encoding_format: str
    filename: str
    rendition: str = ""

    def with_extension(self, extension: str) -> str:
        """The file's name with another extension: Pod trusts the format, not the extension."""
        return posixpath.splitext(self.filename)[0] + extension


@dataclass(frozen=True, slots=True)
class EncodingInfo:
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
    return isinstance(name, str) and unsafe(name) is None


def parse_info(data: bytes, findings: Findings) -> EncodingInfo | None:
    """Read ``info_video.json``; everything odd goes to ``findings``, None when nothing can be read."""
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
        findings.warnings.append(_unsaid(key))
    return bool(value)


def _unsaid(key: str) -> str:
    return f"{INFO_FILE} does not say {key}: taken as false."


def _objects(info: Mapping[str, object], key: str, findings: Findings) -> Sequence[object]:
    """An entry that may be one object or a list of them."""
    value = info.get(key)
    if isinstance(value, dict):
        return [value]
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
    entries = [entry for entry in _objects(info, "encode_thumbnail", findings) if entry]
    names = [_name(entry, "filename", "encode_thumbnail", findings) for entry in entries]
    return tuple(name for name in names if name is not None)


def _overview(info: Mapping[str, object], findings: Findings) -> tuple[str, ...]:
    overview = info.get("encode_overview")
    if not isinstance(overview, dict) or not overview:
        return ()
    keys = ("sprite_filename", "vtt_filename")
    names = (_name(overview, key, "encode_overview", findings) for key in keys)
    return tuple(name for name in names if name is not None)


def reconciled(info: EncodingInfo, listing: Mapping[str, int], findings: Findings) -> EncodingInfo:
    """The same with what is named and there, whatever the flags say: nobody loses what can be watched.

    A real Pod imports renditions that are named although ``has_stream_video`` is false or missing. Of those
    that a flag denies, only what is there counts. The contradiction is told once.
    """
    videos, audios = info.videos, info.audios
    if not info.has_video:
        videos = tuple(file for file in videos if _is_there(_files_of_video(file), listing))
    if not info.has_audio:
        audios = tuple(file for file in audios if _is_there(_files_of_audio(file), listing))
    for flag, is_set, named, found in (
        ("has_stream_video", info.has_video, "renditions", videos),
        ("has_stream_audio", info.has_audio, "audio tracks", audios),
    ):
        if found and not is_set:
            if _unsaid(flag) in findings.warnings:
                findings.warnings.remove(_unsaid(flag))
            contradiction = (
                f"{INFO_FILE} contradicts itself: {flag} is not true, but {named} are named and there "
                f"({', '.join(file.filename for file in found[:_MOST_NAMED])}). They were imported."
            )
            findings.warnings.append(contradiction)
            findings.alerts.append(contradiction)
    return replace(
        info,
        videos=videos,
        audios=audios,
        has_video=info.has_video or bool(videos),
        has_audio=info.has_audio or bool(audios),
    )


def _is_there(names: Mapping[str, str], listing: Mapping[str, int]) -> bool:
    return bool(names) and all(listing.get(name) for name in names)


def _files_of_video(video: EncodedFile) -> dict[str, str]:
    if video.encoding_format == MPEG_TS:
        return {
            video.with_extension(".m3u8"): f"the playlist of {video.rendition}",
            video.with_extension(".ts"): f"the stream of {video.rendition}",
        }
    if video.encoding_format == MP4:
        return {video.with_extension(".mp4"): f"the video in {video.rendition}"}
    return {}


def _files_of_audio(audio: EncodedFile) -> dict[str, str]:
    endings = {MP3: ".mp3", MP4: ".m4a"}
    if audio.encoding_format not in endings:
        return {}
    return {audio.with_extension(endings[audio.encoding_format]): "the audio track"}


def required_files(info: EncodingInfo) -> dict[str, str]:
    """Every file that must be there, and what it is in words.

    The thumbnail is not among them: a video can be watched without one.
    """
    required: dict[str, str] = {}
    for video in info.videos if info.has_video else ():
        required |= _files_of_video(video)
    for audio in info.audios if info.has_audio else ():
        required |= _files_of_audio(audio)
    for name in info.overview:
        required[name] = "the overview"
    return required


def check_files(
    info: EncodingInfo,
    listing: Mapping[str, int],
    left_out: Mapping[str, str],
    playlist_text: Callable[[str], str],
    findings: Findings,
) -> None:
    """The completeness test: every promised file is there, not empty, and its playlist is whole.

    Args:
        info: what the result promises.
        listing: sizes of the files that arrived and may be put in place, by name.
        left_out: files that arrived and may not, with the reason.
        playlist_text: reads a ``.m3u8`` file among them; one after the other, since they may be large.
        findings: where everything wrong goes.
    """
    for name, meaning in required_files(info).items():
        check_file(name, meaning, listing, left_out, findings)
    for video in info.videos if info.has_video else ():
        playlist = video.with_extension(".m3u8")
        size = listing.get(video.with_extension(".ts"), 0)
        if video.encoding_format == MPEG_TS and listing.get(playlist) and size:
            findings.incomplete.extend(playlist_findings(playlist, playlist_text(playlist), size))


def check_file(
    name: str, meaning: str, listing: Mapping[str, int], left_out: Mapping[str, str], findings: Findings
) -> None:
    """One file that must be there: missing or empty, a new run may bring it; left out, it would be again."""
    if listing.get(name):
        return
    shown = f"{name} ({meaning})" if meaning else name
    reason = left_out.get(name) or (None if name in listing else name_problem(name))
    if reason is not None:
        findings.refused.append(f"{shown} {reason}: it must not lie where Pod serves it.")
    else:
        findings.incomplete.append(f"{shown} is {'empty' if name in listing else 'missing'}.")
