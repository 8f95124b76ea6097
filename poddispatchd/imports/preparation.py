"""The three kinds of import behind one face: where to stage, what to check, which rows to write."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import assert_never

from poddispatchd.domain.task import Task, TaskType, VideoId, no_import_words
from poddispatchd.errors import MediaNotWritableError, ResultRefusedError
from poddispatchd.imports import queue
from poddispatchd.imports.files import KnownNames
from poddispatchd.imports.queue import ImportJob
from poddispatchd.parts import Parts
from poddispatchd.pod.imports import encoding, studio, transcription
from poddispatchd.pod.imports.common import ImportPlan, StagedResult, WantedTask, checked_video_file
from poddispatchd.pod.media.files import existing_files
from poddispatchd.pod.media.tree import MediaPath, MediaTree


def staging_directory(tree: MediaTree, wanted: WantedTask) -> MediaPath:
    """A new place for the result of a task: on the file system of its target.

    Raises:
        ResultRefusedError: the task's video is gone.
    """
    task = wanted.task
    if task.type is TaskType.STUDIO:
        return tree.studio_staging_directory(task.pk)
    file = checked_video_file(task, wanted.video_file)
    return tree.staging_directory(file, VideoId(task.video_id or 0), task.pk)


async def check_tree(parts: Parts, tree: MediaTree, wanted: WantedTask) -> None:
    """Make sure that a result is brought into the right media tree: the task's source is there, or others.

    The source of a recording lies elsewhere than the video that is made of it, and proves nothing.

    Raises:
        MediaNotWritableError: it is not the right one.
    """
    missing = None
    if wanted.task.type is not TaskType.STUDIO:
        missing = wanted.source_below(str(parts.settings.pod.media_root))
        if missing is not None and await tree.run(tree.path(missing).is_file):
            return
    words = await parts.evidence.check(source=missing, within=0)
    if words is not None:
        raise MediaNotWritableError(words)


async def prove_placed(parts: Parts, tree: MediaTree, wanted: WantedTask, brought: Collection[str]) -> None:
    """Look at the files where the rows will name them, before the commit.

    The media tree may have been mounted, or have gone, since the result was checked: the files would be
    in a directory that nobody sees afterwards.

    Raises:
        MediaNotWritableError: the tree is not the right one, or not the one they were put into.
    """
    await check_tree(parts, tree, wanted)
    hidden = {*brought} - await tree.run(existing_files, tree, sorted(brought))
    if hidden:
        raise MediaNotWritableError(
            f"{len(hidden)} of the files that were put in place are not there any more: another file "
            "system was mounted on MEDIA_ROOT, or on a directory in it, meanwhile."
        )


@dataclass(frozen=True, slots=True)
class Staged:
    """A result as it was downloaded.

    Args:
        directory: where.
        left_out: its files that were not downloaded, with the reason.
        names: what this import and others have recorded.
    """

    directory: MediaPath
    left_out: Mapping[str, str]
    names: KnownNames


async def prepare(parts: Parts, task: Task, job: ImportJob, staged: Staged) -> ImportPlan:
    """Check a staged result and plan its import; nothing visible is touched.

    Args:
        parts: what the daemon is made of.
        task: whose result it is.
        job: the import.
        staged: the result.

    Raises:
        ResultIncompleteError: something is missing or cut short.
        ResultRefusedError: the result must not be imported.
        RaceLostError: the lease is lost.
    """
    result = StagedResult(
        parts.database,
        parts.settings.pod,
        parts.catalogue.capabilities,
        task,
        staged.directory,
        parts.clock.now(),
        staged.left_out,
        ours=staged.names.ours,
        taken=staged.names.taken,
    )
    match task.result_type:
        case TaskType.ENCODING:
            return await encoding.prepare(result)
        case TaskType.TRANSCRIPTION:
            return await transcription.prepare(result)
        case TaskType.STUDIO:
            async with parts.database.connection() as connection:
                video_id = await queue.reserve_video(connection, job)
            return await studio.prepare(result, video_id=video_id, created_at=job.created_at)
        case TaskType.OTHER | None:
            raise ResultRefusedError(no_import_words(task))
        case _:
            assert_never(task.result_type)
