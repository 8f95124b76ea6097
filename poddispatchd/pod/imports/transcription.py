"""Bringing the result of a transcription into Pod."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from poddispatchd.config.model import PodSettings
from poddispatchd.database import Connection, Database
from poddispatchd.domain.naming import ctime, subtitle_file_name
from poddispatchd.domain.subtitles import READING_WIDTH, STRICT_WIDTH, read_subtitles, reflow
from poddispatchd.domain.task import Task
from poddispatchd.errors import ResultIncompleteError
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.imports.common import (
    ImportOutcome,
    VideoFacts,
    lock_video,
    read_log,
    read_video,
    write_log,
    write_step,
)
from poddispatchd.pod.imports.stored import (
    choose_stored_name,
    insert_stored_file,
    keep_folder,
    storage_tables,
    stored_files_directory,
)
from poddispatchd.pod.media_tree import DERIVED, MediaTree, list_files
from poddispatchd.pod.placing import Move, move_into_place, write_staged
from poddispatchd.sql import load_queries

_QUERIES = load_queries("poddispatchd.pod", "imports_transcription.sql")

_WHISPER = "WHISPER"
"""The one transcription type whose captions are already cut for reading."""


@dataclass(frozen=True, slots=True)
class TranscriptionPlan:
    """Checked subtitles, ready to be put in place.

    Args:
        capabilities: what this Pod's database is like.
        video: whose subtitles they are.
        language: their language, of two letters.
        captions: how many there are.
        move: the file and where it is stored.
        stored: the same place, relative to MEDIA_ROOT.
        mode: FILE_UPLOAD_PERMISSIONS.
        ended_at: the end, in the form of ``ctime``.
        now: the moment of the import.
    """

    capabilities: Capabilities
    video: VideoFacts
    language: str
    captions: int
    move: Move
    stored: str
    mode: int | None
    ended_at: str
    now: datetime

    def apply_files(self) -> None:
        """Put the subtitles into place (blocking); it can be redone after a crash.

        The rest of the result stays behind: its ``info_video.json`` must not replace the encoding's.

        Raises:
            ResultError: the file cannot be put in place.
        """
        move_into_place([self.move], self.mode)


async def prepare(
    database: Database,
    settings: PodSettings,
    capabilities: Capabilities,
    task: Task,
    staging: Path,
    *,
    now: datetime,
) -> TranscriptionPlan:
    """Check a staged result of a transcription and plan its import; nothing visible is touched.

    Args:
        database: Pod's database.
        settings: how this Pod is set up.
        capabilities: what this Pod's database is like.
        task: the transcription task.
        staging: where the result was downloaded to.
        now: the moment of the import, with a time zone; redoing with the same one gives the same names.

    Raises:
        SchemaError: this Pod is newer than we know.
        ResultIncompleteError: there are no subtitles in the result.
        ResultRefusedError: they cannot be read or hold nothing.
    """
    capabilities.check_insert(
        "completion_track",
        "video_encode_transcript_encodinglog",
        "video_encode_transcript_encodingstep",
        *storage_tables(capabilities, capabilities.file_table),
    )
    video = await read_video(database, task)
    language = await _language(database, video)
    staged, captions = await asyncio.to_thread(_normalise, staging, settings)
    zone = ZoneInfo(settings.time_zone)
    tree = MediaTree(settings.media_root)
    stored = await choose_stored_name(
        database,
        tree,
        task,
        table=capabilities.file_table,
        directory=await stored_files_directory(database, capabilities, video.owner_id, video.video),
        name=subtitle_file_name(language, now.astimezone(zone)),
        staged=staged,
    )
    return TranscriptionPlan(
        capabilities=capabilities,
        video=video,
        language=language,
        captions=captions,
        move=Move(staged, tree.path(stored)),
        stored=stored,
        mode=settings.file_permissions,
        ended_at=ctime(now, zone),
        now=now,
    )


async def _language(database: Database, video: VideoFacts) -> str:
    if video.transcript:
        return video.transcript
    record = await database.fetchrow(_QUERIES["first_track_language"], video.id)
    return str(record["lang"]) if record is not None and record["lang"] else video.main_lang


def _normalise(staging: Path, settings: PodSettings) -> tuple[Path, int]:
    """Write the subtitles of the result as Pod stores them (blocking), beside the result.

    Returns:
        The file, and how many captions it has.
    """
    names = [name for name in list_files(staging) if name.lower().endswith(".vtt")]
    if not names:
        raise ResultIncompleteError("The result holds no subtitles (.vtt).")
    subtitles = read_subtitles(names[-1], (staging / names[-1]).read_bytes())
    if settings.transcription_type != _WHISPER:
        width = STRICT_WIDTH if settings.captions_strict_accessibility else READING_WIDTH
        subtitles = reflow(subtitles, width)
    staged = staging / DERIVED / "subtitles.vtt"
    write_staged(staged, str(subtitles).encode())
    return staged, len(subtitles.cues)


async def write_rows(connection: Connection, plan: TranscriptionPlan) -> ImportOutcome:
    """Write the rows of a transcription, inside the transaction in which the caller completes the task.

    Raises:
        RaceLostError: the video was deleted or its file replaced since the plan was made.
    """
    video = await lock_video(connection, plan.video)
    await keep_folder(connection, plan.capabilities, video)
    file_id = await insert_stored_file(
        connection,
        plan.capabilities,
        video,
        table=plan.capabilities.file_table,
        path=plan.stored,
        now=plan.now,
    )
    track = await connection.fetchval(_QUERIES["track_to_update"], video.id, plan.language)
    if track is None:
        await connection.execute(_QUERIES["insert_track"], plan.language, file_id, video.id)
    else:
        await connection.execute(_QUERIES["update_track"], track, file_id)
    await connection.execute(_QUERIES["finish_video"], video.id)
    await write_step(connection, video.id, 0, "done")
    existing = await read_log(connection, video.id)
    message = f"Subtitles in {plan.language!r} with {plan.captions} captions: {plan.stored}"
    parts = [*([existing] if existing else []), message, f"End : {plan.ended_at}"]
    await write_log(connection, video.id, "\n\n".join(parts))
    return ImportOutcome(
        video_id=video.id,
        summary=f"Video {video.id} has subtitles in {plan.language!r} with {plan.captions} captions.",
    )
