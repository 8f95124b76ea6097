"""Deleting what the studio left on the disk: Pod does it at every import, we do only when configured."""

from collections.abc import Callable

import structlog

from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.database.pool import Database
from poddispatchd.errors import MediaSlowError
from poddispatchd.file_errors import disk_words
from poddispatchd.maintenance.ages import days_ago
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod.media.evidence import MediaEvidence
from poddispatchd.pod.media.opencast import old_entries, remove_entries
from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.pod.referenced_files import needed_entries
from poddispatchd.runtime.last_tried import LastTried
from poddispatchd.runtime.supervisor import LONG_ENOUGH

log = structlog.get_logger(__name__)

_BATCH = 20
"""Entries looked up and deleted together: little time for a recording to need one again in between."""

_MOST = 500
"""Entries deleted in one go; the others are deleted the next time."""


class OpencastFiles:
    """Deletes what is old there.

    Args:
        database: Pod's.
        media: the media tree.
        evidence: whether it is the right one.
        settings: the current ones.
        metrics: of the daemon.
        clock: of the daemon.
    """

    def __init__(
        self,
        *,
        database: Database,
        media: MediaTree,
        evidence: MediaEvidence,
        settings: Callable[[], Settings],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._database = database
        self._media = media
        self._evidence = evidence
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._tried = LastTried(clock)

    async def purge(self) -> None:
        """Delete entries of ``opencast-files`` that are older than ``retention.opencast_files_days``.

        An entry stays while a recording may still be imported from it, however old it is.
        """
        settings = self._settings()
        pod, days = settings.pod, settings.retention.opencast_files_days
        if days == 0:
            return
        if await self._evidence.check() is not None:
            return
        # Calls of its own: a deletion that hangs refuses nobody else the tree.
        tree = MediaTree.sharing(self._media)
        directory = tree.path(pod.opencast_files_dir)
        before = (await days_ago(self._database, self._clock, days)).timestamp()
        enough = self._clock.monotonic() + LONG_ENOUGH
        deleted = kept = 0
        try:
            names = await tree.look_within(
                tree.limits.step, Look.OPENCAST, lambda: old_entries(directory, before)
            )
            names = self._tried.in_turn(names)
            for start in range(0, len(names), _BATCH):
                batch = names[start : start + _BATCH]
                self._tried.begin(batch)
                async with self._database.connection() as connection:
                    # Just before they are deleted: somebody may have restarted a task of theirs since.
                    needed = await needed_entries(connection, batch)
                free = [name for name in batch if name not in needed]
                removal = await tree.run(remove_entries, directory, free, before)
                self._tried.end(batch, failed=removal.problems)
                for problem in removal.problems.values():
                    log.warning(Event.MEDIA_NOT_WRITABLE, reason=problem)
                self._metrics.opencast_entries_purged.inc(len(removal.removed))
                deleted += len(removal.removed)
                kept += len(needed)
                if deleted >= _MOST or self._clock.monotonic() >= enough:
                    break
        except (OSError, MediaSlowError) as error:
            log.warning(Event.MEDIA_NOT_WRITABLE, path=str(directory), error=disk_words(error))
        if deleted:
            log.info(Event.OPENCAST_PURGED, entries=deleted, kept=kept, older_than_days=days)
