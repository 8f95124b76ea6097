"""The result of an encoding in Pod: its plan and its rows; that of a studio task holds one, too."""

import json
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.encoding_log import log_text
from poddispatchd.domain.encoding_plan import EncodingContent
from poddispatchd.domain.media import video_number
from poddispatchd.domain.source import NO_TRANSCRIPTION
from poddispatchd.domain.task import TaskPk
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.imports.encoding_files import Encoded, prepare_encoded
from poddispatchd.pod.imports.facts import VideoFacts, lock_video, read_video, with_common_parts
from poddispatchd.pod.imports.plan import ImportedResult, StagedResult
from poddispatchd.pod.imports.stored import storage_tables, store
from poddispatchd.pod.progress import DONE_STEP, DONE_WORDS

_QUERIES = with_common_parts(load_queries("poddispatchd.pod", "imports_encoding.sql"))
_WRITE = _QUERIES["write"].fill(transcription=_QUERIES["no_transcription"])
_WRITE_AND_TRANSCRIBE = _QUERIES["write"].fill(transcription=_QUERIES["add_transcription"])


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


class EncodingPlan(Struct, frozen=True):
    """A checked encoding of a video."""

    video: VideoFacts
    encoded: Encoded

    @property
    def result(self) -> StagedResult:
        """What it came in."""
        return self.encoded.result

    @property
    def brought(self) -> frozenset[str]:
        """The files that it puts in place, relative to MEDIA_ROOT."""
        return self.encoded.brought

    @property
    def stored(self) -> tuple[str, ...]:
        """Those of them whose names were chosen because nothing was there."""
        return self.encoded.stored

    def apply_files(self) -> None:
        """Put every file into place (blocking)."""
        self.encoded.apply()

    async def write_rows(self, connection: Connection) -> ImportedResult:
        """Write every row.

        Raises:
            RaceLostError: the video was deleted or its file moved since the plan was made.
            SourceReplacedError: its file was replaced since then.
        """
        video = await lock_video(connection, self.video)
        obsolete, chained = await write_encoding(connection, video, self.encoded)
        content = self.encoded.content
        return ImportedResult(
            video_id=video.id,
            summary=f"Video {video.id} has {content.words}.",
            obsolete_files=obsolete,
            warnings=content.warnings,
            alerts=content.alerts,
            chained_transcription=chained,
        )


async def prepare(result: StagedResult) -> EncodingPlan:
    """Check a staged result of an encoding and plan its import; nothing visible is touched.

    Raises:
        SchemaError: this Pod is newer than we know.
        SourceReplacedError: it was made of a file that the video has no more.
        ResultIncompleteError: something is missing or cut short; every finding is told.
        ResultRefusedError: the result must not be imported; every finding is told.
    """
    result.capabilities.check_insert(*encoding_tables(result.capabilities))
    video, renditions = await read_video(result)
    return EncodingPlan(video, await prepare_encoded(result, video, renditions))


async def write_encoding(
    connection: Connection, video: VideoFacts, encoded: Encoded
) -> tuple[tuple[str, ...], TaskPk | None]:
    """Write the rows of an encoding, inside the caller's transaction and with the video locked.

    Returns:
        The files of replaced rows, to be deleted after the commit, and the transcription task created here.
    """
    result, content, directory = encoded.result, encoded.content, encoded.output_directory
    stored = await store(
        connection,
        result.capabilities,
        video,
        table=result.capabilities.image_table,
        path=encoded.thumbnail,
        now=result.now,
    )
    changes = media_row_changes(stored.media_rows, content, directory)
    replaced = list(changes.replaced)
    overview = f"{directory}/{content.overview}" if content.overview is not None else ""
    if video.overview:
        # The pictures of an overview lie in one file beside it, under its name.
        replaced += [video.overview, posixpath.splitext(video.overview)[0] + ".png"]
    log = log_text(
        stored.log,
        content,
        str(result.settings.media_root / directory),
        result.ended_at,
        pod_version=result.settings.version,
        thumbnail_id=stored.file_id,
    )
    use_transcription = result.settings.use_transcription
    transcribe = use_transcription and content.has_audio and video.transcript not in NO_TRANSCRIPTION
    step, step_words = (5, "transcripting audio") if transcribe else (DONE_STEP, DONE_WORDS)
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
        write, values["transcription_added"] = _WRITE_AND_TRANSCRIBE, result.now
    chained = await connection.fetchval(*write(**values))
    new_files = frozenset(encoded.targets().values())
    return obsolete_files(replaced, new_files, video), None if chained is None else TaskPk(chained)


def obsolete_files(replaced: Iterable[str], new_files: frozenset[str], video: VideoFacts) -> tuple[str, ...]:
    """The files of replaced rows that may be deleted: only those in a directory of this very video."""
    number = video_number(video.id)
    return tuple(
        sorted(
            path
            # Rows are written by others, too: only what lies in the directory of this video is ours to
            # delete.
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


def media_row_changes(
    there: Iterable[Mapping[str, Any]], content: EncodingContent, output_directory: str
) -> MediaRowChanges:
    """Update the rows that are made anew, insert the new ones, delete the rest."""
    wanted = {
        (kind, *row.key): f"{output_directory}/{row.filename}"
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
