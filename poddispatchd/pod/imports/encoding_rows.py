"""The rows of an encoding."""

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from poddispatchd.database.pool import Connection, Database
from poddispatchd.database.queries import load_numbered, render_numbered
from poddispatchd.domain.encoding_log import LogStyle, log_text
from poddispatchd.domain.encoding_plan import EncodingContent, MediaRow, Rendition
from poddispatchd.domain.naming import video_number
from poddispatchd.domain.task import TaskPk
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.imports.common import VideoFacts, read_log, write_log, write_step
from poddispatchd.pod.imports.stored import insert_stored_file, keep_folder, storage_tables

_QUERIES = load_numbered("poddispatchd.pod", "imports_encoding.sql")

_TABLES: Mapping[str, str] = {
    "video": "video_encode_transcript_encodingvideo",
    "audio": "video_encode_transcript_encodingaudio",
    "playlist": "video_encode_transcript_playlistvideo",
}

_NO_TRANSCRIPTION = ("", "0", "1")
"""Values of ``video.transcript`` that ask for none; 0 and 1 are what old Pods stored."""


def encoding_tables(capabilities: Capabilities) -> tuple[str, ...]:
    """Every table that the import of an encoding may insert into."""
    return (
        *_TABLES.values(),
        "video_encode_transcript_encodinglog",
        "video_encode_transcript_encodingstep",
        "runner_manager_task",
        *storage_tables(capabilities, capabilities.image_table),
    )


async def read_renditions(database: Database) -> dict[str, Rendition]:
    """Pod's renditions by resolution."""
    records = await database.fetch(_QUERIES["renditions"])
    return {
        record["resolution"]: Rendition(record["id"], record["resolution"], record["video_bitrate"])
        for record in records
    }


@dataclass(frozen=True, slots=True)
class EncodingRows:
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


@dataclass(frozen=True, slots=True)
class EncodingRowsOutcome:
    """What writing the rows left to do or to say."""

    obsolete_files: tuple[str, ...]
    chained_transcription: TaskPk | None


async def write_encoding(
    connection: Connection, capabilities: Capabilities, video: VideoFacts, rows: EncodingRows
) -> EncodingRowsOutcome:
    """Write the rows of an encoding, inside the caller's transaction and with the video locked."""
    replaced = await _sync_media_rows(connection, video, rows)
    content = rows.content
    overview = f"{rows.output_directory}/{content.overview}" if content.overview is not None else ""
    if video.overview:
        replaced += [video.overview, posixpath.splitext(video.overview)[0] + ".png"]
    thumbnail_id = None
    await keep_folder(connection, capabilities, video)
    if rows.thumbnail is not None:
        thumbnail_id = await insert_stored_file(
            connection, capabilities, video, table=capabilities.image_table, path=rows.thumbnail, now=rows.now
        )
    transcribe = rows.use_transcription and content.has_audio and video.transcript not in _NO_TRANSCRIPTION
    await connection.execute(
        _QUERIES["update_video"],
        video.id,
        content.duration,
        content.is_video,
        overview,
        transcribe,
        thumbnail_id,
    )
    log = log_text(
        await read_log(connection, video.id),
        content,
        rows.log_directory,
        rows.ended_at,
        style=rows.log_style,
        thumbnail_id=thumbnail_id,
    )
    await write_log(connection, video.id, log)
    chained = None
    if transcribe:
        chained = await connection.fetchval(_QUERIES["insert_transcription_task"], video.id, rows.now)
        await write_step(connection, video.id, 5, "transcripting audio")
    else:
        await write_step(connection, video.id, 0, "done")
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


async def _sync_media_rows(connection: Connection, video: VideoFacts, rows: EncodingRows) -> list[str]:
    """Update the rows that are made anew, insert the new ones, delete the rest.

    Returns:
        The files that were named by rows that changed or went.
    """
    wanted = {
        kind: {row.key: row for row in group}
        for kind, group in (
            ("video", rows.content.videos),
            ("audio", rows.content.audios),
            ("playlist", rows.content.playlists),
        )
    }
    stale: dict[str, list[int]] = {kind: [] for kind in _TABLES}
    replaced: list[str] = []
    for record in await connection.fetch(_QUERIES["media_rows"], video.id):
        kind = record["kind"]
        row = wanted[kind].pop((record["name"], record["encoding_format"], record["rendition_id"]), None)
        path = None if row is None else f"{rows.output_directory}/{row.filename}"
        if path is None:
            stale[kind].append(record["id"])
        elif path != record["source_file"]:
            query = render_numbered(_QUERIES["update_media_row"], table=_TABLES[kind])
            await connection.execute(query, record["id"], path)
        if path != record["source_file"]:
            replaced.append(record["source_file"])
    for kind, table in _TABLES.items():
        if stale[kind]:
            await connection.execute(render_numbered(_QUERIES["delete_media_rows"], table=table), stale[kind])
        for row in wanted[kind].values():
            await _insert(connection, table, video, row, f"{rows.output_directory}/{row.filename}")
    return replaced


async def _insert(connection: Connection, table: str, video: VideoFacts, row: MediaRow, path: str) -> None:
    if row.rendition_id is not None:
        await connection.execute(
            _QUERIES["insert_encodingvideo"], video.id, row.name, row.encoding_format, path, row.rendition_id
        )
    else:
        query = render_numbered(_QUERIES["insert_media_row"], table=table)
        await connection.execute(query, video.id, row.name, row.encoding_format, path)
