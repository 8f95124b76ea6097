"""Errors of file systems by what follows from them; those that do no harm are told once, and passed over."""

import errno
from threading import Lock

import structlog

from poddispatchd.observability.events import Event

log = structlog.get_logger(__name__)

SYNC_REFUSED = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF)
"""What CIFS and FUSE say to the fsync of a directory; names are as durable as the server makes them."""

CHMOD_REFUSED = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What CIFS, FUSE and a foreign owner say to a change of mode."""

LOCK_REFUSED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
"""What NFS without a lock manager and some FUSE file systems say to a lock."""

LINK_UNSAFE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOENT, errno.ESTALE, errno.EEXIST)
"""What a refused link says when a rename would fare no better; after any other error it takes its place."""

IN_TROUBLE = (
    errno.EIO,
    errno.ESTALE,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ECONNREFUSED,
    errno.ECONNABORTED,
    errno.EREMOTEIO,
)
"""What file systems of a network say whose server is away, FUSE without its process, and disks that fail."""

NOT_WRITABLE_NOW = (*IN_TROUBLE, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
"""What is said about every file of a file system: in trouble, read-only, or without the room for a change."""

NO_LOCKS = (
    "the file system has no working locks. On NFSv3 start rpc.statd (lockd) here and on the server, or mount "
    "it with NFSv4; on FUSE switch on locks; on CIFS mount it without 'nobrl'"
)


class ToleratedErrors:
    """Refusals that do no harm, each logged once in the life of the process."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._lock = Lock()

    def note(self, what: str, advice: str, error: OSError) -> None:
        """Pass over a refusal; ``what`` names it, ``advice`` says what a person may do about it."""
        with self._lock:
            if what in self._told:
                return
            self._told.add(what)
        log.warning(Event.MEDIA_QUIRK, what=what, error=error.strerror or type(error).__name__, advice=advice)

    @property
    def told(self) -> frozenset[str]:
        """What has been refused so far."""
        with self._lock:
            return frozenset(self._told)
