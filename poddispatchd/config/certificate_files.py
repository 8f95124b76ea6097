"""Files of certificates that settings name: read only where they are files, and not endless.

OpenSSL, and Python, wait for ever for a FIFO, and read a device, or any large file by mistake, to its end.
"""

import errno
import os
import ssl
import stat
from datetime import datetime
from pathlib import Path

from poddispatchd.domain.certificate_ends import ends_in

_LARGEST = 8 * 2**20
"""Bytes. All authorities of Debian together are a quarter of one MiB."""

_NULL = os.makedev(1, 3)
"""/dev/null: libpq's users name it where no file of theirs is to be used. It is an empty file."""


def require_file(path: str | Path) -> None:
    """See whether this can be read at once; whoever reads it next meets whatever else is wrong with it.

    Raises:
        OSError: it cannot; ``strerror`` says why.
    """
    _require(os.stat(path), path)  # noqa: PTH116 - a name of any form


def trust(context: ssl.SSLContext, path: Path) -> None:
    """Trust the authorities of a file, too.

    Raises:
        OSError: it cannot be read (``ssl.SSLError``: it holds no certificate); ``strerror`` says why.
    """
    require_file(path)
    context.load_verify_locations(cafile=path)


def ends_in_file(path: Path) -> list[datetime]:
    """When the certificates of a file end, in their order.

    Raises:
        OSError: it cannot be read.
    """
    # It may have been exchanged for a FIFO since somebody looked.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    # Without closefd: of a directory no file object comes about that could close it.
    try:
        _require(os.fstat(descriptor), path)
        with os.fdopen(descriptor, "rb", closefd=False) as opened:
            return ends_in(opened.read(_LARGEST).decode("ascii", errors="replace"))
    finally:
        os.close(descriptor)


def _require(status: os.stat_result, path: str | Path) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode) and status.st_rdev != _NULL:
        raise OSError(errno.EINVAL, "It is not a regular file", str(path))
    if status.st_size > _LARGEST:
        words = f"It is larger than {_LARGEST >> 20} MiB, which no file of certificates is"
        raise OSError(errno.EFBIG, words, str(path))
