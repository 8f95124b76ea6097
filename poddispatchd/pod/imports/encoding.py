"""Bringing the result of an encoding into Pod."""

from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.imports.common import ImportedResult, StagedResult, VideoFacts, lock_video, read_video
from poddispatchd.pod.imports.encoded import Encoded, prepare_encoded
from poddispatchd.pod.imports.encoding_rows import encoding_tables, write_encoding


class EncodingPlan(Struct, frozen=True):
    """A checked encoding of a video."""

    capabilities: Capabilities
    video: VideoFacts
    encoded: Encoded

    @property
    def brought(self) -> frozenset[str]:
        """The files that it puts in place, relative to MEDIA_ROOT."""
        return self.encoded.files.brought

    @property
    def stored(self) -> tuple[str, ...]:
        """Those of them whose names were chosen because nothing was there."""
        thumbnail = self.encoded.files.thumbnail
        return () if thumbnail is None else (thumbnail,)

    def apply_files(self) -> None:
        """Put every file into place (blocking)."""
        self.encoded.files.apply()

    async def write_rows(self, connection: Connection) -> ImportedResult:
        """Write every row.

        Raises:
            RaceLostError: the video was deleted or its file replaced since the plan was made.
        """
        video = await lock_video(connection, self.video)
        written = await write_encoding(connection, self.capabilities, video, self.encoded.rows)
        content = self.encoded.rows.content
        return ImportedResult(
            video_id=video.id,
            summary=f"Video {video.id} has {content.words}.",
            obsolete_files=written.obsolete_files,
            warnings=content.warnings,
            alerts=content.alerts,
            chained_transcription=written.chained_transcription,
        )


async def prepare(result: StagedResult) -> EncodingPlan:
    """Check a staged result of an encoding and plan its import; nothing visible is touched.

    Raises:
        SchemaError: this Pod is newer than we know.
        ResultIncompleteError: something is missing or cut short; every finding is told.
        ResultRefusedError: the result must not be imported; every finding is told.
    """
    result.capabilities.check_insert(*encoding_tables(result.capabilities))
    video, renditions = await read_video(result.database, result.task)
    return EncodingPlan(result.capabilities, video, await prepare_encoded(result, video, renditions))
