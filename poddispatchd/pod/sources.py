"""What a task works on: loaded from Pod's tables, and found on the disk."""

import json
from pathlib import Path
from typing import assert_never

import asyncpg

from poddispatchd.config.model import PodSettings
from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries, render
from poddispatchd.domain import media
from poddispatchd.domain.payload import PayloadSettings
from poddispatchd.domain.source import (
    Credits,
    Cut,
    Dressing,
    EncodingSource,
    Recording,
    Rendition,
    Source,
    StudioSource,
    TranscriptionSource,
    Video,
)
from poddispatchd.domain.task import RecordingId, Task, TaskType, VideoId
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
    match task.type:
        case TaskType.ENCODING:
            record = await _video(connection, capabilities, task)
            return EncodingSource(
                video=_video_of(record),
                renditions=await _renditions(connection),
                cuts=await _cuts(connection, record["id"]),
                dressings=await _dressings(connection, capabilities, record["id"]),
            )
        case TaskType.TRANSCRIPTION:
            record = await _video(connection, capabilities, task)
            return TranscriptionSource(
                video=_video_of(record),
                mp3=record["mp3"],
                track_languages=tuple(record["track_languages"]),
            )
        case TaskType.STUDIO:
            return StudioSource(await _recording(connection, task), await _renditions(connection))
        case TaskType.OTHER:
            raise UnsubmittableError(f"Its type {task.type_name!r} is none that poddispatchd can submit.")
        case _:
            assert_never(task.type)


def output_directory(media_root: Path, video: Video) -> Path:
    """The directory of a video's encodings: beside its file, named by its id.

    Raises:
        UnsubmittableError: the video has no file, or it is outside ``media_root``.
    """
    media.video_file(str(media_root), video)
    return media_root / media.output_directory(video)


async def _video(connection: Connection, capabilities: Capabilities, task: Task) -> asyncpg.Record:
    if task.video_id is None:
        raise UnsubmittableError(f"Task {task.pk} has no video: delete it in Pod's administration.")
    titles = [_TITLE + language for language in capabilities.title_languages]
    record = await connection.fetchrow(_QUERIES["video"], task.video_id, titles)
    if record is None:
        raise UnsubmittableError(f"Video {task.video_id} has been deleted.")
    return record


def _video_of(record: asyncpg.Record) -> Video:
    titles = json.loads(record["titles"] or "{}")
    return Video(
        id=VideoId(record["id"]),
        file=record["file"],
        slug=record["slug"],
        title=record["title"],
        titles={column.removeprefix(_TITLE): title for column, title in sorted(titles.items())},
        main_lang=record["main_lang"],
        transcript=record["transcript"],
        duration=record["duration"],
    )


async def _recording(connection: Connection, task: Task) -> Recording:
    if task.recording_id is None:
        raise UnsubmittableError(f"Task {task.pk} has no recording: delete it in Pod's administration.")
    record = await connection.fetchrow(_QUERIES["recording"], task.recording_id)
    if record is None:
        raise UnsubmittableError(f"Recording {task.recording_id} has been deleted.")
    return Recording(RecordingId(record["id"]), record["source_file"])


async def _renditions(connection: Connection) -> tuple[Rendition, ...]:
    return tuple(Rendition(**record) for record in await connection.fetch(_QUERIES["renditions"]))


async def _cuts(connection: Connection, video: int) -> tuple[Cut, ...]:
    return tuple(Cut(**record) for record in await connection.fetch(_QUERIES["cuts"], video))


async def _dressings(connection: Connection, capabilities: Capabilities, video: int) -> tuple[Dressing, ...]:
    query = render(_QUERIES["dressings"], watermark_table=capabilities.watermark_table)
    return tuple(
        Dressing(
            title=record["title"],
            position=record["position"],
            opacity=record["opacity"],
            watermark=(record["watermark"] or "") if record["has_watermark"] else None,
            opening=_credits(record, "opening"),
            ending=_credits(record, "ending"),
        )
        for record in await connection.fetch(query, video)
    )


def _credits(record: asyncpg.Record, place: str) -> Credits | None:
    if record[f"{place}_slug"] is None:
        return None
    return Credits(record[f"{place}_slug"], record[f"{place}_file"], record[f"{place}_duration"])
