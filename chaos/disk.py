"""A media tree whose disk can be filled, frozen and hidden: a small file system where that can be mounted."""

import asyncio
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from chaos.timeline import OF_A_REAL_DISK, Kind

_BALLAST = ".ballast"
_CHUNK = 1 << 20

_IMAGE = ("-q", "-F", "-m", "0", "-O", "^has_journal")
"""An ext4 without space reserved for root."""

_FREEZE = 'fsfreeze --freeze "$1" && { echo frozen; sleep "$2"; fsfreeze --unfreeze "$1"; }'
"""A process of its own thaws it: whoever waits for the disk could not."""


@dataclass(slots=True)
class SmallDisk:
    """A file system of its own for MEDIA_ROOT, or a plain directory where only root could mount one.

    In the latter case the daemons are made to take the disk for full (see ``sabotage.storage``).

    Attributes:
        directory: where it is mounted.
        is_real: whether it is a file system of its own.
        can_freeze: whether writes to it can be made to hang.
        busy: held by whoever does something to it, or writes to it beside the daemons.
    """

    directory: Path
    size: int
    is_real: bool = False
    can_freeze: bool = False
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        """Mount it: an ext4 that can be frozen, or else a tmpfs."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.can_freeze = shutil.which("fsfreeze") is not None and self._mount_image()
        size = f"size={self.size},mode=755"
        self.is_real = self.can_freeze or _as_root(
            "mount", "-t", "tmpfs", "-o", size, "tmpfs", self.directory
        )

    @property
    def impossible(self) -> tuple[Kind, ...]:
        """The faults that it is not able to have."""
        if self.can_freeze:
            return ()
        return (Kind.MEDIA_HUNG,) if self.is_real else OF_A_REAL_DISK

    @property
    def _aside(self) -> Path:
        """An empty directory, to be put over another one."""
        return self.directory.with_name(f"{self.directory.name}.empty")

    def _mount_image(self) -> bool:
        image = self.directory.with_name(f"{self.directory.name}.image")
        with image.open("wb") as file:
            file.truncate(self.size)
        if _as_root("mkfs.ext4", *_IMAGE, image) and _as_root(
            "mount", "-o", "loop,noatime", image, self.directory
        ):
            (self.directory / "lost+found").rmdir()
            return True
        image.unlink()
        return False

    def fill(self) -> None:
        """Leave not a byte."""
        with (self.directory / _BALLAST).open("ab", buffering=0) as ballast:
            size = _CHUNK
            while size:
                try:
                    if ballast.write(bytes(size)) < size:
                        size //= 2
                except OSError:
                    size //= 2

    def is_full(self) -> bool:
        """Whether it takes not one byte more."""
        probe = self.directory / f"{_BALLAST}-probe"
        try:
            probe.write_bytes(b"x")
        except OSError:
            return True
        finally:
            probe.unlink(missing_ok=True)
        return False

    def empty(self) -> None:
        """Give the space back."""
        (self.directory / _BALLAST).unlink(missing_ok=True)

    async def freeze(self, seconds: float) -> bool:
        """Let everything that writes hang for so long; whether it did. Comes back when it is over."""
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", _FREEZE, "sh", str(self.directory), f"{seconds:.2f}",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            # It thaws the disk although the campaign is interrupted.
            start_new_session=True,
        )  # fmt: skip
        told, _ = await process.communicate()
        return process.returncode == 0 and told.strip() == b"frozen"

    def hide(self, name: str) -> bool:
        """Put an empty directory over one of the tree, as if what belongs there were not mounted.

        Returns:
            Whether it is empty now.
        """
        self._aside.mkdir(exist_ok=True)
        place = self.directory / name
        return _as_root("mount", "--bind", self._aside, place) and not any(place.iterdir())

    def show(self, name: str) -> list[str]:
        """Take it away again; the paths of what was written into it meanwhile."""
        _as_root("umount", "--lazy", self.directory / name)
        written = sorted(str(path.relative_to(self._aside)) for path in self._aside.rglob("*"))
        shutil.rmtree(self._aside, ignore_errors=True)
        return written

    def close(self) -> None:
        """Unmount it."""
        if self.is_real:
            _as_root("umount", "--lazy", self.directory)


def _as_root(program: str, *arguments: str | Path) -> bool:
    """Carry out what only root may do; whether it was done."""
    path = shutil.which(program)
    if path is None or os.geteuid() != 0:
        return False
    command = [path, *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 0
