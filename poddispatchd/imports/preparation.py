"""What is found out, for each type of task, before its result is put in place: whether, where, and how."""

from collections.abc import Collection, Mapping
from typing import assert_never

from msgspec.structs import replace

from poddispatchd.clock import Clock
from poddispatchd.config.model import PodSettings
from poddispatchd.database.pool import Database
from poddispatchd.domain.task import RunRequest, Task, TaskType, VideoId, changed_request, no_import_words
from poddispatchd.errors import MediaNotWritableError, RaceLostError, ResultRefusedError, RowLockedError
from poddispatchd.imports import queue, recorded_files
from poddispatchd.imports.queue import ImportJob
from poddispatchd.pod import tasks
from poddispatchd.pod.catalogue import Catalogue
from poddispatchd.pod.imports import encoding, studio, transcription
from poddispatchd.pod.imports.facts import WantedTask, checked_video_file, read_wanted_task
from poddispatchd.pod.imports.plan import ImportPlan, StagedResult
from poddispatchd.pod.lock_holders import held_row
from poddispatchd.pod.media.evidence import MediaEvidence
from poddispatchd.pod.media.files import existing_files
from poddispatchd.pod.media.tree import MediaPath, MediaTree
from poddispatchd.runtime.locked_rows import LockedRows


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


class Preparation:
    """What is found out before anything visible is touched.

    Args:
        database: Pod's.
        catalogue: what Pod's tables have.
        evidence: whether the media tree is the right one.
        locked_rows: tasks that wait for a row.
        pod: how this Pod is set up.
        clock: of the daemon.
    """

    def __init__(
        self,
        *,
        database: Database,
        catalogue: Catalogue,
        evidence: MediaEvidence,
        locked_rows: LockedRows,
        pod: PodSettings,
        clock: Clock,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._evidence = evidence
        self._locked_rows = locked_rows
        self._pod = pod
        self._clock = clock

    async def wanted_task(self, job: ImportJob) -> WantedTask:
        """The task as it is now.

        Raises:
            RaceLostError: its row does not wait for this result any more, or a later task did its source.
            RowLockedError: another session holds a row that the import would write.
        """
        # A result is not fetched, which may take hours, for a row that another session was seen to hold.
        if job.task_pk in self._locked_rows.tasks and await held_row(self._database, job.task_pk) is not None:
            raise RowLockedError("Another database session holds a row of this task.", task=job.task_pk)
        async with self._database.connection() as connection:
            # What somebody holds is about to be changed: nothing is fetched for it now.
            wanted = await read_wanted_task(connection, job.task_pk)
        if wanted is None or not job.is_wanted_by(wanted.task):
            raise RaceLostError(queue.NOT_WANTED)
        if wanted.later is not None:
            raise recorded_files.later_error(wanted.later)
        return wanted

    async def changed_request(self, job: ImportJob, read: Task) -> str | None:
        """Why a row that has the same run as when it was read asks for something else now; None: it does not.

        To fetch a result may take hours, and somebody may give its task another type or source meanwhile.
        """
        async with self._database.connection() as connection:
            now = await tasks.get_task(connection, read.pk)
        return None if now is None or not job.is_wanted_by(now) else changed_request(read, now)

    async def check_tree(self, tree: MediaTree, wanted: WantedTask) -> None:
        """Make sure that the media tree is the right one: the task's source is there, or others are.

        The source of a recording lies elsewhere than the video that is made of it, and proves nothing.

        Raises:
            MediaNotWritableError: it is not the right one.
        """
        source = self._source(wanted)
        if source is None or not await tree.run(tree.path(source).is_file):
            await self._check_evidence(source)

    async def prove_placed(self, tree: MediaTree, wanted: WantedTask, brought: Collection[str]) -> None:
        """Look at the files where the rows will name them, before the commit.

        The media tree may have been mounted, or have gone, since the result was checked: the files would be
        in a directory that nobody sees afterwards.

        Raises:
            MediaNotWritableError: the tree is not the right one, or not the one they were put into.
        """
        source = self._source(wanted)
        is_source_there, found = await tree.run(_seen, tree, source, sorted(brought))
        if not is_source_there:
            await self._check_evidence(source)
        hidden = {*brought} - found
        if hidden:
            raise MediaNotWritableError(
                f"{len(hidden)} of the files that were put in place are not there any more: another file "
                "system was mounted on MEDIA_ROOT, or on a directory in it, meanwhile."
            )

    def _source(self, wanted: WantedTask) -> str | None:
        """The file that shows whether the tree is the right one; None when there is no such file."""
        if wanted.task.type is TaskType.STUDIO:
            return None
        return wanted.source_below(str(self._pod.media_root))

    async def _check_evidence(self, missing: str | None) -> None:
        words = await self._evidence.check(source=missing, within=0)
        if words is not None:
            raise MediaNotWritableError(words)

    async def prepare(
        self,
        wanted: WantedTask,
        job: ImportJob,
        staging: MediaPath,
        size: int,
        left_out: Mapping[str, str],
    ) -> ImportPlan:
        """Check a staged result and plan its import; nothing visible is touched.

        Args:
            wanted: whose result it is, with what its runner was asked for.
            job: the import.
            staging: where it was downloaded to.
            size: its bytes.
            left_out: its files that were not downloaded, with the reason.

        Raises:
            ResultIncompleteError: something is missing or cut short.
            ResultRefusedError: the result must not be imported.
            SourceReplacedError: it was made of a file that the video has no more.
            RaceLostError: the lease is lost.
        """
        task, request, pod = wanted.task, wanted.request or RunRequest(), self._pod
        if job.of_campaign:
            # A campaign of encodings is none of transcriptions: captions that somebody corrected stay.
            pod = replace(pod, use_transcription=False)
        async with self._database.connection() as connection:
            known = await recorded_files.known(connection, job)
        result = StagedResult(
            self._database,
            pod,
            self._catalogue.capabilities,
            task,
            staging,
            self._clock.now(),
            size,
            left_out,
            ours=known.ours,
            taken=known.taken,
            # What Pod asked for is written nowhere: at least what there was before this was fetched.
            source_url=request.source_url or wanted.named_source,
            source_size=known.source_size,
            language=request.language,
        )
        match task.result_type:
            case TaskType.ENCODING:
                return await encoding.prepare(result)
            case TaskType.TRANSCRIPTION:
                return await transcription.prepare(result)
            case TaskType.STUDIO:
                # Before the files are named after it, and the same at every attempt: a task makes one video.
                async with self._database.connection() as connection:
                    video_id = await queue.reserve_video(connection, job)
                return await studio.prepare(result, video_id=video_id, created_at=job.created_at)
            case TaskType.OTHER | None:
                raise ResultRefusedError(no_import_words(task))
            case _:
                assert_never(task.result_type)


def _seen(tree: MediaTree, source: str | None, brought: Collection[str]) -> tuple[bool, set[str]]:
    """Whether there is a source, and at which of these places there is something (blocking)."""
    return source is not None and tree.path(source).is_file(), existing_files(tree, brought)
