"""The ``encoding.log`` that Pod begins when an encoding is submitted."""

import asyncio
from pathlib import Path

import structlog

from poddispatchd.clock import Clock
from poddispatchd.config.model import PodSettings
from poddispatchd.errors import ResultError
from poddispatchd.observability.events import Event
from poddispatchd.pod import progress
from poddispatchd.pod.media.placing import replace_file
from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.media.tree import MediaTree

log = structlog.get_logger(__name__)


class EncodingLogs:
    """Begins such logs; best effort: nobody waits for one, as the file system may hang."""

    def __init__(self, media: MediaTree, pod: PodSettings, clock: Clock) -> None:
        self._media = media
        self._pod = pod
        self._clock = clock
        self._writing: set[asyncio.Task[None]] = set()

    def begin(self, directory: Path) -> None:
        """Create an output directory with its log."""
        writing = asyncio.create_task(self._write(directory), name=f"log in {directory}")
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)

    async def _write(self, directory: Path) -> None:
        line = progress.start_line(self._clock.now_in(self._pod.time_zone)).encode() + b"\n"
        try:
            path = self._media.path(directory.relative_to(self._pod.media_root).as_posix()) / "encoding.log"
            await self._media.look(Look.LOG, replace_file, path, line)
        except (OSError, ValueError, ResultError) as error:
            log.warning(Event.MEDIA_NOT_WRITABLE, path=str(directory), error=str(error))
