"""Bringing the result of a transcription into Pod."""

from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.manifest import left_out_words
from poddispatchd.domain.naming import subtitle_file_name
from poddispatchd.domain.source import subtitles_language
from poddispatchd.domain.subtitles import (
    LARGEST_CAPTIONS,
    READING_WIDTH,
    STRICT_WIDTH,
    Subtitles,
    read_subtitles,
    reflow,
)
from poddispatchd.errors import ResultIncompleteError, ResultRefusedError
from poddispatchd.pod.imports.facts import VideoFacts, lock_video, read_video, with_common_parts
from poddispatchd.pod.imports.plan import ImportedResult, StagedResult
from poddispatchd.pod.imports.stored import (
    choose_stored_name,
    storage_tables,
    store,
    stored_files_directory,
)
from poddispatchd.pod.media.files import DERIVED, list_files, read_text
from poddispatchd.pod.media.placing import Move, move_into_place, write_staged
from poddispatchd.pod.media.tree import MediaPath
from poddispatchd.pod.progress import DONE_STEP, DONE_WORDS

_QUERIES = with_common_parts(load_queries("poddispatchd.pod", "imports_transcription.sql"))

_WHISPER = "WHISPER"
"""The one transcription type whose captions are already cut for reading; Pod's own default."""


class TranscriptionPlan(Struct, frozen=True):
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
            RaceLostError: the video was deleted or its file moved since the plan was made.
            SourceReplacedError: its file was replaced since then.
        """
        capabilities = self.result.capabilities
        video = await lock_video(connection, self.video)
        stored = await store(
            connection,
            capabilities,
            video,
            table=capabilities.file_table,
            path=self.path,
            now=self.result.now,
        )
        head = [stored.log] if stored.log else []
        message = f"Subtitles in {self.language!r} with {self.captions} captions: {self.path}"
        log = "\n\n".join([*head, *self.warnings, message, f"End : {self.result.ended_at}"])
        await connection.execute(
            *_QUERIES["write"](
                video=video.id,
                log=log,
                step=DONE_STEP,
                step_words=DONE_WORDS,
                file=stored.file_id,
                language=self.language,
            )
        )
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
        SourceReplacedError: it was made of a file that the video has no more.
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
    video, _ = await read_video(result)
    # The one that was asked for: what the video says may be another one by now.
    language = result.language or subtitles_language(
        video.transcript, (video.first_track_language,), video.main_lang
    )
    staged, subtitles = await result.tree.run(_normalise, result)
    stored = await choose_stored_name(
        result,
        table=capabilities.file_table,
        directory=stored_files_directory(result, video),
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
    subtitles = read_subtitles(names[-1], read_text(staging / names[-1], most=LARGEST_CAPTIONS))
    if settings.transcription_type not in (None, _WHISPER):
        width = STRICT_WIDTH if settings.captions_strict_accessibility else READING_WIDTH
        subtitles = reflow(subtitles, width)
    staged = staging / DERIVED / "subtitles.vtt"
    write_staged(staged, str(subtitles).encode())
    return staged, subtitles
