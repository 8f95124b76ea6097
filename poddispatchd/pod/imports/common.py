"""What the imports of all three task types share: a staged result, its plan, facts of a video, log, step."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

import asyncpg

from poddispatchd.config.model import PodSettings
from poddispatchd.database.pool import Connection, Database
from poddispatchd.database.queries import load_numbered
from poddispatchd.domain.naming import ctime
from poddispatchd.domain.task import Task, TaskPk, VideoId
from poddispatchd.errors import RaceLostError, ResultRefusedError
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.media.tree import MediaPath, MediaTree

QUERIES = load_numbered("poddispatchd.pod", "imports_common.sql")

_DESCRIPTION_LENGTH = 255


@dataclass(frozen=True, slots=True)
class StagedResult:
    """A result that has been downloaded, and the Pod that it is for.

    Args:
        database: Pod's database.
        settings: how this Pod is set up.
        capabilities: what this Pod's database is like.
        task: whose result it is.
        directory: where it was downloaded to.
        now: the moment of the import, with a time zone; redoing with the same one gives the same names.
        left_out: files of the result that were not downloaded, since Pod must not serve them: the reasons.
        ours: what earlier attempts at this import may have put in place; None when nobody knows.
        taken: paths that are not free though nothing need be there: other imports are putting files there.
    """

    database: Database
    settings: PodSettings
    capabilities: Capabilities
    task: Task
    directory: MediaPath
    now: datetime
    left_out: Mapping[str, str] = field(default_factory=dict)
    ours: frozenset[str] | None = None
    taken: frozenset[str] = frozenset()

    @property
    def tree(self) -> MediaTree:
        """Pod's media tree."""
        return self.directory.tree

    @property
    def zone(self) -> ZoneInfo:
        """Pod's time zone."""
        return ZoneInfo(self.settings.time_zone)

    @property
    def ended_at(self) -> str:
        """The moment as Pod writes it in logs."""
        return ctime(self.now, self.zone)


class ImportPlan(Protocol):
    """A checked result, ready to be put in place: files first, then rows."""

    @property
    def brought(self) -> Collection[str]:
        """The files that it puts in place, relative to MEDIA_ROOT."""

    @property
    def stored(self) -> Collection[str]:
        """Those of them whose names were chosen because nothing was there."""

    def apply_files(self) -> None:
        """Put every file into place (blocking); it can be redone after a crash.

        Raises:
            ResultError: a file cannot be put in place; nothing watchable was destroyed.
        """

    async def write_rows(self, connection: Connection) -> "ImportedResult":
        """Write every row, inside the transaction in which the caller completes the task.

        Raises:
            RaceLostError: what the plan was made for has changed since.
        """


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What an import needs of a row of ``video_video``; ``video`` is relative to MEDIA_ROOT."""

    id: VideoId
    video: str
    slug: str
    owner_id: int
    main_lang: str
    transcript: str
    overview: str

    @classmethod
    def of(cls, record: asyncpg.Record) -> "VideoFacts":
        """The facts in a row of ``video_facts``."""
        return cls(
            id=VideoId(record["id"]),
            video=record["video"],
            slug=record["slug"],
            owner_id=record["owner_id"],
            main_lang=record["main_lang"],
            transcript=record["transcript"],
            overview=record["overview"] or "",
        )


@dataclass(frozen=True, slots=True)
class ImportedResult:
    """What an import did, for the caller's log, mail and clean-up.

    Args:
        video_id: the video that has changed or been created.
        obsolete_files: files of replaced encodings, relative to MEDIA_ROOT, to be deleted after the commit.
        warnings: what a person should know although the import succeeded, each a sentence.
        alerts: those of them that ADMINS must know.
        chained_transcription: the transcription task created here.
        summary: the whole in one sentence.
    """

    video_id: VideoId
    summary: str
    obsolete_files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()
    chained_transcription: TaskPk | None = None


async def read_video(database: Database, task: Task) -> VideoFacts:
    """The video of a task.

    Raises:
        ResultRefusedError: there is none, or it has no file.
    """
    record = None
    if task.video_id is not None:
        record = await database.fetchrow(QUERIES["video_facts"], task.video_id)
    if record is None:
        raise ResultRefusedError(f"The video of task {task.pk} does not exist any more.")
    video = VideoFacts.of(record)
    if not video.video:
        raise ResultRefusedError(f"Video {video.id} has no file, so its results have no place to go.")
    return video


async def lock_video(connection: Connection, expected: VideoFacts) -> VideoFacts:
    """The video again, locked until the end of the transaction.

    Raises:
        RaceLostError: it was deleted, or its file was replaced, since the plan was made.
    """
    record = await connection.fetchrow(QUERIES["lock_video"], expected.id)
    if record is None:
        raise RaceLostError(f"Video {expected.id} was deleted meanwhile.")
    video = VideoFacts.of(record)
    if video.video != expected.video:
        raise RaceLostError(f"The file of video {expected.id} was replaced meanwhile.")
    return video


async def read_log(connection: Connection, video_id: VideoId) -> str | None:
    """The text of a video's log; None if it has none yet."""
    record = await connection.fetchrow(QUERIES["log_of_video"], video_id)
    return None if record is None else record["log"] or ""


async def write_log(connection: Connection, video_id: VideoId, text: str) -> None:
    """Replace the text of a video's log, or start it."""
    if await connection.execute(QUERIES["update_log"], video_id, text) == "UPDATE 0":
        await connection.execute(QUERIES["insert_log"], video_id, text)


async def write_step(connection: Connection, video_id: VideoId, number: int, description: str) -> None:
    """Set how far a video is; Pod's pages show the description."""
    cut = description[:_DESCRIPTION_LENGTH]
    if await connection.execute(QUERIES["update_step"], video_id, number, cut) == "UPDATE 0":
        await connection.execute(QUERIES["insert_step"], video_id, number, cut)
