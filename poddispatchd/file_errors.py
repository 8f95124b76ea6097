"""What an error of a file system means for the work that met it."""

import errno

from poddispatchd.errors import MediaNotWritableError, NoSpaceError, ResultRefusedError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # also of a quota, and of a limit to the size of files


_HINTS = {
    errno.ENOSPC: " ('df' and 'df -i' tell what is used up)",
    errno.EACCES: (
        " ('ls -ld' of its directory tells whose that is, which must be the user's that poddispatchd runs as)"
    ),
}


def disk_error(error: OSError, what: str) -> NoSpaceError | MediaNotWritableError | ResultRefusedError:
    """The error that a failure of the media tree's file system means; ``what`` could not be done."""
    if error.errno == errno.ENAMETOOLONG:  # of this result, and for good: eCryptfs takes 143 bytes
        name = str(error.filename or "of a file").rpartition("/")[2]
        return ResultRefusedError(
            f"The name {name} is too long for the file system of MEDIA_ROOT: shorten that of the source."
        )
    hint = _HINTS.get(error.errno or 0, "")
    kind = NoSpaceError if error.errno in _NO_SPACE else MediaNotWritableError
    return kind(f"{what}: {error.strerror or error}{hint}.")


def disk_words(error: Exception) -> str:
    """An error of a file system for the log: without the number and the quotes that Python puts around it."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    name = error.filename if isinstance(error.filename, str) else ""
    return f"{name}: {error.strerror}" if name else error.strerror
