"""A task whose result is wanted, read before that is fetched."""

from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.domain import media
from poddispatchd.domain.task import RunRequest, Task, TaskPk, TaskType
from poddispatchd.errors import UnsubmittableError
from poddispatchd.pod.imports.common import QUERIES
from poddispatchd.pod.lock_holders import taking
from poddispatchd.pod.tasks import task_of


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
