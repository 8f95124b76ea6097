"""What crashes leave on the disk: files of closed imports, staging directories that nobody uses."""

import structlog

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Connection, Database
from poddispatchd.domain.task import TaskStatus
from poddispatchd.errors import ImportBusyError, MediaSlowError, ResultError
from poddispatchd.imports.deletion import Deletion, closed_with_files
from poddispatchd.journal import imports
from poddispatchd.observability.events import Event
from poddispatchd.pod import tasks
from poddispatchd.pod.media.evidence import MediaEvidence
from poddispatchd.pod.media.files import delete_tree
from poddispatchd.pod.media.lock import task_lock
from poddispatchd.pod.media.staging import Staging, staging_directories
from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.runtime.last_tried import LastTried
from poddispatchd.runtime.supervisor import LONG_ENOUGH

log = structlog.get_logger(__name__)

_CLOSED = 1000

_PODS_OWN = 86400.0
"""Seconds for which a directory that Pod's own code may have made is left alone, whatever its task."""

_OVER = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.TIMEOUT)


class Sweep:
    """Tidies up after crashes.

    Args:
        database: Pod's.
        deletion: deletes files.
        media: the media tree.
        evidence: whether it is the right one.
        videos_dir: VIDEOS_DIR.
        clock: of the daemon.
    """

    def __init__(
        self,
        *,
        database: Database,
        deletion: Deletion,
        media: MediaTree,
        evidence: MediaEvidence,
        videos_dir: str,
        clock: Clock,
    ) -> None:
        self._database = database
        self._deletion = deletion
        self._media = media
        self._evidence = evidence
        self._videos_dir = videos_dir
        self._clock = clock
        self._closed = LastTried(clock)
        self._staging = LastTried(clock)

    async def run(self) -> None:
        """Tidy up after crashes: files of closed imports, staging directories without an open import.

        Nothing is touched in a media tree that may not be the right one.
        """
        if await self._evidence.check() is not None:
            return
        async with self._database.connection() as connection:
            closed = {str(found[0]): found for found in await closed_with_files(connection, _CLOSED)}
        for name in self._closed.in_turn(list(closed)):
            import_id, task_pk = closed[name]
            self._closed.begin([name])
            try:
                async with task_lock(self._media, task_pk) as tree:
                    await self._deletion.discard_brought(tree, import_id, task_pk)
            except MediaSlowError as error:
                log.warning(Event.MEDIA_SLOW, reason=str(error))
                return
            except (ImportBusyError, ResultError):
                # Somebody is at it, or its directory is in trouble: another time, and the others now.
                continue
        await self._sweep_staging()

    async def _sweep_staging(self) -> None:
        media, videos_dir = self._media, self._videos_dir
        try:
            found = await media.look_within(
                media.limits.step, Look.LEFTOVERS, lambda: staging_directories(media, videos_dir)
            )
        except MediaSlowError as error:
            log.warning(Event.MEDIA_SLOW, reason=str(error))
            return
        if not found:
            return
        enough = self._clock.monotonic() + LONG_ENOUGH
        candidates = {str(staging.path): staging for staging in await self._stale(found)}
        for name in self._staging.in_turn(list(candidates)):
            if self._clock.monotonic() >= enough:
                return
            staging = candidates[name]
            self._staging.begin([name])
            try:
                async with task_lock(media, staging.task) as tree:
                    # Once more, under the lock: an import may have begun in it since.
                    if await self._stale([staging]):
                        await tree.run(delete_tree, staging.path)
            except ImportBusyError:
                continue
            except ResultError as error:
                log.warning(Event.MEDIA_NOT_WRITABLE, path=str(staging.path), error=str(error))
                if isinstance(error, MediaSlowError):
                    return

    async def _stale(self, found: list[Staging]) -> list[Staging]:
        """Those that no import needs: neither one that the journal knows, nor one of Pod's own code."""
        async with self._database.connection() as connection:
            known = await imports.known_tasks(connection, {staging.task for staging in found})
            return [
                staging
                for staging in found
                if not (
                    known[staging.task]
                    if staging.task in known
                    else not staging.is_ours and await self._may_be_pods(connection, staging)
                )
            ]

    async def _may_be_pods(self, connection: Connection, staging: Staging) -> bool:
        """Whether Pod's own code may still need it: it is young, or its task is not over."""
        if self._clock.now().timestamp() - staging.changed_at < _PODS_OWN:
            return True
        task = await tasks.get_task(connection, staging.task)
        return task is not None and task.status not in _OVER
