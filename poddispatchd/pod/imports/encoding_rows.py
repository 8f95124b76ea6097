"""The rows of an encoding."""

import json
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.encoding_log import LogStyle, log_text
from poddispatchd.domain.encoding_plan import EncodingContent
from poddispatchd.domain.media import video_number
from poddispatchd.domain.task import TaskPk
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.imports.common import VideoFacts, with_common_parts
from poddispatchd.pod.imports.stored import storage_tables, store

_QUERIES = with_common_parts(load_queries("poddispatchd.pod", "imports_encoding.sql"))
_WRITE = _QUERIES["write"].fill(transcription=_QUERIES["no_transcription"])
_WRITE_AND_TRANSCRIBE = _QUERIES["write"].fill(transcription=_QUERIES["add_transcription"])

_NO_TRANSCRIPTION = ("", "0", "1")
"""Values of ``video.transcript`` that ask for none; 0 and 1 are what old Pods stored."""


def encoding_tables(capabilities: Capabilities) -> tuple[str, ...]:
    """Every table that the import of an encoding may insert into."""
    return (
        "video_encode_transcript_encodingvideo",
        "video_encode_transcript_encodingaudio",
        "video_encode_transcript_playlistvideo",
        "video_encode_transcript_encodinglog",
        "video_encode_transcript_encodingstep",
        "runner_manager_task",
        *storage_tables(capabilities, capabilities.image_table),
    )


class EncodingRows(Struct, frozen=True):
    """What to write for an encoding.

    Args:
        content: what the result brings.
        output_directory: where its files are, relative to MEDIA_ROOT.
        log_directory: the same as Pod writes it in logs: absolute.
        thumbnail: path of the stored thumbnail, None without one.
        new_files: paths of every file the result put in place.
        ended_at: the end, in the form of ``ctime``.
        log_style: how this Pod words its log.
        use_transcription: USE_TRANSCRIPTION.
        now: the moment of the import.
    """

    content: EncodingContent
    output_directory: str
    log_directory: str
    thumbnail: str | None
    new_files: frozenset[str]
    ended_at: str
    log_style: LogStyle
    use_transcription: bool
    now: datetime


class EncodingRowsOutcome(Struct, frozen=True):
    """What writing the rows left to do or to say."""

    obsolete_files: tuple[str, ...]
    chained_transcription: TaskPk | None


async def write_encoding(
    connection: Connection, capabilities: Capabilities, video: VideoFacts, rows: EncodingRows
) -> EncodingRowsOutcome:
    """Write the rows of an encoding, inside the caller's transaction and with the video locked."""
    stored = await store(
        connection, capabilities, video, table=capabilities.image_table, path=rows.thumbnail, now=rows.now
    )
    changes = media_row_changes(stored.media_rows, rows)
    content, replaced = rows.content, list(changes.replaced)
    overview = f"{rows.output_directory}/{content.overview}" if content.overview is not None else ""
    if video.overview:
        replaced += [video.overview, posixpath.splitext(video.overview)[0] + ".png"]
    log = log_text(
        stored.log,
        content,
        rows.log_directory,
        rows.ended_at,
        style=rows.log_style,
        thumbnail_id=stored.file_id,
    )
    transcribe = rows.use_transcription and content.has_audio and video.transcript not in _NO_TRANSCRIPTION
    step, step_words = (5, "transcripting audio") if transcribe else (0, "done")
    values: dict[str, object] = {
        "video": video.id,
        "log": log,
        "step": step,
        "step_words": step_words,
        "duration": content.duration,
        "is_video": content.is_video,
        "overview": overview,
        "in_progress": transcribe,
        "thumbnail": stored.file_id,
        "brought": json.dumps(changes.brought),
        "stale": json.dumps(changes.stale),
    }
    write = _WRITE
    if transcribe:
        write, values["transcription_added"] = _WRITE_AND_TRANSCRIBE, rows.now
    chained = await connection.fetchval(*write(**values))
    return EncodingRowsOutcome(
        obsolete_files=obsolete_files(replaced, rows.new_files, video),
        chained_transcription=None if chained is None else TaskPk(chained),
    )


def obsolete_files(replaced: Iterable[str], new_files: frozenset[str], video: VideoFacts) -> tuple[str, ...]:
    """The files of replaced rows that may be deleted: only those in a directory of this very video."""
    number = video_number(video.id)
    return tuple(
        sorted(
            path
            for path in set(replaced) - new_files - {video.video}
            if number in path.split("/")[:-1] and ".." not in path.split("/") and not path.startswith("/")
        )
    )


class MediaRowChanges(Struct, frozen=True):
    """What becomes of the rows of a video's encodings, as documents.

    Args:
        brought: rows that are made anew, with their id, and new ones, in order.
        stale: rows that the new result does not bring.
        replaced: the files that were named by rows that change or go.
    """

    brought: Sequence[Mapping[str, object]]
    stale: Sequence[Mapping[str, object]]
    replaced: Sequence[str]


def media_row_changes(there: Iterable[Mapping[str, Any]], rows: EncodingRows) -> MediaRowChanges:
    """Update the rows that are made anew, insert the new ones, delete the rest."""
    content = rows.content
    wanted = {
        (kind, *row.key): f"{rows.output_directory}/{row.filename}"
        for kind, group in (
            ("video", content.videos),
            ("audio", content.audios),
            ("playlist", content.playlists),
        )
        for row in group
    }
    brought: list[Mapping[str, object]] = []
    stale: list[Mapping[str, object]] = []
    replaced: list[str] = []
    for row in there:
        path = wanted.pop((row["kind"], row["name"], row["encoding_format"], row["rendition_id"]), None)
        if path is None:
            stale.append({"kind": row["kind"], "id": row["id"]})
        elif path != row["source_file"]:
            brought.append({"kind": row["kind"], "id": row["id"], "source_file": path})
        if path != row["source_file"]:
            replaced.append(row["source_file"])
    for (kind, name, encoding_format, rendition_id), path in wanted.items():
        brought.append(
            {
                "kind": kind,
                "name": name,
                "encoding_format": encoding_format,
                "source_file": path,
                "rendition_id": rendition_id,
            }
        )
    return MediaRowChanges(brought, stale, replaced)
