"""Bringing the result of a studio task into Pod: exactly one new video, whatever crashes."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from poddispatchd.config.model import PodSettings
from poddispatchd.database import Connection, Database
from poddispatchd.domain.naming import ctime, studio_file_name, video_slug
from poddispatchd.domain.retention import date_of_deletion
from poddispatchd.domain.task import SiteId, Task, VideoId
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.imports.common import ImportOutcome, VideoFacts
from poddispatchd.pod.imports.encoding_files import EncodingFiles, read_staged
from poddispatchd.pod.imports.encoding_rows import (
    EncodingRows,
    encoding_tables,
    read_renditions,
    write_encoding,
)
from poddispatchd.pod.imports.stored import choose_stored_name, stored_files_directory
from poddispatchd.pod.imports.studio_rows import Recording, insert_video, read_recording, reserve_video_id
from poddispatchd.pod.media_tree import MediaTree

__all__ = ["BASE_FILE", "StudioPlan", "prepare", "reserve_video_id", "write_rows"]

BASE_FILE = "studio_base.mp4"
"""The file of the result that becomes the video's own file."""


@dataclass(frozen=True, slots=True)
class StudioPlan:
    """A checked studio result, ready to be put in place: files first, then rows."""

    capabilities: Capabilities
    recording: Recording
    video: VideoFacts
    values: Mapping[str, object]
    site: SiteId
    files: EncodingFiles
    rows: EncodingRows

    def apply_files(self) -> None:
        """Put every file into place (blocking); it can be redone after a crash.

        Raises:
            ResultError: a file cannot be put in place.
        """
        self.files.apply()


async def prepare(
    database: Database,
    settings: PodSettings,
    capabilities: Capabilities,
    task: Task,
    staging: Path,
    *,
    video_id: VideoId,
    created_at: datetime,
    now: datetime,
) -> StudioPlan:
    """Check a staged result of a studio task and plan its import; nothing visible is touched.

    Args:
        database: Pod's database.
        settings: how this Pod is set up.
        capabilities: what this Pod's database is like.
        task: the studio task.
        staging: where the result was downloaded to.
        video_id: what ``reserve_video_id`` gave to this task, the same at every attempt.
        created_at: the moment it was reserved, the same at every attempt: the file is named after it.
        now: the moment of the import, with a time zone.

    Raises:
        SchemaError: this Pod is newer than we know.
        ResultIncompleteError: something is missing or cut short; every finding is told.
        ResultRefusedError: the result must not be imported; every finding is told.
    """
    capabilities.check_insert("video_video", "video_video_sites", *encoding_tables(capabilities))
    recording = await read_recording(database, task)
    zone = ZoneInfo(settings.time_zone)
    video = _video(settings, recording, video_id, created_at.astimezone(zone))
    tree = MediaTree(settings.media_root)
    output_directory = tree.output_directory(video.video, video_id)
    await asyncio.to_thread(tree.path, output_directory)
    renditions = await read_renditions(database)
    staged = await asyncio.to_thread(
        read_staged,
        staging,
        output_directory,
        renditions,
        settings.encoding_choices,
        also_required={BASE_FILE: "the video made from the recording"},
    )
    thumbnail = None
    if staged.content.thumbnail is not None:
        thumbnail = await choose_stored_name(
            database,
            tree,
            task,
            table=capabilities.image_table,
            directory=await stored_files_directory(database, capabilities, video.owner_id, video.video),
            name=staged.content.thumbnail,
            staged=staging / staged.content.thumbnail,
        )
    ended_at = ctime(now, zone)
    files = EncodingFiles(
        tree=tree,
        staging=staging,
        output_directory=output_directory,
        staged=staged,
        thumbnail=thumbnail,
        ended_at=ended_at,
        mode=settings.file_permissions,
        elsewhere={BASE_FILE: video.video},
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
    return StudioPlan(
        capabilities=capabilities,
        recording=recording,
        video=video,
        values=_values(settings, capabilities, recording, video, created_at.astimezone(zone)),
        site=SiteId(settings.site_id),
        files=files,
        rows=rows,
    )


def _video(
    settings: PodSettings, recording: Recording, video_id: VideoId, created_at: datetime
) -> VideoFacts:
    return VideoFacts(
        id=video_id,
        video=f"{settings.videos_dir}/{recording.hashkey}/{studio_file_name(created_at)}",
        slug=video_slug(video_id, recording.title),
        owner_id=recording.owner_id,
        main_lang=str(recording.values["main_lang"]),
        transcript=str(recording.values["transcript"] or "") if settings.use_transcription else "",
        overview="",
    )


def _values(
    settings: PodSettings,
    capabilities: Capabilities,
    recording: Recording,
    video: VideoFacts,
    created_at: datetime,
) -> dict[str, object]:
    """Every column of the new row, as Pod's own code fills it; the title also in the site's language."""
    values: dict[str, object] = {
        **recording.values,
        "id": video.id,
        "video": video.video,
        "title": recording.title,
        "slug": video.slug,
        "description": "",
        "date_added": created_at.isoformat(),
        "date_evt": created_at.date().isoformat(),
        "transcript": video.transcript,
        "order": 1,
        "duration": 0,
        "overview": "",
        "encoding_in_progress": False,
        "is_video": True,
        "date_delete": date_of_deletion(
            created_at.date(),
            recording.affiliation,
            settings.accommodation_years,
            settings.default_year_date_delete,
        ).isoformat(),
        "owner_id": video.owner_id,
        "thumbnail_id": None,
    }
    language = settings.language.replace("-", "_")
    if language in capabilities.title_languages:
        values[f"title_{language}"] = recording.title
    return values


async def write_rows(connection: Connection, plan: StudioPlan) -> ImportOutcome:
    """Make the video with all its rows, inside the transaction in which the caller completes the task.

    Raises:
        RaceLostError: the video exists already.
    """
    warnings = await insert_video(
        connection, plan.capabilities, plan.recording, plan.video.id, plan.values, site=plan.site
    )
    said = (*plan.recording.warnings, *warnings, *plan.rows.content.warnings)
    rows = replace(plan.rows, content=replace(plan.rows.content, warnings=said))
    written = await write_encoding(connection, plan.capabilities, plan.video, rows)
    return ImportOutcome(
        video_id=plan.video.id,
        summary=f"Video {plan.video.id} was made from the recording; it has {rows.content.words}.",
        obsolete_files=written.obsolete_files,
        warnings=said,
        chained_transcription=written.chained_transcription,
    )
