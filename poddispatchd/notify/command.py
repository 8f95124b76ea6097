"""Commands of an administrator: no shell, none of our environment, killed when they take too long."""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TypeVarTuple, Unpack

from msgspec import Struct

from poddispatchd.errors import DeliveryError, DeliveryRefusedError

_Ts = TypeVarTuple("_Ts")

_PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR")
"""A list of what is passed on cannot let a secret through, as one of what is not could."""

_NOT_NOW = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY, errno.EIO, errno.ESTALE)
"""What a system says that has no process or descriptor to spare, and of programs that are being replaced or
whose file system is in trouble: the command is not to blame."""

_STDIN = 0
_HEAD = 2000
_TAIL = 2000
_MOST = 2**24
"""Bytes that a command may write. To read without an end costs as much of a processor as to write, and
holds up all jobs of the daemon."""

_LINGER = 1.0
"""Seconds in which output is still read after the end: something left behind may keep it open."""

_DIES_WITHIN = 10.0
"""Seconds that a killed command may take to its end. One that a file system holds, or that is another user's
by now (``sudo``), may not end at all."""

_LEFT_FOR = 10.0
"""Seconds after the end for which what is left behind may go on: mail programs hand their mail over there.
Then it is killed, as systemd does it: one more with each import would fill what a unit may have."""

_LOOK_EVERY = 0.25


class HookRun(Struct, frozen=True):
    """How a command ended: its exit status (negative: the signal that ended it) and its output, cut.

    ``killed_for`` is why we have killed it, in words; None if it ended by itself. ``timed_out``: it took too
    long. ``left_behind``: processes of its group were still there when it had ended.
    """

    status: int
    output: str
    killed_for: str | None = None
    timed_out: bool = False
    left_behind: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether it said so."""
        return self.status == 0 and self.killed_for is None

    @property
    def words(self) -> str:
        """How it ended, as a sentence without its name."""
        return f"ended with status {self.status}." if self.killed_for is None else self.killed_for


class _Output(asyncio.SubprocessProtocol):
    """The beginning and the end of what a command writes; the middle is not kept."""

    def __init__(self) -> None:
        self.exited = asyncio.Event()
        self.closed = asyncio.Event()
        self.is_too_much = False
        self.left_behind = False
        """Whether anything of its group was there when it had ended: its number is no other one's then."""
        self._transport: asyncio.SubprocessTransport | None = None
        self._head = b""
        self._tail = b""
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)  # noqa: S101 - it is that of a command
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._size += len(data)
        if self._size > _MOST and self._transport is not None:
            if self._transport.get_returncode() is None:
                self.is_too_much = True
                _kill_group(self._transport.get_pid())
            # Whatever it has left behind may go on writing: it is read no more.
            if (pipe := self._transport.get_pipe_transport(fd)) is not None:
                pipe.close()
        room = _HEAD - len(self._head)
        self._head += data[: max(0, room)]
        self._tail = (self._tail + data[max(0, room) :])[-_TAIL:]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - how is all one
        if fd != _STDIN:
            self.closed.set()

    def process_exited(self) -> None:
        assert self._transport is not None  # noqa: S101 - a process that has ended was begun
        self.left_behind = _is_group(self._transport.get_pid())
        self.exited.set()

    def text(self) -> str:
        cut = self._size - len(self._head) - len(self._tail)
        middle = f"\n[… {cut} bytes …]\n".encode() if cut > 0 else b""
        return (self._head + middle + self._tail).decode("utf-8", "replace").strip()


def hook_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a command sees of our environment: no setting, no credential, nothing of systemd's."""
    return {name: value for name, value in environ.items() if name in _PASSED_ON or name.startswith("LC_")}


async def run_hook(
    command: Sequence[str], *, seconds: float, environ: Mapping[str, str], given: bytes | None = None
) -> HookRun:
    """Run a command in a process group of its own; the whole group is killed when its time is over.

    So it is when it writes without an end. Cancelling kills it too. What it leaves behind when it ends has
    some seconds more, and nobody waits for that; what is to go on for longer needs a session of its own
    (``setsid``).

    Args:
        command: a program and its arguments.
        seconds: how long it may take.
        environ: of which the likes of ``PATH`` are passed on.
        given: what it can read; None: nothing.

    Raises:
        DeliveryRefusedError: it cannot be started.
        DeliveryError: it cannot be started now.
    """
    _watch_without_threads()
    loop = asyncio.get_running_loop()
    starting = asyncio.ensure_future(
        loop.subprocess_exec(
            _Output,
            *command,
            stdin=asyncio.subprocess.DEVNULL if given is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=hook_environment(environ),
            cwd="/",
            # A group of its own: what it starts is killed with it, and no signal of a terminal reaches it.
            start_new_session=True,
        )
    )
    try:
        transport, output = await asyncio.shield(starting)
    except asyncio.CancelledError:
        # Half started, asyncio would kill it alone, and then wait for as long as what it has started lives.
        with suppress(OSError, ValueError):
            transport, output = await starting
            await _end(transport, output)
        raise
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
        kind = DeliveryError if getattr(error, "errno", None) in _NOT_NOW else DeliveryRefusedError
        raise kind(f"{command[0]} cannot be started: {words}.") from error
    killed_for, timed_out = None, False
    try:
        if given is not None and (pipe := transport.get_pipe_transport(0)) is not None:
            # One that does not read it may end all the same: a broken pipe is no failure.
            assert isinstance(pipe, asyncio.WriteTransport)  # noqa: S101 - the first pipe is written to
            pipe.write(given)
            # A command that reads until the end of its input would else wait for ever.
            pipe.close()
        try:
            async with asyncio.timeout(seconds):
                await output.exited.wait()
        except TimeoutError:
            killed_for, timed_out = f"was killed after {seconds:g} s.", True
            if not await _killed(transport, output, _DIES_WITHIN):
                killed_for = f"took more than {seconds:g} s, and does not end though it was killed."
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                await output.closed.wait()
    finally:
        await _end(transport, output)
    status = transport.get_returncode()
    if output.is_too_much and killed_for is None:
        killed_for = f"was killed: it wrote more than {_MOST // 2**20} MiB."
    left_behind = output.left_behind and killed_for is None
    return HookRun(-1 if status is None else status, output.text(), killed_for, timed_out, left_behind)


if sys.version_info < (3, 12):

    class _Watcher(asyncio.PidfdChildWatcher):
        """Watches the children of whichever event loop runs."""

        _of: asyncio.AbstractEventLoop | None = None

        def is_active(self) -> bool:
            return True

        def attach_loop(self, loop: asyncio.AbstractEventLoop | None) -> None:
            super().attach_loop(loop)
            self._of = loop

        def add_child_handler(
            self, pid: int, callback: Callable[[int, int, Unpack[_Ts]], object], *args: *_Ts
        ) -> None:
            if self._of is not (loop := asyncio.get_running_loop()):
                self.attach_loop(loop)
            super().add_child_handler(pid, callback, *args)


def _watch_without_threads() -> None:
    """Have the ends of commands be noticed at descriptors, as later Pythons do by themselves.

    Python 3.11 begins a thread for each, when the command runs already: where the system gives none, nobody
    knows of the command any more, and it would be run again.
    """
    if sys.version_info >= (3, 12) or isinstance(asyncio.get_child_watcher(), _Watcher):
        return
    with suppress(OSError, AttributeError):  # an old kernel, or a filter of system calls
        os.close(os.pidfd_open(os.getpid()))
        asyncio.set_child_watcher(_Watcher())


def _end_group(pid: int, at: float) -> None:
    """Kill what is left of a group at a time of the event loop; one that was gone is left alone for good."""
    loop = asyncio.get_running_loop()
    if not _is_group(pid):
        return
    if loop.time() >= at:
        _kill_group(pid)
    else:
        loop.call_later(_LOOK_EVERY, _end_group, pid, at)


def _is_group(pid: int) -> bool:
    """Whether there is a process of this group."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # there is one, and it is not ours
        return True
    return True


async def _end(transport: asyncio.SubprocessTransport, output: _Output) -> None:
    """Let go of a command: kill its group if it still runs, or somewhat later if something is left of it."""
    if transport.get_returncode() is None:
        await _killed(transport, output, _LINGER)
    elif output.left_behind:
        _end_group(transport.get_pid(), asyncio.get_running_loop().time() + _LEFT_FOR)
    with suppress(PermissionError):  # it kills what still runs, and that may be another user's
        transport.close()


async def _killed(transport: asyncio.SubprocessTransport, output: _Output, within: float) -> bool:
    """Kill the group of a command; whether it has ended then, so many seconds later at most."""
    _kill_group(transport.get_pid())
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            await output.exited.wait()
    return output.exited.is_set()


def _kill_group(pid: int) -> None:
    # It leads its own session, so that its number is that of its group.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
