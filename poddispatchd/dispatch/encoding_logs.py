"""The file ``encoding.log`` that Pod begins when an encoding is submitted."""

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from poddispatchd.clock import Clock
from poddispatchd.config.model import PodSettings
from poddispatchd.errors import ResultError
from poddispatchd.file_errors import disk_words
from poddispatchd.observability.events import Event
from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.tasks.accepted_runs import start_line

log = structlog.get_logger(__name__)

_TOGETHER = 20
"""Logs that are begun together."""

_PAUSE = 0.015
"""Seconds after logs were begun in which others come: a thread woken for each costs a tenth of a submission.

Shorter than any import takes, whose own log comes into the same place.
"""


class EncodingLogs:
    """Begins logs.

    Best effort: no submission waits for one, as the file system may hang.
    """

    def __init__(self, media: MediaTree, pod: PodSettings, incidents: Incidents, clock: Clock) -> None:
        self._media = media
        self._pod = pod
        self._incidents = incidents
        self._clock = clock
        self._waiting: list[Path] = []
        self._writing: asyncio.Task[None] | None = None
        self._is_urgent = asyncio.Event()

    def begin(self, directory: Path, *, is_urgent: bool = False) -> None:
        """Create an output directory with its log; an ``is_urgent`` one goes at once (its run ended)."""
        self._waiting.append(directory)
        if is_urgent:
            self._is_urgent.set()
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="encoding logs")
            self._incidents.watch(self._writing, "beginning of encoding logs")

    async def finish(self) -> None:
        """Begin those that wait, as the process is about to end."""
        self._is_urgent.set()
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=self._media.limits.look)

    async def _write(self) -> None:
        while self._waiting:
            self._is_urgent.clear()
            # Taken out before they are written: those that come meanwhile are for the next turn of this loop.
            directories, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
            line = start_line(self._clock.now_in(self._pod.time_zone)).encode() + b"\n"
            try:
                told = await self._media.look_each(Look.LOG, partial(self._write_one, line), directories)
            except ResultError as error:
                told = [str(error)] * len(directories)
            for directory, problem in zip(directories, told, strict=True):
                if problem is not None:
                    log.warning(Event.MEDIA_NOT_WRITABLE, path=str(directory), error=problem)
            with suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE):
                    await self._is_urgent.wait()

    def _write_one(self, line: bytes, directory: Path) -> str | None:
        """What kept it from being written."""
        try:
            path = self._media.path(directory.relative_to(self._pod.media_root).as_posix())
            (path / "encoding.log").rewrite(line)
        except (OSError, ValueError, ResultError) as error:
            return disk_words(error)
        return None
