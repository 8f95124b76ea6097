"""What the imports of all three task types share: a staged result, its plan, facts of a video, log, step."""

import json
import posixpath
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

import asyncpg
from msgspec import Struct, field
from msgspec.structs import replace

from poddispatchd.config.model import PodSettings
from poddispatchd.database.pool import Connection, Database
from poddispatchd.database.queries import Query, load_queries
from poddispatchd.domain import media
from poddispatchd.domain.encoding_plan import Rendition
from poddispatchd.domain.naming import ctime
from poddispatchd.domain.task import Task, TaskPk, TaskType, VideoId
from poddispatchd.errors import RaceLostError, ResultRefusedError, SourceReplacedError
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.duplicates import DONE_LATER
from poddispatchd.pod.media.tree import MediaPath, MediaTree
from poddispatchd.pod.tasks import OUTPUT

_TEXTS = load_queries("poddispatchd.pod", "imports_common.sql")


def with_common_parts(queries: Mapping[str, Query]) -> Mapping[str, Query]:
    """Statements with the parts that imports have in common filled in."""
    return {
        name: query.fill(**_TEXTS, output=OUTPUT, done_later=DONE_LATER) for name, query in queries.items()
    }


QUERIES = with_common_parts(_TEXTS)


class StagedResult(Struct, frozen=True):
    """A result that has been downloaded, and the Pod that it is for.

    Args:
        database: Pod's database.
        settings: how this Pod is set up.
        capabilities: what this Pod's database is like.
        task: whose result it is.
        directory: where it was downloaded to.
        now: the moment of the import, with a time zone; redoing with the same one gives the same names.
        size: bytes that were downloaded.
        left_out: files of the result that were not downloaded, since Pod must not serve them: the reasons.
        ours: what earlier attempts at this import may have put in place; None when nobody knows.
        taken: paths that are not free though nothing need be there: other imports are putting files there.
        source_url: what its runner was given to fetch; where nobody knows, the file before the download.
        source_size: the bytes that an encoded source had when it was submitted; None when nobody knows.
        language: of the subtitles that its runner was asked for; None when nobody knows.
    """

    database: Database
    settings: PodSettings
    capabilities: Capabilities
    task: Task
    directory: MediaPath
    now: datetime
    size: int = 0
    left_out: Mapping[str, str] = field(default_factory=dict)
    ours: frozenset[str] | None = None
    taken: frozenset[str] = frozenset()
    source_url: str | None = None
    source_size: int | None = None
    language: str | None = None

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
    def result(self) -> StagedResult:
        """What it came in."""

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
            SourceReplacedError: likewise, and the result is of no use any more.
        """


class VideoFacts(Struct, frozen=True):
    """What an import needs to know of a video.

    Args:
        id: its primary key.
        video: its file, relative to MEDIA_ROOT.
        slug: of its page.
        owner_id: the user who owns it.
        main_lang: the language that is spoken in it.
        transcript: the language of its transcription; empty when none is wanted.
        overview: its overview, relative to MEDIA_ROOT; empty without one.
        hashkey: the directory of its owner's files; empty for a user without an Owner row.
        first_track_language: the language of its first subtitles; empty without any.
    """

    id: VideoId
    video: str
    slug: str
    owner_id: int
    main_lang: str
    transcript: str
    overview: str
    hashkey: str = ""
    first_track_language: str = ""


Renditions = Mapping[str, Rendition]
"""Pod's renditions by resolution."""


def renditions_of(record: asyncpg.Record) -> Renditions:
    """The renditions that came with what else was read."""
    found = json.loads(record["renditions"])
    return {
        each["resolution"]: Rendition(each["id"], each["resolution"], each["video_bitrate"]) for each in found
    }


class ImportedResult(Struct, frozen=True):
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


async def read_video(result: StagedResult) -> tuple[VideoFacts, Renditions]:
    """The video of a task, and Pod's renditions.

    Raises:
        ResultRefusedError: there is no video, or it has no file.
        SourceReplacedError: its owner has replaced the file that the result was made of.
    """
    task, record = result.task, None
    if task.video_id is not None:
        record = await result.database.fetchrow(*QUERIES["video_facts"](video=task.video_id))
    if record is None:
        raise ResultRefusedError(f"The video of task {task.pk} does not exist any more.")
    video = VideoFacts(
        id=VideoId(record["id"]),
        video=checked_video_file(task, record["video"] or ""),
        slug=record["slug"],
        owner_id=record["owner_id"],
        main_lang=record["main_lang"],
        transcript=record["transcript"],
        overview=record["overview"] or "",
        hashkey=record["hashkey"] or "",
        first_track_language=record["first_track_language"] or "",
    )
    files = [video.video]
    if task.result_type is TaskType.TRANSCRIPTION:
        # Audio stays where it is when a video gets another number, or an administrator has put it elsewhere.
        files += record["audio_files"]
    if result.source_url is not None and media.is_another_source(result.source_url, files, video.id):
        raise SourceReplacedError(replaced_words(video.id))
    if result.source_size is not None and await _size_of(result.tree, video.video) not in (
        None,
        result.source_size,
    ):
        # By its size, and not by its time: that changes when a tree is moved to another disk, say.
        raise SourceReplacedError(replaced_words(video.id))
    return video, renditions_of(record)


def replaced_words(video: VideoId) -> str:
    """Why the result of a video is not wanted any more."""
    return f"The file of video {video} was replaced while it was worked on."


async def _size_of(tree: MediaTree, file: str) -> int | None:
    """The bytes of a file; None when it cannot be looked at, as on a tape, or is none."""
    try:
        status = await tree.run(tree.path(posixpath.normpath(file)).status)
    except (OSError, ResultRefusedError):
        return None
    return status.size if status is not None and status.is_file else None


def checked_video_file(task: Task, file: str | None) -> str:
    """The file of a task's video, beside which its result has its place.

    Raises:
        ResultRefusedError: there is no video, or it has no file.
    """
    if file is None:
        raise ResultRefusedError(f"The video of task {task.pk} does not exist any more.")
    if not file:
        raise ResultRefusedError(f"Video {task.video_id} has no file, so its results have no place to go.")
    return file


async def lock_video(connection: Connection, expected: VideoFacts) -> VideoFacts:
    """The video again, locked until the end of the transaction.

    Raises:
        RaceLostError: it was deleted, or its file was moved, since the plan was made.
        SourceReplacedError: its owner has replaced the file since then.
    """
    record = await connection.fetchrow(*QUERIES["lock_video"](video=expected.id))
    if record is None:
        raise RaceLostError(f"Video {expected.id} was deleted meanwhile.")
    file = record["video"] or ""
    if media.is_another_source(expected.video, [file], expected.id):
        raise SourceReplacedError(replaced_words(expected.id))
    if file != expected.video:
        # With its owner: the result goes to its new place.
        raise RaceLostError(f"The file of video {expected.id} was moved meanwhile.")
    return replace(
        expected,
        slug=record["slug"],
        owner_id=record["owner_id"],
        transcript=record["transcript"],
        overview=record["overview"] or "",
    )
