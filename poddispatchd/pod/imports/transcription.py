"""Bringing the result of a transcription into Pod."""

from dataclasses import dataclass

from poddispatchd.database.pool import Connection, Database
from poddispatchd.database.queries import load_numbered
from poddispatchd.domain.manifest import left_out_words
from poddispatchd.domain.naming import subtitle_file_name
from poddispatchd.domain.subtitles import READING_WIDTH, STRICT_WIDTH, Subtitles, read_subtitles, reflow
from poddispatchd.errors import ResultIncompleteError, ResultRefusedError
from poddispatchd.pod.imports.common import (
    ImportedResult,
    StagedResult,
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
from poddispatchd.pod.media.files import DERIVED, list_files, read_text
from poddispatchd.pod.media.placing import Move, move_into_place, write_staged
from poddispatchd.pod.media.tree import MediaPath

_QUERIES = load_numbered("poddispatchd.pod", "imports_transcription.sql")

_WHISPER = "WHISPER"
"""The one transcription type whose captions are already cut for reading; Pod's own default."""


@dataclass(frozen=True, slots=True)
class TranscriptionPlan:
    """Checked subtitles, ready to be put in place.

    Args:
        result: what they came in.
        video: whose subtitles they are.
        language: their language, of two letters.
        captions: how many there are.
        warnings: what of the result is not among them, each a sentence.
        alerts: those of them that ADMINS must know.
        staged: the file as Pod stores it.
        path: where it is stored, relative to MEDIA_ROOT.
    """

    result: StagedResult
    video: VideoFacts
    language: str
    captions: int
    warnings: tuple[str, ...]
    alerts: tuple[str, ...]
    staged: MediaPath
    path: str

    @property
    def brought(self) -> tuple[str]:
        """The one file that it puts in place, relative to MEDIA_ROOT."""
        return (self.path,)

    @property
    def stored(self) -> tuple[str]:
        """Its name was chosen because nothing was there."""
        return (self.path,)

    def apply_files(self) -> None:
        """Put the subtitles into place (blocking).

        The rest of the result stays behind: its ``info_video.json`` must not replace the encoding's.
        """
        target = self.result.tree.path(self.path)
        move_into_place([Move(self.staged, target, is_new=True)], self.result.settings.file_permissions)

    async def write_rows(self, connection: Connection) -> ImportedResult:
        """Write every row.

        Raises:
            RaceLostError: the video was deleted or its file replaced since the plan was made.
        """
        capabilities = self.result.capabilities
        video = await lock_video(connection, self.video)
        await keep_folder(connection, capabilities, video)
        file_id = await insert_stored_file(
            connection,
            capabilities,
            video,
            table=capabilities.file_table,
            path=self.path,
            now=self.result.now,
        )
        track = await connection.fetchval(_QUERIES["track_to_update"], video.id, self.language)
        if track is None:
            await connection.execute(_QUERIES["insert_track"], self.language, file_id, video.id)
        else:
            await connection.execute(_QUERIES["update_track"], track, file_id)
        await connection.execute(_QUERIES["finish_video"], video.id)
        await write_step(connection, video.id, 0, "done")
        existing = await read_log(connection, video.id)
        message = f"Subtitles in {self.language!r} with {self.captions} captions: {self.path}"
        head = [existing] if existing else []
        parts = [*head, *self.warnings, message, f"End : {self.result.ended_at}"]
        await write_log(connection, video.id, "\n\n".join(parts))
        return ImportedResult(
            video_id=video.id,
            summary=f"Video {video.id} has subtitles in {self.language!r} with {self.captions} captions.",
            warnings=self.warnings,
            alerts=self.alerts,
        )


async def prepare(result: StagedResult) -> TranscriptionPlan:
    """Check a staged result of a transcription and plan its import; nothing visible is touched.

    Raises:
        SchemaError: this Pod is newer than we know.
        ResultIncompleteError: there are no subtitles in the result.
        ResultRefusedError: they cannot be read or hold nothing.
    """
    capabilities = result.capabilities
    capabilities.check_insert(
        "completion_track",
        "video_encode_transcript_encodinglog",
        "video_encode_transcript_encodingstep",
        *storage_tables(capabilities, capabilities.file_table),
    )
    video = await read_video(result.database, result.task)
    language = await _language(result.database, video)
    staged, subtitles = await result.tree.run(_normalise, result)
    stored = await choose_stored_name(
        result,
        table=capabilities.file_table,
        directory=await stored_files_directory(result, video),
        name=subtitle_file_name(language, result.now.astimezone(result.zone)),
        staged=staged,
    )
    return TranscriptionPlan(
        result=result,
        video=video,
        language=language,
        captions=len(subtitles.cues),
        warnings=(*left_out_words(result.left_out), *subtitles.warnings),
        alerts=subtitles.warnings,
        staged=staged,
        path=stored,
    )


async def _language(database: Database, video: VideoFacts) -> str:
    if video.transcript:
        return video.transcript
    record = await database.fetchrow(_QUERIES["first_track_language"], video.id)
    return str(record["lang"]) if record is not None and record["lang"] else video.main_lang


def _normalise(result: StagedResult) -> tuple[MediaPath, Subtitles]:
    """Write the subtitles of the result as Pod stores them (blocking), beside the result.

    Returns:
        The file, and what is in it.
    """
    staging, settings = result.directory, result.settings
    names = [name for name in list_files(staging) if name.lower().endswith(".vtt")]
    if not names:
        words = "The result holds no subtitles (.vtt)."
        if result.left_out:
            raise ResultRefusedError(words, *left_out_words(result.left_out))
        raise ResultIncompleteError(words)
    subtitles = read_subtitles(names[-1], read_text(staging / names[-1]))
    if settings.transcription_type not in (None, _WHISPER):
        width = STRICT_WIDTH if settings.captions_strict_accessibility else READING_WIDTH
        subtitles = reflow(subtitles, width)
    staged = staging / DERIVED / "subtitles.vtt"
    write_staged(staged, str(subtitles).encode())
    return staged, subtitles
