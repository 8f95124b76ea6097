"""A media tree whose disk can be filled, frozen, stopped and hidden: a file system of its own if possible."""

import asyncio
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from chaos.timeline import OF_A_REAL_DISK, Kind
from chaos.unmounting import Unmounting

_BALLAST = ".ballast"
_CHUNK = 1 << 20

_IMAGE = ("-q", "-F", "-m", "0", "-O", "^has_journal")
"""An ext4 without space reserved for root."""

_FREEZE = 'fsfreeze --freeze "$1" && { echo frozen; sleep "$2"; fsfreeze --unfreeze "$1"; }'
"""A process of its own thaws it: whoever waits for the disk could not."""

_MOUNTED_WITHIN = 10.0
"""Seconds in which a file server has mounted what it serves."""


@dataclass(slots=True)
class SmallDisk:
    """A file system of its own for MEDIA_ROOT, or a plain directory where only root could mount one.

    In the latter case the daemons are made to take the disk for full (see ``sabotage.storage``).

    Attributes:
        directory: where it is mounted.
        size: in bytes.
        wants_server: whether a process serves it (FUSE), as a file server serves a share.
        is_real: whether it is a file system of its own.
        can_freeze: whether writes to it can be made to hang.
        busy: held by whoever does something to it, or writes to it beside the daemons.
    """

    directory: Path
    size: int
    wants_server: bool = False
    is_real: bool = False
    can_freeze: bool = False
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    _server: "subprocess.Popen[bytes] | None" = None
    _unmounting: Unmounting | None = None

    def __post_init__(self) -> None:
        """Mount it: an ext4 that can be frozen, or else a tmpfs; with a file server in front if wanted.

        Raises:
            RuntimeError: there is to be a file server, and bindfs or FUSE is missing.
        """
        for directory in (self.directory, self._below):
            directory.mkdir(parents=True, exist_ok=True)
        self.can_freeze = shutil.which("fsfreeze") is not None and self._mount_image()
        size = f"size={self.size},mode=755"
        self.is_real = self.can_freeze or _as_root("mount", "-t", "tmpfs", "-o", size, "tmpfs", self._below)
        if self.wants_server and self.is_real:
            try:
                self._server = _serve(self._below, self.directory)
            except BaseException:
                # Nobody gets it, so nobody would unmount it.
                self.close()
                raise
        if self.is_real:
            self._unmounting = Unmounting(
                *self._places, server=None if self._server is None else self._server.pid
            )

    @property
    def impossible(self) -> tuple[Kind, ...]:
        """The faults that it is not able to have."""
        if not self.is_real:
            return OF_A_REAL_DISK
        frozen = () if self.can_freeze else (Kind.MEDIA_HUNG,)
        return frozen if self.can_stop else (*frozen, Kind.MEDIA_STOPPED)

    @property
    def can_stop(self) -> bool:
        """Whether everything that touches it can be made to hang."""
        return self._server is not None

    @property
    def _below(self) -> Path:
        """Where the disk itself is mounted: behind its file server, if it is to have one."""
        return (
            self.directory.with_name(f"{self.directory.name}.disk") if self.wants_server else self.directory
        )

    @property
    def _aside(self) -> Path:
        """An empty directory, to be put over another one."""
        return self.directory.with_name(f"{self.directory.name}.empty")

    def _mount_image(self) -> bool:
        image = self.directory.with_name(f"{self.directory.name}.image")
        with image.open("wb") as file:
            file.truncate(self.size)
        if _as_root("mkfs.ext4", *_IMAGE, image) and _as_root(
            "mount", "-o", "loop,noatime", image, self._below
        ):
            (self._below / "lost+found").rmdir()
            return True
        image.unlink()
        return False

    def fill(self) -> None:
        """Leave not a byte."""
        with (self._below / _BALLAST).open("ab", buffering=0) as ballast:
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
        (self._below / _BALLAST).unlink(missing_ok=True)

    async def freeze(self, seconds: float) -> bool:
        """Let everything that writes hang for so long; whether it did. Comes back when it is over."""
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", _FREEZE, "sh", str(self._below), f"{seconds:.2f}",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            # It thaws the disk although the campaign is interrupted.
            start_new_session=True,
        )  # fmt: skip
        told, _ = await process.communicate()
        return process.returncode == 0 and told.strip() == b"frozen"

    async def stop(self, seconds: float) -> bool:
        """Let everything that touches it hang for so long, reads as well; whether it did."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
            return self._server.poll() is None
        finally:
            self._server.send_signal(signal.SIGCONT)

    def hide(self, name: str) -> bool:
        """Put an empty directory over one of the tree, as if what belongs there were not mounted.

        Returns:
            Whether it is empty now.
        """
        self._aside.mkdir(exist_ok=True)
        place = self.directory / name
        return _as_root("mount", "--bind", self._aside, place) and not list(place.iterdir())

    def show(self, name: str) -> list[str]:
        """Take it away again; the paths of what was written into it meanwhile."""
        _as_root("umount", "--lazy", self.directory / name)
        written = sorted(str(path.relative_to(self._aside)) for path in self._aside.rglob("*"))
        shutil.rmtree(self._aside, ignore_errors=True)
        return written

    @property
    def _places(self) -> list[Path]:
        """Where something is mounted, the uppermost first."""
        return [self.directory] if self._server is None else [self.directory, self._below]

    def close(self) -> None:
        """Unmount it."""
        if self._unmounting is not None:
            self._unmounting.close()
        elif self.is_real:
            _as_root("umount", "--lazy", self._below)
        if self._server is not None:
            self._server.wait(_MOUNTED_WITHIN)


def _serve(below: Path, directory: Path) -> "subprocess.Popen[bytes]":
    """A bindfs that shows one directory at another.

    It is a process as a share's server is: while it stands still, whoever touches the tree waits.

    Raises:
        RuntimeError: there is none, or no FUSE.
    """
    path = shutil.which("bindfs")
    if path is None:
        raise RuntimeError("bindfs is not installed: as root, apt-get install bindfs.")
    server = subprocess.Popen(
        [path, "-f", below, directory],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A SIGINT to the campaign is not for it.
        start_new_session=True,
    )
    until = time.monotonic() + _MOUNTED_WITHIN
    while time.monotonic() < until and server.poll() is None:
        if os.path.ismount(directory):
            return server
        time.sleep(0.05)
    server.kill()
    server.wait()
    raise RuntimeError(f"bindfs does not serve {directory}: is there a /dev/fuse?")


def _as_root(program: str, *arguments: str | Path) -> bool:
    """Carry out what only root may do; whether it was done."""
    path = shutil.which(program)
    if path is None or os.geteuid() != 0:
        return False
    command = [path, *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 0
