"""Bringing the result of an encoding into Pod."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from poddispatchd.config.model import PodSettings
from poddispatchd.database import Connection, Database
from poddispatchd.domain.naming import ctime
from poddispatchd.domain.task import Task
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.imports.common import (
    ImportOutcome,
    VideoFacts,
    lock_video,
    read_video,
)
from poddispatchd.pod.imports.encoding_files import EncodingFiles, read_staged
from poddispatchd.pod.imports.encoding_rows import (
    EncodingRows,
    encoding_tables,
    read_renditions,
    write_encoding,
)
from poddispatchd.pod.imports.stored import choose_stored_name, stored_files_directory
from poddispatchd.pod.media_tree import MediaTree


@dataclass(frozen=True, slots=True)
class EncodingPlan:
    """A checked encoding, ready to be put in place: files first, then rows."""

    capabilities: Capabilities
    video: VideoFacts
    files: EncodingFiles
    rows: EncodingRows

    def apply_files(self) -> None:
        """Put every file into place (blocking); it can be redone after a crash.

        Raises:
            ResultError: a file cannot be put in place; nothing watchable was destroyed.
        """
        self.files.apply()


async def prepare(
    database: Database,
    settings: PodSettings,
    capabilities: Capabilities,
    task: Task,
    staging: Path,
    *,
    now: datetime,
) -> EncodingPlan:
    """Check a staged result of an encoding and plan its import; nothing visible is touched.

    Args:
        database: Pod's database.
        settings: how this Pod is set up.
        capabilities: what this Pod's database is like.
        task: the encoding task.
        staging: where the result was downloaded to.
        now: the moment of the import, with a time zone.

    Raises:
        SchemaError: this Pod is newer than we know.
        ResultIncompleteError: something is missing or cut short; every finding is told.
        ResultRefusedError: the result must not be imported; every finding is told.
    """
    capabilities.check_insert(*encoding_tables(capabilities))
    video = await read_video(database, task)
    tree = MediaTree(settings.media_root)
    output_directory = tree.output_directory(video.video, video.id)
    await asyncio.to_thread(tree.path, output_directory)
    renditions = await read_renditions(database)
    staged = await asyncio.to_thread(
        read_staged, staging, output_directory, renditions, settings.encoding_choices
    )
    thumbnail = None
    if staged.content.thumbnail is not None:
        directory = await stored_files_directory(database, capabilities, video.owner_id, video.video)
        thumbnail = await choose_stored_name(
            database,
            tree,
            task,
            table=capabilities.image_table,
            directory=directory,
            name=staged.content.thumbnail,
            staged=staging / staged.content.thumbnail,
        )
    ended_at = ctime(now, ZoneInfo(settings.time_zone))
    files = EncodingFiles(
        tree=tree,
        staging=staging,
        output_directory=output_directory,
        staged=staged,
        thumbnail=thumbnail,
        ended_at=ended_at,
        mode=settings.file_permissions,
        elsewhere={},
    )
    rows = EncodingRows(
        content=staged.content,
        output_directory=output_directory,
        log_directory=str(settings.media_root / output_directory),
        thumbnail=thumbnail,
        new_files=frozenset(files.targets().values()),
        ended_at=ended_at,
        use_transcription=settings.use_transcription,
        now=now,
    )
    return EncodingPlan(capabilities, video, files, rows)


async def write_rows(connection: Connection, plan: EncodingPlan) -> ImportOutcome:
    """Write the rows of an encoding, inside the transaction in which the caller completes the task.

    Raises:
        RaceLostError: the video was deleted or its file replaced since the plan was made.
    """
    video = await lock_video(connection, plan.video)
    written = await write_encoding(connection, plan.capabilities, video, plan.rows)
    content = plan.rows.content
    return ImportOutcome(
        video_id=video.id,
        summary=f"Video {video.id} has {content.words}.",
        obsolete_files=written.obsolete_files,
        warnings=content.warnings,
        chained_transcription=written.chained_transcription,
    )
