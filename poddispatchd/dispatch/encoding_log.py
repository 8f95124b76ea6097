"""The ``encoding.log`` that Pod begins when an encoding is submitted."""

import asyncio
from functools import partial
from pathlib import Path

import structlog

from poddispatchd.clock import Clock
from poddispatchd.config.model import PodSettings
from poddispatchd.errors import ResultError
from poddispatchd.observability.events import Event
from poddispatchd.pod import progress
from poddispatchd.pod.media.looks import look_each
from poddispatchd.pod.media.placing import replace_file
from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.media.tree import MediaTree

log = structlog.get_logger(__name__)

_TOGETHER = 20
"""Logs that are begun together."""


class EncodingLogs:
    """Begins such logs; best effort: nobody waits for one, as the file system may hang."""

    def __init__(self, media: MediaTree, pod: PodSettings, clock: Clock) -> None:
        self._media = media
        self._pod = pod
        self._clock = clock
        self._waiting: list[Path] = []
        self._writing: asyncio.Task[None] | None = None

    def begin(self, directory: Path) -> None:
        """Create an output directory with its log."""
        self._waiting.append(directory)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="encoding logs")

    async def _write(self) -> None:
        while self._waiting:
            directories, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
            line = progress.start_line(self._clock.now_in(self._pod.time_zone)).encode() + b"\n"
            try:
                told = await look_each(self._media, Look.LOG, partial(self._write_one, line), directories)
            except ResultError as error:
                told = [str(error)] * len(directories)
            for directory, problem in zip(directories, told, strict=True):
                if problem is not None:
                    log.warning(Event.MEDIA_NOT_WRITABLE, path=str(directory), error=problem)

    def _write_one(self, line: bytes, directory: Path) -> str | None:
        """What kept it from being written."""
        try:
            path = self._media.path(directory.relative_to(self._pod.media_root).as_posix())
            replace_file(path / "encoding.log", line)
        except (OSError, ValueError, ResultError) as error:
            return str(error)
        return None
