"""Python processes that are forked from one that has imported the package: a start costs milliseconds.

A fresh interpreter computes for a second before it knows the whole package; the tests start hundreds. What
is forked has arguments, environment, directory, standard streams, signals and an exit status of its own, as
``asyncio.create_subprocess_exec`` gives them. What is about the start itself starts a fresh interpreter.
"""

import asyncio
import fcntl
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_ROOT = Path(__file__).parents[1]

_shared: list[Path] = []
"""The directory of this run, the last one."""


def share(directory: Path) -> None:
    """Have the processes of all workers forked from the same servers, which they find in a directory."""
    _shared.append(directory)


@dataclass(slots=True)
class ForkServer:
    """What processes are forked from; it is started by the first worker of a run that wants one.

    It ends when the last worker has let go of it.
    """

    preload: str = ""
    """A library that is loaded before all others, into the server and what it forks."""
    _server: "subprocess.Popen[bytes] | None" = None
    _control: socket.socket | None = None

    def ask(self, order: Mapping[str, object], descriptors: list[int]) -> None:
        """Let a process be forked."""
        if self._control is None:
            self._control = self._connected()
        socket.send_fds(self._control, [json.dumps(order).encode()], descriptors)

    def _connected(self) -> socket.socket:
        control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        place = _shared[-1] / f"forks.{hashlib.sha256(self.preload.encode()).hexdigest()[:8]}"
        with place.with_suffix(f"{place.suffix}.lock").open("w") as turn:
            # The server takes its turn, too, before it ends.
            fcntl.flock(turn, fcntl.LOCK_EX)
            try:
                control.connect(str(place))
            except (FileNotFoundError, ConnectionRefusedError):
                self._start(place, turn.name)
                control.connect(str(place))
        return control

    def _start(self, place: Path, turn: str) -> None:
        place.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(place))
            listener.listen(64)
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.forkserver", str(listener.fileno()), str(place), turn],
                pass_fds=[listener.fileno()],
                cwd=_ROOT,
                env={**os.environ, "LD_PRELOAD": self.preload},
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def stop(self) -> None:
        """Let go of the server. Processes that still run go on."""
        if self._control is not None:
            self._control.close()
        if self._server is not None:
            self._server.wait()
        self._control = self._server = None


_servers: dict[str, ForkServer] = {}
"""Those of this process, by the library that is loaded before all others."""


def stop_servers() -> None:
    """Let go of all of them."""
    while _servers:
        _servers.popitem()[1].stop()


@dataclass(slots=True)
class ForkedProcess:
    """Looks like an ``asyncio.subprocess.Process``."""

    pid: int
    stdin: asyncio.StreamWriter | None
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader | None
    returncode: int | None = None
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _watcher: "asyncio.Task[None] | None" = None

    async def _watch(self, report: socket.socket) -> None:
        with report:
            said = await asyncio.get_running_loop().sock_recv(report, 64)
        # Nothing comes of a server that is gone.
        self.returncode = int(said or b"255")
        self._ended.set()

    async def wait(self) -> int:
        """Wait for its end: the exit status, or the negative number of a signal."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    async def communicate(self, said: bytes = b"") -> tuple[bytes, bytes]:
        """Give it its input and wait for its end; all that it wrote to standard output and error."""
        if self.stdin is not None:
            self.stdin.write(said)
            self.stdin.close()
        texts = await asyncio.gather(
            *(stream.read() for stream in (self.stdout, self.stderr) if stream is not None)
        )
        await self.wait()
        return texts[0], texts[1] if self.stderr is not None else b""


async def fork(
    module: str,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    constants: Mapping[str, float] | None = None,
    handed: Mapping[str, int] | None = None,
    writes: bool = False,
    apart: bool = False,
) -> ForkedProcess:
    """Run a module as ``python -m`` does, in the directory of the repository.

    Args:
        module: the module.
        arguments: its arguments.
        env: its whole environment; that of the tests when None. What ``LD_PRELOAD`` names is there from the
            start, as it would be in an interpreter of its own.
        constants: seconds that a test has not got, by dotted names; what follows from them is as always.
        handed: listening sockets by their names, which it gets as systemd hands them over.
        writes: whether it gets a standard input; else that is empty.
        apart: whether standard error is a stream of its own; else it goes to standard output.
    """
    report, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    report.setblocking(False)
    in_reader, in_writer = os.pipe() if writes else (os.open(os.devnull, os.O_RDONLY), None)
    out_reader, out_writer = os.pipe()
    error_reader, error_writer = os.pipe() if apart else (None, out_writer)
    environment = dict(os.environ if env is None else env)
    preload = environment.get("LD_PRELOAD", "")
    server = _servers.setdefault(preload, ForkServer(preload))
    order = {
        "module": module,
        "arguments": arguments,
        "environment": environment,
        "directory": str(_ROOT),
        "constants": dict(constants or {}),
        "handed": list(handed or ()),
    }
    given = [in_reader, out_writer, error_writer]
    with theirs:
        server.ask(order, [theirs.fileno(), *given, *(handed or {}).values()])
    for descriptor in {*given}:
        os.close(descriptor)
    pid = int(await asyncio.get_running_loop().sock_recv(report, 64))
    process = ForkedProcess(
        pid,
        None if in_writer is None else await _writer(in_writer),
        await _reader(out_reader),
        None if error_reader is None else await _reader(error_reader),
    )
    process._watcher = asyncio.create_task(process._watch(report))
    return process


async def _reader(descriptor: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
    )
    return reader


async def _writer(descriptor: int) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.streams.FlowControlMixin(loop), os.fdopen(descriptor, "wb", 0)
    )
    return asyncio.StreamWriter(transport, protocol, None, loop)
