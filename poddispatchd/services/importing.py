"""The three kinds of import behind one face: where to stage, what to check, which rows to write."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from poddispatchd.database import Connection
from poddispatchd.domain.task import Task, TaskType
from poddispatchd.errors import RaceLostError
from poddispatchd.journal import imports
from poddispatchd.journal.imports import ImportJob
from poddispatchd.pod.imports import encoding, studio, transcription
from poddispatchd.pod.imports.common import ImportOutcome, read_video
from poddispatchd.pod.imports.encoding_files import EncodingFiles
from poddispatchd.pod.media_tree import MediaTree
from poddispatchd.services.parts import Parts


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked result. ``brought`` are the files it puts in place, relative to MEDIA_ROOT."""

    apply_files: Callable[[], None]
    write_rows: Callable[[Connection], Awaitable[ImportOutcome]]
    brought: Collection[str]


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


async def prepare(parts: Parts, task: Task, job: ImportJob, staging: Path) -> Prepared:
    """Check a staged result and plan its import; nothing visible is touched.

    Raises:
        ResultIncompleteError: something is missing or cut short.
        ResultRefusedError: the result must not be imported.
        RaceLostError: the lease is lost.
    """
    pod, now = parts.settings.pod, parts.clock.now()
    match task.type:
        case TaskType.ENCODING:
            plan = await encoding.prepare(parts.database, pod, parts.capabilities, task, staging, now=now)
            return Prepared(
                plan.apply_files,
                lambda connection: encoding.write_rows(connection, plan),
                _brought(plan.files),
            )
        case TaskType.TRANSCRIPTION:
            track = await transcription.prepare(
                parts.database, pod, parts.capabilities, task, staging, now=now
            )
            return Prepared(
                track.apply_files,
                lambda connection: transcription.write_rows(connection, track),
                (track.stored,),
            )
        case TaskType.STUDIO:
            async with parts.database.transaction() as connection:
                reserved = await studio.reserve_video_id(connection)
                video_id = await imports.reserve_video(connection, job, reserved)
            if video_id is None:
                raise RaceLostError("The lease of this import was lost.")
            recording = await studio.prepare(
                parts.database,
                pod,
                parts.capabilities,
                task,
                staging,
                video_id=video_id,
                created_at=job.created_at,
                now=now,
            )
            return Prepared(
                recording.apply_files,
                lambda connection: studio.write_rows(connection, recording),
                _brought(recording.files),
            )
        case _:
            assert_never(task.type)


def _brought(files: EncodingFiles) -> frozenset[str]:
    thumbnail = () if files.thumbnail is None else (files.thumbnail,)
    return frozenset((*files.targets().values(), *files.elsewhere.values(), *thumbnail))
