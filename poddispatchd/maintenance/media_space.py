"""Whether the media tree is there, is the right one and has room."""

from collections.abc import Callable
from functools import partial

import structlog

from poddispatchd.config.model import ImportsSettings
from poddispatchd.config.units import format_size, rounded_size
from poddispatchd.database.pool import Database
from poddispatchd.errors import MediaSlowError
from poddispatchd.journal import imports
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod.media.evidence import MediaEvidence
from poddispatchd.pod.media.files import free_space
from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.runtime.lease_queue import LONGEST_WORDS
from poddispatchd.runtime.media_health import MediaHealth

log = structlog.get_logger(__name__)


class MediaSpace:
    """Looks at the media tree.

    Args:
        media: the tree.
        evidence: whether it is the right one.
        media_health: shows why results cannot be written.
        settings: the current ones; how much is to be kept free.
        metrics: of the daemon.
    """

    def __init__(
        self,
        media: MediaTree,
        evidence: MediaEvidence,
        media_health: MediaHealth,
        settings: Callable[[], ImportsSettings],
        metrics: Metrics,
    ) -> None:
        self._media = media
        self._evidence = evidence
        self._media_health = media_health
        self._settings = settings
        self._metrics = metrics

    async def look(self) -> None:
        """Look at the free space; a file system that does not answer is not waited for, and not fatal."""
        media, health, keep_free = self._media, self._media_health, self._settings().keep_free
        try:
            free = await media.look_within(media.limits.space, Look.SPACE, partial(free_space, media))
        except MediaSlowError as error:
            log.warning(Event.MEDIA_SLOW, path=str(media.root), reason=str(error))
            health.obstructed(str(error))
        except OSError as error:
            health.obstructed(f"{media.root} cannot be looked at: {error.strerror or error}.")
        else:
            self._metrics.media_free_bytes.set(free)
            if free < keep_free:
                least = format_size(keep_free)
                health.obstructed(
                    f"{rounded_size(free)} are free for {media.root}, less than imports.keep_free ({least}): "
                    "make room there."
                )
            else:
                health.usable()
        # Also where there is room: a tree that is not mounted has the room of another disk.
        await self._evidence.check()


class ForeignObstacles:
    """What kept results from the media tree, and is another daemon's business by now."""

    def __init__(self, database: Database, media_health: MediaHealth, owner: str) -> None:
        self._database = database
        self._media_health = media_health
        self._owner = owner

    async def forget(self) -> None:
        """What another daemon has taken over since, or brought to an end, is no obstacle of ours any more."""
        waiting = self._media_health.waiting
        if not waiting:
            return
        async with self._database.connection() as connection:
            known = await imports.last_words(connection, list(waiting))
        for task, words in waiting.items():
            last = known.get(task)
            is_ours = last is not None and last.owner == self._owner
            is_same = last is not None and last.owner is None and last.error == words[:LONGEST_WORDS]
            if not (is_ours or is_same):
                self._media_health.usable(task)
