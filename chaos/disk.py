"""A media tree whose disk can be filled: a small tmpfs where that can be mounted."""

import os
import shutil
import subprocess
from pathlib import Path

_BALLAST = ".ballast"
_CHUNK = 1 << 20


class SmallDisk:
    """A file system of its own for MEDIA_ROOT, or a plain directory where only root could mount one.

    In the latter case the daemons are made to take the disk for full (see ``sabotage.storage``).
    """

    def __init__(self, directory: Path, size: int) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        mount = shutil.which("mount")
        command = [str(mount), "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(directory)]
        self.is_real = (
            mount is not None
            and os.geteuid() == 0
            and subprocess.run(command, check=False, capture_output=True).returncode == 0
        )

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

    def close(self) -> None:
        """Unmount it."""
        if self.is_real:
            subprocess.run(["umount", "--lazy", str(self.directory)], check=False, capture_output=True)
