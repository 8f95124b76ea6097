import errno
import os
from pathlib import Path

import pytest

from poddispatchd.errors import MediaNotWritableError, NoSpaceError, PoddispatchdError, ResultRefusedError
from poddispatchd.file_errors import disk_error, disk_words


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (
            errno.ENOSPC,
            NoSpaceError,
            "It cannot be written: No space left on device ('df' and 'df -i' tell what is used up).",
        ),
        (errno.EDQUOT, NoSpaceError, "It cannot be written: Disk quota exceeded."),
        (errno.EFBIG, NoSpaceError, "It cannot be written: File too large."),
        (
            errno.EACCES,
            MediaNotWritableError,
            "It cannot be written: Permission denied ('ls -ld' of its directory tells whose that is, which "
            "must be the user's that poddispatchd runs as).",
        ),
        (errno.EROFS, MediaNotWritableError, "It cannot be written: Read-only file system."),
        (
            errno.ENAMETOOLONG,
            ResultRefusedError,
            "The name long.mp4 is too long for the file system of MEDIA_ROOT: shorten that of the source.",
        ),
    ],
)
def test_what_the_disk_refuses_is_told_with_what_helps(
    number: int, kind: type[PoddispatchdError], words: str
) -> None:
    error = disk_error(
        OSError(number, os.strerror(number), "/srv/media/videos/long.mp4"), "It cannot be written"
    )

    assert (type(error), str(error)) == (kind, words)


def test_a_name_that_the_system_does_not_tell_is_too_long_all_the_same() -> None:
    error = disk_error(OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)), "It cannot be written")

    assert str(error).startswith("The name of a file is too long ")


def test_an_error_of_the_disk_is_told_without_pythons_number(tmp_path: Path) -> None:
    """The log had "[Errno 30] Read-only file system: 'encoding.log'"."""
    with pytest.raises(OSError, match="Errno") as caught:
        os.close(os.open(tmp_path / "encoding.log", os.O_RDONLY))

    assert disk_words(caught.value) == f"{tmp_path}/encoding.log: No such file or directory"
    assert disk_words(OSError(30, "Read-only file system")) == "Read-only file system"
    assert disk_words(OSError("closed")) == "closed"
    assert disk_words(ValueError("a name with NUL")) == "a name with NUL"
