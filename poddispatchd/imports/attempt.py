"""One attempt to import a result: lock, download, verify, swap, one transaction, clean up (I5, I6, I7).

The steps are those of ``ImportAttempt``, in their order. Whatever ends them early goes to
``FailureHandling``, which decides on the next action and carries it out.
"""

import asyncio
from collections.abc import Callable, Mapping

import structlog
from msgspec.structs import replace

from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.domain import manifest
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import ManagerId, Task
from poddispatchd.errors import (
    DatabaseUnavailableError,
    DownloadError,
    ImportBusyError,
    PoddispatchdError,
    RaceLostError,
    ResultError,
    ResultGoneError,
    RunnerManagerChangedError,
    RunnerManagerMisconfiguredError,
    SourceReplacedError,
)
from poddispatchd.imports.commit import ImportCommit
from poddispatchd.imports.failure_handling import FailedAttempt, FailureHandling
from poddispatchd.imports.preparation import Preparation, staging_directory
from poddispatchd.imports.queue import ImportJob
from poddispatchd.managers.rows import ManagerRows
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod.imports.facts import WantedTask
from poddispatchd.pod.imports.plan import ImportedResult
from poddispatchd.pod.media import staging as staging_area
from poddispatchd.pod.media.lock import task_lock
from poddispatchd.pod.media.staging import StagingStorage
from poddispatchd.pod.media.tree import MediaPath, MediaTree
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.download_limits import DownloadLimits
from poddispatchd.runner.file_download import RemoteResult
from poddispatchd.runner.result_download import ResultDownloader
from poddispatchd.runtime.wakeups import Wakeups

log = structlog.get_logger(__name__)

LONGEST_ATTEMPT = 12 * 3600.0
"""Seconds that one attempt may take until its commit: 200 GB at 5 MB/s take eleven hours.

The download has limits of its own, by size; this is for whatever hangs all the same.
"""

_GATHERED = 0.2
"""Seconds within which people are told of results that were imported, of all of them together."""

_UNFORESEEN = "poddispatchd met an error nobody foresaw ({name}): its log tells more."


class ImportAttempt:
    """Makes attempts at imports; one object serves all of them, what belongs to one attempt is handed on.

    Args:
        media: the media tree.
        client: asks the managers for them.
        managers: who has the results.
        preparation: finds out whether and how a result can be imported.
        commits: puts it in place.
        failures: does what follows when an attempt fails.
        settings: the current ones.
        wakeups: of those who go on with what was imported.
        metrics: of the daemon.
        clock: of the daemon.
    """

    def __init__(
        self,
        *,
        media: MediaTree,
        client: RunnerClient,
        managers: ManagerRows,
        preparation: Preparation,
        commits: ImportCommit,
        failures: FailureHandling,
        settings: Callable[[], Settings],
        wakeups: Wakeups,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._media = media
        self._client = client
        self._downloads = ResultDownloader(client, clock, metrics.download_bytes.inc)
        self._managers = managers
        self._preparation = preparation
        self._commits = commits
        self._failures = failures
        self._settings = settings
        self._wakeups = wakeups
        self._metrics = metrics
        self._clock = clock

    async def make(
        self,
        job: ImportJob,
        *,
        checked: Callable[[], None] = lambda: None,
        is_ours: Callable[[], bool] = lambda: True,
    ) -> None:
        """Import a result, or do what follows from not having been able to.

        Args:
            job: the import.
            checked: called when the result has been fetched and checked: it needs no manager any more.
            is_ours: whether the lease surely lasts; asked from any thread, before a file is put in place.

        Raises:
            DatabaseError: not even that could be written; the lease is still held.
        """
        try:
            # Pod's own lock, which its code takes, too: one importer for each task, over all machines (I7).
            async with task_lock(self._media, job.task_pk) as tree:
                tree.is_ours = is_ours
                await self._under_lock(job, tree, checked)
        except (ImportBusyError, ResultError) as error:
            await self._failures.handle(FailedAttempt(job, error))

    def stop(self) -> None:
        """Attempts that are past their commit point go on, and wait for nothing that others hold."""
        self._commits.stop()

    async def _under_lock(self, job: ImportJob, tree: MediaTree, checked: Callable[[], None]) -> None:
        staging: MediaPath | None = None
        wanted: WantedTask | None = None
        try:
            # Under Pod's lock, not before: whoever held it may have completed the task.
            wanted = await self._preparation.wanted_task(job)
            manager = await self._manager_of(job.runner_manager_id)
            task = wanted.task
            log.info(Event.IMPORT_STARTED, task=task.pk, type=task.type_name, attempt=job.attempts)
            # Before a byte is fetched: under a MEDIA_ROOT that is not mounted it would fill another disk.
            await self._preparation.check_tree(tree, wanted)
            _require_as_requested(wanted)
            staging = staging_directory(tree, wanted)
            await self._import(job, wanted, manager, staging, checked)
        except RaceLostError as error:
            await self._lost(FailedAttempt(job, error, tree, staging), wanted)
        except DatabaseUnavailableError:
            # Not even what follows could be written down: the importer gives the lease back later.
            raise
        except (PoddispatchdError, OSError) as error:
            await self._failures.handle(FailedAttempt(job, error, tree, staging))
        except Exception as error:  # a bug met by one result must end in words like any other trouble
            log.exception(Event.SERVICE_CRASHED, job="import", task=job.task_pk)
            unforeseen = PoddispatchdError(_UNFORESEEN.format(name=type(error).__name__))
            await self._failures.handle(FailedAttempt(job, unforeseen, tree, staging))

    async def _lost(self, attempt: FailedAttempt, wanted: WantedTask | None) -> None:
        """Drop a result that is not wanted any more; a task that asks for something else now runs again."""
        changed = None
        if wanted is not None:
            changed = await self._preparation.changed_request(attempt.job, wanted.task)
        if changed is None:
            await self._failures.drop(attempt, str(attempt.error))
        else:
            await self._failures.handle(replace(attempt, error=SourceReplacedError(changed)))

    # --- the steps ---------------------------------------------------------------------------------------

    async def _manager_of(self, manager_id: ManagerId) -> RunnerManager:
        """The manager that has the result.

        Raises:
            ResultGoneError: it is gone from Pod.
        """
        # Its address or token may be new: nobody else looks while nothing is to be submitted, or elsewhere.
        if (manager := await self._managers.find(manager_id)) is None:
            raise ResultGoneError("Its runner manager has been deleted from Pod.")
        return manager

    async def _import(
        self,
        job: ImportJob,
        wanted: WantedTask,
        manager: RunnerManager,
        staging: MediaPath,
        checked: Callable[[], None],
    ) -> None:
        """Everything from the download to the clean-up after the commit.

        Raises:
            RaceLostError: the result is not wanted any more, or another importer has it.
            PoddispatchdError: it could not be imported.
        """
        task, begun = wanted.task, self._clock.monotonic()
        try:
            async with asyncio.timeout(LONGEST_ATTEMPT) as limit:
                await staging.tree.run(staging_area.begin, staging, task.pk)
                size, left_out = await self._fetched(job, task, manager, staging)
                plan = await self._preparation.prepare(wanted, job, staging, size, left_out)
        except TimeoutError:
            # ETIMEDOUT of a file server is one, too, and says nothing of the result (I16).
            if not limit.expired():
                raise
            raise DownloadError(f"It took longer than {LONGEST_ATTEMPT / 3600:g} hours.") from None
        checked()
        commit = asyncio.ensure_future(self._commits.commit(job, wanted, plan))
        try:
            done, has_obsolete = await asyncio.shield(commit)
        except asyncio.CancelledError:
            # From here on nothing waits for the network: a stop lets it finish, under the lock.
            done, has_obsolete = await commit
        self._metrics.import_duration.labels(task.type).observe(self._clock.monotonic() - begun)
        # Before the clean-up, which a slow disk may hold up: what follows from the commit needs none of it.
        self._wake(done)
        await self._commits.tidy(job, staging, has_obsolete=has_obsolete)

    async def _fetched(
        self, job: ImportJob, task: Task, manager: RunnerManager, staging: MediaPath
    ) -> tuple[int, Mapping[str, str]]:
        """Download the result into the staging directory.

        Returns:
            Its bytes, and the files that were not downloaded, with the reason.

        Raises:
            RunnerManagerChangedError: the address or token that it was asked with is not Pod's any more.
            PoddispatchdError: it could not be had.
        """
        try:
            return await self._download(job, task, manager, staging)
        except RunnerManagerMisconfiguredError:
            # A download may take long enough for the token that it began with to be an old one.
            await self._managers.refresh(within=0)
            if self._managers.registry.is_current(manager):
                raise
        raise RunnerManagerChangedError(
            f"The address or token of runner manager {manager.name!r} was changed in Pod meanwhile."
        )

    async def _download(
        self, job: ImportJob, task: Task, manager: RunnerManager, staging: MediaPath
    ) -> tuple[int, Mapping[str, str]]:
        offered = await self._client.manifest(manager, job.task_id)
        settings = self._settings()
        files = await self._downloads.download(
            RemoteResult(manager, job.task_id),
            manifest.wanted(offered, task.type),
            StagingStorage(staging),
            limits=DownloadLimits(
                max_size=settings.imports.max_size,
                keep_free=settings.imports.keep_free,
                first_byte_timeout=settings.imports.first_byte_timeout,
                min_rate=settings.imports.min_rate,
            ),
            mode=settings.pod.file_permissions,
        )
        self._managers.registry.learn(manager, None)
        return sum(file.size for file in files), manifest.left_out(offered, task.type)

    def _wake(self, done: ImportedResult) -> None:
        wakeups = self._wakeups
        wakeups.maintenance.ring()
        wakeups.notifier.ring_within(_GATHERED)
        if done.chained_transcription is not None:
            wakeups.dispatcher.ring()


def _require_as_requested(wanted: WantedTask) -> None:
    """See that a run of ours was asked for what its row says, before its result is fetched.

    Raises:
        SourceReplacedError: somebody has changed the row.
    """
    if wanted.request is not None and (changed := wanted.request.contradiction(wanted.task)) is not None:
        raise SourceReplacedError(changed)
