"""The three kinds of import behind one face: where to stage, what to check, which rows to write."""

import asyncio
from pathlib import Path
from typing import assert_never

from poddispatchd.domain.task import Task, TaskType
from poddispatchd.errors import RaceLostError
from poddispatchd.journal import imports
from poddispatchd.journal.imports import ImportJob
from poddispatchd.parts import Parts
from poddispatchd.pod.imports import encoding, studio, transcription
from poddispatchd.pod.imports.common import ImportPlan, StagedResult, read_video
from poddispatchd.pod.media_tree import MediaTree


async def staging_directory(parts: Parts, task: Task) -> Path:
    """Where the result of a task is staged: on the file system of its target.

    Raises:
        ResultRefusedError: the task's video is gone.
    """
    tree = MediaTree(parts.settings.pod.media_root)
    if task.type is TaskType.STUDIO:
        return await asyncio.to_thread(tree.studio_staging_directory, task.pk)
    video = await read_video(parts.database, task)
    return await asyncio.to_thread(tree.staging_directory, video.video, video.id, task.pk)


async def prepare(parts: Parts, task: Task, job: ImportJob, staging: Path) -> ImportPlan:
    """Check a staged result and plan its import; nothing visible is touched.

    Raises:
        ResultIncompleteError: something is missing or cut short.
        ResultRefusedError: the result must not be imported.
        RaceLostError: the lease is lost.
    """
    result = StagedResult(
        parts.database, parts.settings.pod, parts.capabilities, task, staging, parts.clock.now()
    )
    match task.type:
        case TaskType.ENCODING:
            return await encoding.prepare(result)
        case TaskType.TRANSCRIPTION:
            return await transcription.prepare(result)
        case TaskType.STUDIO:
            async with parts.database.transaction() as connection:
                reserved = await studio.reserve_video_id(connection)
                video_id = await imports.reserve_video(connection, job, reserved)
            if video_id is None:
                raise RaceLostError("The lease of this import was lost.")
            return await studio.prepare(result, video_id=video_id, created_at=job.created_at)
        case _:
            assert_never(task.type)
