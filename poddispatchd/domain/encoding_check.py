"""Whether a result keeps what its ``info_video.json`` promises, and what of it counts."""

from collections.abc import Callable, Collection, Mapping

from msgspec import Struct
from msgspec.structs import replace

from poddispatchd.domain.encoding_result import (
    INFO_FILE,
    MP3,
    MP4,
    MPEG_TS,
    EncodedFile,
    EncodingInfo,
    Findings,
    unsaid,
)
from poddispatchd.domain.file_policy import name_problem
from poddispatchd.domain.hls import playlist_findings

_MOST_NAMED = 3


class LeftOut(Struct, frozen=True):
    """Files that may not be put in place.

    Attributes:
        reasons: by name, each the predicate of a sentence.
        cut: those of them that break off, with nothing else wrong.
    """

    reasons: Mapping[str, str]
    cut: Collection[str] = ()


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
            if unsaid(flag) in findings.warnings:
                findings.warnings.remove(unsaid(flag))
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
    left_out: LeftOut,
    playlist_text: Callable[[str], str],
    findings: Findings,
) -> None:
    """The completeness test: every promised file is there, not empty, and its playlist is whole.

    Args:
        info: what the result promises.
        listing: sizes of the files that arrived and may be put in place, by name.
        left_out: the other files, those that were not fetched included.
        playlist_text: reads a ``.m3u8`` file among them; one after the other, since they may be large.
        findings: where everything wrong goes.
    """
    for name, meaning in required_files(info).items():
        check_file(name, meaning, listing, left_out, findings)
    # Each once, however many renditions name it.
    streams = {
        video.with_extension(".m3u8"): listing.get(video.with_extension(".ts"), 0)
        for video in (info.videos if info.has_video else ())
        if video.encoding_format == MPEG_TS
    }
    for playlist, size in streams.items():
        if listing.get(playlist) and size:
            findings.incomplete.extend(playlist_findings(playlist, playlist_text(playlist), size))


def check_file(
    name: str, meaning: str, listing: Mapping[str, int], left_out: LeftOut, findings: Findings
) -> None:
    """One file that must be there.

    Missing, empty or cut short, a new run may bring it; left out for what it is, it would be again.
    """
    if listing.get(name):
        return
    shown = f"{name} ({meaning})" if meaning else name
    reason = left_out.reasons.get(name) or (None if name in listing else name_problem(name))
    if name in left_out.cut:
        findings.incomplete.append(f"{shown} is cut short.")
    elif reason is not None:
        findings.refused.append(f"{shown} {reason}: it must not lie where Pod serves it.")
    else:
        findings.incomplete.append(f"{shown} is {'empty' if name in listing else 'missing'}.")
