"""An encoding as part of a result: what the results of encodings and of studio tasks both hold."""

from collections.abc import Mapping

from msgspec import Struct

from poddispatchd.domain.encoding_log import LogStyle
from poddispatchd.domain.encoding_plan import PodChoices
from poddispatchd.domain.thumbnails import ThumbnailChoice
from poddispatchd.pod.imports.common import Renditions, StagedResult, VideoFacts
from poddispatchd.pod.imports.encoding_files import EncodingFiles, read_staged
from poddispatchd.pod.imports.encoding_rows import EncodingRows
from poddispatchd.pod.imports.stored import choose_stored_name, stored_files_directory


class Encoded(Struct, frozen=True):
    """A checked encoding: its files, with the place of each, and its rows."""

    files: EncodingFiles
    rows: EncodingRows


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
    output_directory = tree.output_directory(video.video, video.id)
    tree.path(output_directory)
    staged = await tree.run(
        read_staged,
        result.directory,
        output_directory,
        PodChoices(
            renditions,
            settings.encoding_choices,
            ThumbnailChoice.by_version(settings.version),
        ),
        also_required=also_required or {},
        left_out=result.left_out,
    )
    thumbnail = None
    if staged.content.thumbnail is not None:
        thumbnail = await choose_stored_name(
            result,
            table=result.capabilities.image_table,
            directory=stored_files_directory(result.capabilities, video),
            name=staged.content.thumbnail,
            staged=result.directory / staged.content.thumbnail,
        )
    files = EncodingFiles(
        tree=tree,
        staging=result.directory,
        output_directory=output_directory,
        staged=staged,
        thumbnail=thumbnail,
        ended_at=result.ended_at,
        mode=settings.file_permissions,
        elsewhere=elsewhere or {},
    )
    rows = EncodingRows(
        content=staged.content,
        output_directory=output_directory,
        log_directory=str(settings.media_root / output_directory),
        thumbnail=thumbnail,
        new_files=frozenset(files.targets().values()),
        ended_at=result.ended_at,
        log_style=LogStyle.by_version(settings.version),
        use_transcription=settings.use_transcription,
        now=result.now,
    )
    return Encoded(files, rows)
