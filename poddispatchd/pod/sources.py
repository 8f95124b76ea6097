"""What a task works on, as Pod's tables have it."""

import json
import posixpath
from collections.abc import Mapping, Sequence
from datetime import time
from functools import lru_cache
from pathlib import Path
from typing import Any, assert_never

import asyncpg

from poddispatchd.config.model import PodSettings
from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import Query, load_queries, render
from poddispatchd.domain import media
from poddispatchd.domain.payload import PayloadSettings
from poddispatchd.domain.source import (
    Credits,
    Cut,
    Dressing,
    EncodingSource,
    Recording,
    Source,
    StudioSource,
    TranscriptionSource,
    Video,
    VideoRendition,
)
from poddispatchd.domain.task import Task, TaskType, VideoId
from poddispatchd.errors import UnsubmittableError
from poddispatchd.pod.capabilities import Capabilities

_QUERIES = load_queries("poddispatchd.pod", "sources.sql")
_TITLE = "title_"


def payload_settings(pod: PodSettings) -> PayloadSettings:
    """The part of Pod's settings that shows in payloads."""
    return PayloadSettings(
        version=pod.version,
        media_root=str(pod.media_root),
        https=pod.https,
        title_site=pod.title_site,
        title_etb=pod.title_etb,
        media_url=pod.media_url,
        language=pod.language,
        languages=pod.languages,
        transcription_type=pod.transcription_type,
        transcription_normalize=pod.transcription_normalize,
    )


async def load_source(connection: Connection, capabilities: Capabilities, task: Task) -> Source:
    """What a task works on, with all that its payload takes from the database.

    Raises:
        UnsubmittableError: the task has no video or recording any more, or is of an unknown type.
    """
    [source] = await load_sources(connection, capabilities, [task])
    if isinstance(source, UnsubmittableError):
        raise source
    return source


async def load_sources(
    connection: Connection, capabilities: Capabilities, tasks: Sequence[Task]
) -> list[Source | UnsubmittableError]:
    """What some tasks work on, in one statement; for one that has no source any more, why it has none."""
    records = await connection.fetch(
        *_sources_query(capabilities.readable_titles, capabilities.watermark_table)(
            videos=[task.video_id if task.type is not TaskType.STUDIO else None for task in tasks],
            recordings=[task.recording_id if task.type is TaskType.STUDIO else None for task in tasks],
        )
    )
    return [_source_of(task, record) for task, record in zip(tasks, records, strict=True)]


@lru_cache(maxsize=8)
def _sources_query(titles: tuple[str, ...], watermark_table: str) -> Query:
    query = _QUERIES["sources"].fill(titles=titles_of(titles, "this_video"))
    return render(query, watermark_table=watermark_table)


def titles_of(columns: Sequence[str], video: str) -> str:
    """SQL for the translated titles of a video, as a document by their columns.

    Args:
        columns: ``Capabilities.readable_titles``.
        video: what the statement calls the table of videos.
    """
    pairs = ", ".join(f"'{column}', {video}.{column}" for column in columns)
    return f"jsonb_build_object({pairs})"


def titles_by_language(document: str | None) -> dict[str, str]:
    """What such a document holds, by language."""
    titles: dict[str, str] = json.loads(document or "{}")
    return {column.removeprefix(_TITLE): title for column, title in sorted(titles.items())}


def output_directory(media_root: Path, source: Source | UnsubmittableError) -> str:
    """Where the results of an encoding will be, absolute; nowhere for other tasks, or without a file."""
    if not isinstance(source, EncodingSource):
        return ""
    try:
        media.video_file(str(media_root), source.video)
    except UnsubmittableError:
        return ""
    return posixpath.join(media_root, media.output_directory(source.video.file, source.video.id))


def _source_of(task: Task, record: asyncpg.Record) -> Source | UnsubmittableError:
    if not task.is_submittable:
        return UnsubmittableError(f"Its type {task.type_name!r} is none that poddispatchd can submit.")
    renditions = tuple(VideoRendition(**rendition) for rendition in json.loads(record["renditions"]))
    if task.type is TaskType.STUDIO:
        if task.recording_id is None:
            return UnsubmittableError(f"Task {task.pk} has no recording: delete it in Pod's administration.")
        if record["source_file"] is None:
            return UnsubmittableError(f"Recording {task.recording_id} has been deleted.")
        return StudioSource(Recording(task.recording_id, record["source_file"]), renditions)
    if task.video_id is None:
        return UnsubmittableError(f"Task {task.pk} has no video: delete it in Pod's administration.")
    if record["slug"] is None:
        return UnsubmittableError(f"Video {task.video_id} has been deleted.")
    video = _video_of(task.video_id, record)
    match task.type:
        case TaskType.ENCODING:
            try:
                cuts = tuple(_cut_of(cut) for cut in json.loads(record["cuts"] or "[]"))
            except ValueError:
                # PostgreSQL has 24:00:00, which no clock shows; Pod's pages cannot write it.
                words = f"The cut of video {task.video_id} has no time of day: correct it in Pod."
                return UnsubmittableError(words)
            return EncodingSource(
                video=video,
                renditions=renditions,
                cuts=cuts,
                dressings=tuple(_dressing_of(found) for found in json.loads(record["dressings"] or "[]")),
            )
        case TaskType.TRANSCRIPTION:
            return TranscriptionSource(
                video=video, mp3=record["mp3"], track_languages=tuple(record["track_languages"])
            )
        case TaskType.OTHER:
            raise AssertionError("looked at above")
        case _:
            assert_never(task.type)


def _video_of(video: VideoId, record: asyncpg.Record) -> Video:
    return Video(
        id=video,
        file=record["file"] or "",
        slug=record["slug"],
        title=record["title"],
        titles=titles_by_language(record["titles"]),
        main_lang=record["main_lang"],
        transcript=record["transcript"],
        duration=record["duration"],
    )


def _cut_of(cut: Mapping[str, str]) -> Cut:
    return Cut(_time_of_day(cut["start"]), _time_of_day(cut["end"]), cut["duration"])


def _time_of_day(text: str) -> time:
    """What PostgreSQL's type of that name says; it knows 24:00:00, which newer Pythons read as midnight.

    Raises:
        ValueError: no clock shows it.
    """
    if text.startswith("24"):
        raise ValueError(f"{text} is no time of day")
    return time.fromisoformat(text)


def _dressing_of(found: Mapping[str, Any]) -> Dressing:
    return Dressing(
        title=found["title"],
        position=found["position"],
        opacity=found["opacity"],
        watermark=(found["watermark"] or "") if found["has_watermark"] else None,
        opening=_credits(found, "opening"),
        ending=_credits(found, "ending"),
    )


def _credits(found: Mapping[str, Any], place: str) -> Credits | None:
    if found[f"{place}_slug"] is None:
        return None
    return Credits(found[f"{place}_slug"], found[f"{place}_file"] or "", found[f"{place}_duration"])
