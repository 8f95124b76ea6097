"""From a result of an encoding to the rows and files that Pod's pages expect."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, field

from poddispatchd.domain.encoding_result import (
    MP3,
    MP4,
    MPEG_TS,
    OVERVIEW_FILE,
    EncodedFile,
    EncodingInfo,
    Findings,
)
from poddispatchd.domain.file_policy import IMAGE_ENDINGS, uri_problem
from poddispatchd.domain.hls import Variant, master_playlist, parse_bitrate
from poddispatchd.domain.media import POINTS_ELSEWHERE
from poddispatchd.domain.thumbnails import ThumbnailChoice

MASTER_PLAYLIST = "playlist.m3u8"
HLS_PLAYLIST = "application/x-mpegURL"

_FALLBACK_NAME = "360p"


class Rendition(Struct, frozen=True):
    """A row of Pod's ``video_encode_transcript_videorendition``; ``resolution`` as ``640x360``."""

    id: int
    resolution: str
    video_bitrate: str


class MediaRow(Struct, frozen=True):
    """A row of EncodingAudio or PlaylistVideo, or with ``rendition_id`` of EncodingVideo.

    ``filename`` is relative to the output directory of the video.
    """

    name: str
    encoding_format: str
    filename: str
    rendition_id: int | None = None

    @property
    def key(self) -> tuple[str, str, int | None]:
        """What makes it the same row as one of an earlier encoding (Pod updates that one in place)."""
        return self.name, self.encoding_format, self.rendition_id


class PodChoices(Struct, frozen=True):
    """What a Pod makes of a result.

    Args:
        renditions: Pod's renditions by resolution.
        encoding_choices: ENCODING_CHOICES, the names Pod gives to encodings.
        thumbnail: which thumbnail becomes the video's.
    """

    renditions: Mapping[str, Rendition]
    encoding_choices: Sequence[str]
    thumbnail: ThumbnailChoice = ThumbnailChoice.FIRST


class EncodingContent(Struct, frozen=True):
    """What an encoding brings into Pod. File names are relative to the output directory.

    ``master`` is the text of the master playlist, None without HLS renditions. ``log`` holds what was
    attached, as pairs of a label and a file name, in the order of Pod's log. ``alerts`` are the warnings that
    ADMINS must know.
    """

    duration: int
    is_video: bool
    has_audio: bool
    videos: tuple[MediaRow, ...]
    audios: tuple[MediaRow, ...]
    playlists: tuple[MediaRow, ...]
    master: str | None
    overview: str | None
    thumbnail: str | None
    log: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    alerts: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """What it brings, for people; what there is none of is left out."""
        kinds = (("encoding", self.videos), ("audio file", self.audios), ("playlist", self.playlists))
        counts = [f"{len(rows)} {kind}{'s' if len(rows) > 1 else ''}" for kind, rows in kinds if rows]
        return ", ".join((*counts, f"{self.duration} s"))


def plan_content(
    info: EncodingInfo,
    listing: Mapping[str, int],
    choices: PodChoices,
    findings: Findings,
) -> EncodingContent:
    """Decide every row and file; what forbids the import goes to ``findings``, which the caller raises.

    Args:
        info: what the result promises; its files have been checked.
        listing: sizes of the files that arrived, by name.
        choices: what this Pod makes of it.
        findings: where everything wrong goes.
    """
    plan = _VideoPlan(choices.renditions, choices.encoding_choices, findings)
    if info.has_video:
        plan.add_all(info.videos)
    log = plan.log
    overview = _plan_overview(info, listing, findings)
    if overview is not None:
        log.append(("existing overview:", overview))
    thumbnail = _plan_thumbnail(info, listing, choices.thumbnail, findings)
    if thumbnail is not None and info.has_video:
        log.append(("thumbnailfilename :", thumbnail))
    audios = _plan_audios(info, findings, log)
    if thumbnail is not None and not info.has_video:
        log.append(("thumbnailfilename :", thumbnail))
    if not plan.videos and not audios:
        # Else the import would take away what can be watched today, and bring nothing.
        findings.incomplete.append("The result brings nothing that can be watched or listened to.")
    return EncodingContent(
        duration=info.duration,
        is_video=info.has_video,
        has_audio=info.has_audio,
        videos=_last_of_each(plan.videos),
        audios=_last_of_each(audios),
        playlists=_last_of_each(plan.playlists),
        master=master_playlist(plan.variants) if plan.variants else None,
        overview=overview,
        thumbnail=thumbnail,
        log=tuple(log),
        warnings=tuple(dict.fromkeys(findings.warnings)),
        alerts=tuple(findings.alerts),
    )


def encoding_name(filename: str, encoding_choices: Sequence[str]) -> str:
    """The name of an encoding, told by the first three characters of its file, as Pod tells it.

    Of choices that begin alike it is the last one. Capitals count: a film called "Playa" is no playlist.
    """
    prefix = filename.rpartition("/")[2][:3]
    matching = (choice for choice in reversed(encoding_choices) if choice[:3] == prefix)
    return next(matching, _FALLBACK_NAME)


class _VideoPlan(Struct):
    """The rows, master playlist and log lines of ``encode_video``, entry after entry."""

    renditions: Mapping[str, Rendition]
    encoding_choices: Sequence[str]
    findings: Findings
    videos: list[MediaRow] = field(default_factory=list)
    playlists: list[MediaRow] = field(default_factory=list)
    variants: list[Variant] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)

    def add_all(self, files: Sequence[EncodedFile]) -> None:
        """Plan every entry, then the master playlist over the HLS ones."""
        if not any(file.encoding_format in (MPEG_TS, MP4) for file in files):
            # Else the import would take away every rendition that can be watched today.
            self.findings.incomplete.append(
                "The source has a video stream, but the result names no rendition."
            )
        for file in files:
            self._add(file)
        if self.variants:
            self.playlists.append(MediaRow("playlist", HLS_PLAYLIST, MASTER_PLAYLIST))
            self.log.append(("Playlist :", MASTER_PLAYLIST))

    def _add(self, file: EncodedFile) -> None:
        if file.encoding_format not in (MPEG_TS, MP4):
            self.findings.warnings.append(f"{file.filename} is of an unknown format and was not imported.")
            return
        rendition = self.renditions.get(file.rendition)
        if rendition is None:
            self.findings.refused.append(
                f"{file.filename} is of rendition {file.rendition or '(none)'}, which Pod does not have: "
                "add it in Pod's administration."
            )
            return
        name = encoding_name(file.filename, self.encoding_choices)
        if file.encoding_format == MP4:
            filename = file.with_extension(".mp4")
            self.videos.append(MediaRow(name, MP4, filename, rendition.id))
            self.log.append(("videofilenameMp4 :", filename))
        else:
            self._add_hls(file, rendition, name)

    def _add_hls(self, file: EncodedFile, rendition: Rendition, name: str) -> None:
        playlist, stream = file.with_extension(".m3u8"), file.with_extension(".ts")
        bandwidth = parse_bitrate(rendition.video_bitrate)
        if bandwidth is None:
            self.findings.refused.append(
                f"The video bitrate of rendition {rendition.resolution} is not readable "
                f"({rendition.video_bitrate[:50]!r}): correct it in Pod's administration."
            )
        elif playlist == MASTER_PLAYLIST:
            self.findings.refused.append(f"A rendition is named {playlist}, as the master playlist must be.")
        elif (problem := uri_problem(playlist.translate(POINTS_ELSEWHERE))) is not None:
            # As in the playlists of runners: in ours it would lead players there just the same.
            self.findings.refused.append(
                f"{MASTER_PLAYLIST} names an address that {problem}: {playlist[:60]!a}."
            )
        else:
            self.videos.append(MediaRow(name, MPEG_TS, stream, rendition.id))
            self.playlists.append(MediaRow(name, HLS_PLAYLIST, playlist))
            uri = playlist.translate(POINTS_ELSEWHERE)
            self.variants.append(Variant(bandwidth, rendition.resolution, uri))
            self.log.extend([("videofilenameM3u8 :", playlist), ("videofilenameTS :", stream)])


def _plan_audios(info: EncodingInfo, findings: Findings, log: list[tuple[str, str]]) -> list[MediaRow]:
    if not info.has_audio:
        return []
    if not info.audios:
        findings.warnings.append("The source has an audio stream, but the result brings no audio track.")
    audios = []
    for audio in info.audios:
        if audio.encoding_format == MP3:
            filename, label = audio.with_extension(".mp3"), "encode_video_mp3 :"
        elif audio.encoding_format == MP4:
            filename, label = audio.with_extension(".m4a"), "encode_video_m4a :"
        else:
            findings.warnings.append(f"{audio.filename} is of an unknown format and was not imported.")
            continue
        audios.append(MediaRow("audio", audio.encoding_format, filename))
        log.append((label, filename))
    return audios


def _plan_overview(info: EncodingInfo, listing: Mapping[str, int], findings: Findings) -> str | None:
    if not info.has_video:
        return None
    name = next((name for name in info.overview if name.endswith(".vtt")), OVERVIEW_FILE)
    if listing.get(name):
        return name
    if name in listing:
        findings.warnings.append(f"{name} (the overview) is empty and was not attached.")
    return None


def _plan_thumbnail(
    info: EncodingInfo, listing: Mapping[str, int], choice: ThumbnailChoice, findings: Findings
) -> str | None:
    if not info.has_thumbnail:
        return None
    if not info.thumbnails:
        if info.has_video:
            findings.warnings.append("The result names no thumbnail.")
        return None
    names = choice.ordered(info.thumbnails)
    found = next((name for name in names if listing.get(name) and _is_picture(name)), None)
    if found is None:
        state = "missing"
        if names[0] in listing:
            state = "no picture" if listing[names[0]] else "empty"
        findings.warnings.append(f"The thumbnail {names[0]} is {state}: the video has no new thumbnail.")
    return found


def _is_picture(name: str) -> bool:
    return name.rpartition(".")[2].lower() in IMAGE_ENDINGS


def _last_of_each(rows: Iterable[MediaRow]) -> tuple[MediaRow, ...]:
    """Two entries for one row: the later one wins, as in Pod, in the place of the first."""
    by_key: dict[tuple[str, str, int | None], MediaRow] = {}
    for row in rows:
        by_key[row.key] = row
    return tuple(by_key.values())
