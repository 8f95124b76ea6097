"""Disks that take not one byte and not one name more, on demand."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn, Protocol

import pytest

from chaos.unmounting import Unmounting

_CHUNK = 1 << 20
_BALLAST = ".ballast"


class Disk(Protocol):
    """A file system that can be filled."""

    def full(self) -> None:
        """From now on it takes nothing."""

    def room(self) -> None:
        """From now on it does again."""


def may_mount() -> bool:
    """Whether this process can mount a file system of its own."""
    return os.geteuid() == 0 and shutil.which("mount") is not None


class SmallDisk:
    """A tmpfs: what is full is really full, of bytes and of names."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        size = "size=16m,nr_inodes=600,mode=755"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(directory)], check=True)
        self._unmounting = Unmounting(directory)

    def full(self) -> None:
        ballast = self._directory / _BALLAST
        ballast.mkdir()
        with suppress(OSError), (ballast / "bytes").open("wb", buffering=0) as file:
            while file.write(bytes(_CHUNK)):
                pass
        with suppress(OSError):
            for number in range(10**6):
                (ballast / str(number)).touch()
        with pytest.raises(OSError, match="No space left"):
            (self._directory / "one").touch()

    def room(self) -> None:
        shutil.rmtree(self._directory / _BALLAST)

    def close(self) -> None:
        self._unmounting.close()


class PretendedDisk:
    """Where nothing can be mounted: the calls that need space fail as they do on a full disk."""

    def __init__(self) -> None:
        self._monkeypatch = pytest.MonkeyPatch()

    def full(self) -> None:
        def refuse(*_: object, **__: object) -> NoReturn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        for owner, name in ((os, "write"), (os, "link"), (os, "mkdir")):
            self._monkeypatch.setattr(owner, name, refuse)

    def room(self) -> None:
        self._monkeypatch.undo()


@contextmanager
def small_disk(directory: Path) -> Iterator[SmallDisk]:
    """A small disk mounted on a directory."""
    disk = SmallDisk(directory)
    try:
        yield disk
    finally:
        disk.close()
