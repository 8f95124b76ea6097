"""What an import reads of its task and its video before it writes, and the statements that imports share."""

import json
import posixpath
from collections.abc import Mapping

import asyncpg
from msgspec import Struct
from msgspec.structs import replace

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import Query, load_queries
from poddispatchd.domain import media
from poddispatchd.domain.encoding_plan import Rendition
from poddispatchd.domain.task import RunRequest, Task, TaskPk, TaskType, VideoId
from poddispatchd.errors import RaceLostError, ResultRefusedError, SourceReplacedError, UnsubmittableError
from poddispatchd.pod.duplicates import DONE_LATER
from poddispatchd.pod.imports.plan import StagedResult
from poddispatchd.pod.lock_holders import taking
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.pod.tasks import OUTPUT, task_of

_TEXTS = load_queries("poddispatchd.pod", "imports_common.sql")


def with_common_parts(queries: Mapping[str, Query]) -> Mapping[str, Query]:
    """Statements with the parts that imports have in common filled in."""
    return {
        name: query.fill(**_TEXTS, output=OUTPUT, done_later=DONE_LATER) for name, query in queries.items()
    }


QUERIES = with_common_parts(_TEXTS)


class WantedTask(Struct, frozen=True):
    """A task whose result is wanted, and what its row says of files.

    Args:
        task: as it is now.
        video_file: of its video, as Pod stores it; None without a video.
        source_file: what its runner fetched, as Pod stores it; None when that is gone.
        later: the task that was asked for the same source later, and did it.
        request: what its runner was asked for; None where Pod submitted it, and wrote that nowhere.
    """

    task: Task
    video_file: str | None
    source_file: str | None
    later: TaskPk | None = None
    request: RunRequest | None = None

    @property
    def named_source(self) -> str | None:
        """The file that people replace, as Pod stores it: of the video (no audio), or of the recording."""
        return (self.source_file if self.task.type is TaskType.STUDIO else self.video_file) or None

    def source_below(self, media_root: str) -> str | None:
        """Where the source is, relative to MEDIA_ROOT; None when no row names one there."""
        try:
            return media.inside_media_root(media_root, self.source_file or "", f"Task {self.task.pk}")
        except UnsubmittableError:
            return None


async def read_wanted_task(connection: Connection, task: TaskPk) -> WantedTask | None:
    """A task by its primary key, None when there is none; it was not held by anybody at this moment.

    Raises:
        RowLockedError: another session holds the row; the error names the task.
    """
    with taking(task):
        record = await connection.fetchrow(*QUERIES["wanted_task"](task=task))
    if record is None:
        return None
    is_studio = TaskType.of(record["type"]) is TaskType.STUDIO
    source = record["source_file"] if is_studio else record["mp3"] or record["video_file"]
    request = RunRequest.of_body(record["body"]) if record["body"] else None
    return WantedTask(task_of(record), record["video_file"], source, record["later"], request)


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
