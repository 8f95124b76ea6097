"""A staged result, the plan of its import, and what was done: the same for all three kinds of import."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from msgspec import Struct, field

from poddispatchd.config.model import PodSettings
from poddispatchd.database.pool import Connection, Database
from poddispatchd.domain.naming import ctime
from poddispatchd.domain.task import Task, TaskPk, VideoId
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.media.tree import MediaPath, MediaTree


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
