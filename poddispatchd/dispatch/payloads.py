"""What would be posted for a task, once it is known that its source file is there."""

from typing import assert_never

import structlog

from poddispatchd.dispatch.source_files import Disk, Presence
from poddispatchd.domain.payload import Payload, build_payload
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import Task
from poddispatchd.errors import MediaMissingError, UnsubmittableError
from poddispatchd.observability.events import Event
from poddispatchd.parts import Parts
from poddispatchd.pod import sources

log = structlog.get_logger(__name__)

_DISK_PATIENCE = 5.0
"""Seconds the file system has to tell whether a source exists: a hanging NFS must not hold the queue."""


class Payloads:
    """Makes payloads; it changes nothing."""

    def __init__(self, parts: Parts, *, disk: Disk | None = None) -> None:
        self._parts = parts
        self._disk = disk or Disk(parts.settings.pod.media_root, patience=_DISK_PATIENCE)
        self._tree_was_missing = False

    async def of(self, task: Task, site: Site) -> Payload:
        """What is posted for a task.

        Raises:
            UnsubmittableError: no runner could ever run this, or its source file does not exist.
            MediaMissingError: the media tree is not there.
        """
        parts, pod = self._parts, self._parts.settings.pod
        async with parts.database.connection() as connection:
            source = await sources.load_source(connection, parts.capabilities, task)
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
        return payload
