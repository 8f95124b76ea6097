import os
from pathlib import Path

import pytest

from poddispatchd.file_errors import disk_words


def test_an_error_of_the_disk_is_told_without_pythons_number(tmp_path: Path) -> None:
    """The log had "[Errno 30] Read-only file system: 'encoding.log'"."""
    with pytest.raises(OSError, match="Errno") as caught:
        os.close(os.open(tmp_path / "encoding.log", os.O_RDONLY))

    assert disk_words(caught.value) == f"{tmp_path}/encoding.log: No such file or directory"
    assert disk_words(OSError(30, "Read-only file system")) == "Read-only file system"
    assert disk_words(OSError("closed")) == "closed"
    assert disk_words(ValueError("a name with NUL")) == "a name with NUL"
