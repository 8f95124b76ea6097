"""The three kinds of import behind one face: where to stage, what to check, which rows to write."""

import posixpath
from collections.abc import Mapping
from typing import assert_never

from poddispatchd.domain import media
from poddispatchd.domain.task import Task, TaskType, no_import_words
from poddispatchd.errors import MediaNotWritableError, RaceLostError, ResultRefusedError, UnsubmittableError
from poddispatchd.imports import files, queue
from poddispatchd.imports.queue import ImportJob
from poddispatchd.parts import Parts
from poddispatchd.pod import sources
from poddispatchd.pod.imports import encoding, studio, transcription
from poddispatchd.pod.imports.common import ImportPlan, StagedResult, read_video
from poddispatchd.pod.media.tree import MediaPath, MediaTree


async def staging_directory(parts: Parts, tree: MediaTree, task: Task) -> MediaPath:
    """A new place for the result of a task: on the file system of its target.

    Raises:
        ResultRefusedError: the task's video is gone.
    """
    if task.type is TaskType.STUDIO:
        return tree.studio_staging_directory(task.pk)
    video = await read_video(parts.database, task)
    return tree.staging_directory(video.video, video.id, task.pk)


async def check_tree(parts: Parts, tree: MediaTree, task: Task) -> None:
    """Make sure that a result is brought into the right media tree: the task's source is there, or others.

    The source of a recording lies elsewhere than the video that is made of it, and proves nothing.

    Raises:
        MediaNotWritableError: it is not the right one.
    """
    media_root = parts.settings.pod.media_root
    missing: str | None = None
    try:
        async with parts.database.connection() as connection:
            source = await sources.load_source(connection, parts.capabilities, task)
        path = tree.path(posixpath.normpath(media.source_file(str(media_root), source)))
    except (UnsubmittableError, ResultRefusedError):
        pass  # gone: what that means is found out where the result is checked
    else:
        if task.type is not TaskType.STUDIO:
            if await tree.run(path.is_file):
                return
            missing = path.relative
    words = await parts.evidence.check(source=missing, within=0)
    if words is not None:
        raise MediaNotWritableError(words)


async def prepare(
    parts: Parts, task: Task, job: ImportJob, staging: MediaPath, left_out: Mapping[str, str]
) -> ImportPlan:
    """Check a staged result and plan its import; nothing visible is touched.

    Args:
        parts: what the daemon is made of.
        task: whose result it is.
        job: the import.
        staging: where the result was downloaded to.
        left_out: its files that were not downloaded, with the reason.

    Raises:
        ResultIncompleteError: something is missing or cut short.
        ResultRefusedError: the result must not be imported.
        RaceLostError: the lease is lost.
    """
    async with parts.database.connection() as connection:
        ours = await files.recorded_files(connection, job)
        taken = await files.chosen_names(connection, job)
    result = StagedResult(
        parts.database,
        parts.settings.pod,
        parts.capabilities,
        task,
        staging,
        parts.clock.now(),
        left_out,
        ours=frozenset(ours),
        taken=taken,
    )
    match task.result_type:
        case TaskType.ENCODING:
            return await encoding.prepare(result)
        case TaskType.TRANSCRIPTION:
            return await transcription.prepare(result)
        case TaskType.STUDIO:
            async with parts.database.transaction() as connection:
                reserved = await studio.reserve_video_id(connection)
                video_id = await queue.reserve_video(connection, job, reserved)
            if video_id is None:
                raise RaceLostError("The lease of this import was lost.")
            return await studio.prepare(result, video_id=video_id, created_at=job.created_at)
        case TaskType.OTHER | None:
            raise ResultRefusedError(no_import_words(task))
        case _:
            assert_never(task.result_type)
