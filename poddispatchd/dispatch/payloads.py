"""What would be posted for a task, once it is known that its source file is there."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import structlog

from poddispatchd.dispatch.source_files import Disk, Presence
from poddispatchd.domain.payload import Payload, build_payload
from poddispatchd.domain.site import Site
from poddispatchd.domain.source import EncodingSource, Source
from poddispatchd.domain.task import Task
from poddispatchd.errors import MediaMissingError, UnsubmittableError
from poddispatchd.observability.events import Event
from poddispatchd.parts import Parts
from poddispatchd.pod import sources
from poddispatchd.runtime.batching import Batcher

log = structlog.get_logger(__name__)

_DISK_PATIENCE = 5.0
"""Seconds the file system has to tell whether a source exists: a hanging NFS must not hold the queue."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What would be posted for a task, and where the results of an encoding would be."""

    payload: Payload
    output_directory: str = ""


class Payloads:
    """Makes payloads; it changes nothing. What several tasks work on is read in one statement."""

    def __init__(self, parts: Parts, *, disk: Disk | None = None) -> None:
        self._parts = parts
        self._disk = disk or Disk(parts.settings.pod.media_root, patience=_DISK_PATIENCE)
        self._sources: Batcher[Task, Source | UnsubmittableError] = Batcher(self._load)
        self._tree_was_missing = False

    async def of(self, task: Task, site: Site) -> Prepared:
        """What is posted for a task.

        Raises:
            UnsubmittableError: no runner could ever run this, or its source file does not exist.
            MediaMissingError: the media tree is not there.
        """
        pod = self._parts.settings.pod
        source = await self._sources.put(task)
        if isinstance(source, UnsubmittableError):
            raise source
        payload = build_payload(source, site, sources.payload_settings(pod))
        path = sources.source_path(pod.media_root, source)
        match await self._disk.look(path):
            case Presence.THERE:
                self._tree_was_missing = False
            case Presence.MISSING:
                raise UnsubmittableError(f"The source file {path} does not exist.")
            case Presence.UNKNOWN:
                # A file system that does not answer is no reason to fail the task.
                log.warning(Event.MEDIA_SLOW, path=str(path), seconds=_DISK_PATIENCE)
            case Presence.TREE_MISSING:
                if not self._tree_was_missing:
                    log.error(Event.MEDIA_MISSING, path=str(pod.media_root))
                self._tree_was_missing = True
                raise MediaMissingError
            case other:
                assert_never(other)
        return Prepared(payload, _directory(pod.media_root, source))

    async def directory_of(self, task: Task) -> str:
        """Where the results of an encoding would be; nowhere for other tasks, or for a video that is gone."""
        source = await self._sources.put(task)
        return (
            ""
            if isinstance(source, UnsubmittableError)
            else _directory(self._parts.settings.pod.media_root, source)
        )

    async def _load(self, tasks: Sequence[Task]) -> Sequence[Source | UnsubmittableError]:
        async with self._parts.database.connection() as connection:
            return await sources.load_sources(connection, self._parts.capabilities, tasks)


def _directory(media_root: Path, source: Source) -> str:
    if not isinstance(source, EncodingSource):
        return ""
    try:
        return str(sources.output_directory(media_root, source.video))
    except UnsubmittableError:
        return ""
