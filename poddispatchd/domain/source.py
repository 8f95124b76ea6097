"""What a task works on, as read from Pod's tables: the typed inputs of a payload."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import time
from typing import TypeAlias

from msgspec import Struct, field

from poddispatchd.domain.task import RecordingId, VideoId

NO_TRANSCRIPTION = ("", "0", "1")
"""Values of ``video.transcript`` that name no language; old versions of Pod stored 0 for no and 1 for yes."""


def subtitles_language(asked: str, track_languages: Iterable[str], spoken: str) -> str:
    """The language that subtitles are made in, and stored under.

    Args:
        asked: ``video.transcript``.
        track_languages: of the video's first track, if it has one.
        spoken: ``video.main_lang``.

    Returns:
        What is asked for, else that of the track, else what is spoken.
    """
    if asked.strip() not in NO_TRANSCRIPTION:
        return asked.strip()
    return next((language.strip() for language in track_languages if language.strip()), spoken.strip())


def shown_title(plain: str, titles: Mapping[str, str | None], languages: Sequence[str]) -> str:
    """The title of a video as Pod shows it: the first language that has one, then any, then the plain column.

    Pod never reads the plain column; a video whose translations are all empty has its title there.

    Args:
        plain: the column without a suffix.
        titles: the translated ones, by the suffix of their column.
        languages: the one that is wanted, then those that stand in for it, in Pod's order.
    """
    wanted = [suffix for language in languages for suffix in title_suffixes(language)]
    return next((title for language in (*wanted, *titles) if (title := titles.get(language))), plain)


def title_suffixes(language: str) -> tuple[str, str]:
    """Of the columns that can hold the titles of a language the suffixes: of its region, and without one."""
    return language.replace("-", "_"), language.partition("-")[0]


class VideoRendition(Struct, frozen=True):
    """A row of ``video_encode_transcript_videorendition``; ``resolution`` is written ``WxH``."""

    resolution: str
    video_bitrate: str
    audio_bitrate: str
    encode_mp4: bool


class Cut(Struct, frozen=True):
    """A row of ``cut_cutvideo``: what is kept of a video; ``duration`` is the text Pod stored."""

    start: time
    end: time
    duration: str


class Credits(Struct, frozen=True):
    """A video shown before or after another one; ``file`` is relative to MEDIA_ROOT, ``duration`` seconds."""

    slug: str
    file: str
    duration: int


class Dressing(Struct, frozen=True):
    """A row of ``dressing_dressing`` with what it points at.

    ``watermark`` is the image's file, relative to MEDIA_ROOT, or None without a watermark; ``opacity`` is a
    percentage.
    """

    title: str
    position: str | None
    opacity: int | None
    watermark: str | None = None
    opening: Credits | None = None
    ending: Credits | None = None


class Video(Struct, frozen=True):
    """The part of a row of ``video_video`` that dispatching needs.

    ``file`` is relative to MEDIA_ROOT and empty when Pod has none; ``titles`` holds the translated titles by
    the suffix of their column (``fr``, ``zh_hans``), ``title`` the column without a suffix; ``duration``
    is in seconds.
    """

    id: VideoId
    file: str
    slug: str
    title: str
    titles: Mapping[str, str] = field(default_factory=dict)
    main_lang: str = ""
    transcript: str = ""
    duration: int = 0

    def title_in(self, languages: Sequence[str]) -> str:
        """The title as Pod shows it; see ``shown_title``."""
        return shown_title(self.title, self.titles, languages)


class Recording(Struct, frozen=True):
    """The part of a row of ``recorder_recording`` that dispatching needs; ``source_file`` is absolute."""

    id: RecordingId
    source_file: str


class EncodingSource(Struct, frozen=True):
    """What an encoding needs; cuts and dressings stand newest first."""

    video: Video
    renditions: tuple[VideoRendition, ...] = ()
    cuts: tuple[Cut, ...] = ()
    dressings: tuple[Dressing, ...] = ()


class TranscriptionSource(Struct, frozen=True):
    """What a transcription needs.

    ``mp3`` is the file of the video's first audio/mp3 encoding, None when it has no such row;
    ``track_languages`` are the languages of its subtitles in the order of their ids.
    """

    video: Video
    mp3: str | None = None
    track_languages: tuple[str, ...] = ()

    @property
    def language(self) -> str:
        """The language of the subtitles to make."""
        return subtitles_language(self.video.transcript, self.track_languages[:1], self.video.main_lang)


class StudioSource(Struct, frozen=True):
    """What a studio task needs."""

    recording: Recording
    renditions: tuple[VideoRendition, ...] = ()


Source: TypeAlias = EncodingSource | TranscriptionSource | StudioSource
