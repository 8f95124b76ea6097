"""Bringing the result of an encoding into Pod; that of a studio task holds one, too."""

from collections.abc import Mapping

from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.domain.encoding_plan import PodChoices
from poddispatchd.domain.media import output_directory
from poddispatchd.domain.thumbnails import ThumbnailChoice
from poddispatchd.pod.imports.common import (
    ImportedResult,
    Renditions,
    StagedResult,
    VideoFacts,
    lock_video,
    read_video,
)
from poddispatchd.pod.imports.encoding_files import Encoded, read_staged
from poddispatchd.pod.imports.encoding_rows import encoding_tables, write_encoding
from poddispatchd.pod.imports.stored import choose_stored_name, stored_files_directory


async def prepare_encoded(
    result: StagedResult,
    video: VideoFacts,
    renditions: Renditions,
    *,
    elsewhere: Mapping[str, str] | None = None,
    also_required: Mapping[str, str] | None = None,
) -> Encoded:
    """Check the encoding in a staged result and plan its import; nothing visible is touched.

    Args:
        result: what was downloaded.
        video: whose encoding it is; it need not exist yet.
        renditions: Pod's.
        elsewhere: files that do not go to the video's output directory, with their paths.
        also_required: further files that must be there, with their meaning in words.

    Raises:
        ResultIncompleteError: something is missing or cut short; every finding is told.
        ResultRefusedError: the result must not be imported; every finding is told.
    """
    settings, tree = result.settings, result.tree
    directory = output_directory(video.video, video.id)
    tree.path(directory)
    content, names = await tree.run(
        read_staged,
        result.directory,
        directory,
        PodChoices(
            renditions,
            settings.encoding_choices,
            ThumbnailChoice.by_version(settings.version),
        ),
        also_required=also_required or {},
        left_out=result.left_out,
    )
    thumbnail = None
    if content.thumbnail is not None:
        thumbnail = await choose_stored_name(
            result,
            table=result.capabilities.image_table,
            directory=stored_files_directory(result.capabilities, video),
            name=content.thumbnail,
            staged=result.directory / content.thumbnail,
        )
    return Encoded(result, content, names, directory, thumbnail, elsewhere or {})


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
            RaceLostError: the video was deleted or its file replaced since the plan was made.
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
        ResultIncompleteError: something is missing or cut short; every finding is told.
        ResultRefusedError: the result must not be imported; every finding is told.
    """
    result.capabilities.check_insert(*encoding_tables(result.capabilities))
    video, renditions = await read_video(result.database, result.task)
    return EncodingPlan(video, await prepare_encoded(result, video, renditions))
