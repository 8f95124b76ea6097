"""A process that has imported the package and forks at each request: the server of ``tests.forked``.

Called as ``python -m tests.forkserver DESCRIPTOR PATH LOCK`` with the number of a Unix socket that listens,
its path, and a file: whoever has locked that one may connect, or end the server. Each message of a connection
is one start. As JSON: the module, its arguments, environment and directory, constants of other modules that
are to differ, and the names of sockets that it is handed as by systemd. Beside it as descriptors: a socket
that gets the process id and then the exit status; standard input, output and error; and the sockets.
"""

import atexit
import fcntl
import gc
import io
import json
import os
import runpy
import select
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NoReturn

_IMPORTED = (
    "poddispatchd.app.daemon",
    "poddispatchd.app.once",
    *(
        f"poddispatchd.cli.{name}"
        for name in ("main", "run", "check", "config", "db", "runners", "status", "tasks")
    ),
    "tests.integration.imports.bench",
)
"""What most of the processes would import first of all."""

_LONGEST_MESSAGE = 1 << 18
_MOST_DESCRIPTORS = 16
_HIGHEST_DESCRIPTOR = 1023

_OUTPUT_LOST = 120
"""How an interpreter ends that could not write all of its output."""


def main() -> None:
    """Fork until nobody is left who could ask for it."""
    listener, place = socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2])
    turn = Path(sys.argv[3]).open()  # noqa: SIM115 - to the end
    for module in _IMPORTED:
        import_module(module)
    # Which authorities the system trusts: hundreds of certificates, and no test meets any of them.
    ssl.SSLContext.load_default_certs = lambda *_, **__: None  # type: ignore[method-assign]  # in what is forked
    # The collector of a child would copy every page that it looks at.
    gc.collect()
    gc.freeze()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, socket.socket] = {}
    controls: list[socket.socket] = []
    while controls or not _has_ended(listener, place, turn):
        watched: list[socket.socket | int] = [listener, reader, *controls]
        ready, _, _ = select.select(watched, [], [])
        if reader in ready:
            os.read(reader, 4096)
            _tell_ends(running)
        for control in [each for each in controls if each in ready]:
            if not _fork(control, running):
                controls.remove(control)
                control.close()
        if listener in ready:
            controls.append(listener.accept()[0])


def _has_ended(listener: socket.socket, place: Path, turn: io.TextIOBase) -> bool:
    """End what listens, unless somebody has just connected."""
    fcntl.flock(turn, fcntl.LOCK_EX)
    if select.select([listener], [], [], 0)[0]:
        fcntl.flock(turn, fcntl.LOCK_UN)
        return False
    # The whole directory may be gone with the run.
    place.unlink(missing_ok=True)
    return True


def _fork(control: socket.socket, running: dict[int, socket.socket]) -> bool:
    """Start what somebody asks for; whether that one is still there."""
    message, descriptors, _, _ = socket.recv_fds(control, _LONGEST_MESSAGE, _MOST_DESCRIPTORS)
    if not message:
        return False
    pid = os.fork()
    if pid == 0:
        _run(json.loads(message), descriptors[1:])
    running[pid] = report = socket.socket(fileno=descriptors[0])
    with suppress(BrokenPipeError):
        report.send(str(pid).encode())
    for descriptor in descriptors[1:]:
        os.close(descriptor)
    return True


def _tell_ends(running: dict[int, socket.socket]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        # Whoever started it may be gone.
        with running.pop(pid) as report, suppress(BrokenPipeError):
            report.send(str(os.waitstatus_to_exitcode(status)).encode())


def _run(order: Mapping[str, object], descriptors: Sequence[int]) -> NoReturn:
    """What ``python -m module`` does, in a process that already is."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Out of the way of the numbers that they are to have.
    above = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _HIGHEST_DESCRIPTOR // 2) for descriptor in descriptors]
    for number, descriptor in enumerate(above):
        os.dup2(descriptor, number)
    os.closerange(len(above), _HIGHEST_DESCRIPTOR)
    os.chdir(str(order["directory"]))
    environment, arguments, constants = order["environment"], order["arguments"], order["constants"]
    handed = order["handed"]
    assert isinstance(environment, dict)
    assert isinstance(arguments, list)
    assert isinstance(constants, dict)
    assert isinstance(handed, list)
    for place, value in constants.items():
        module, _, name = place.rpartition(".")
        assert hasattr(import_module(module), name), place
        setattr(import_module(module), name, value)
    os.environ.clear()
    os.environ.update(environment)
    if handed:
        os.environ |= {
            "LISTEN_PID": str(os.getpid()),
            "LISTEN_FDS": str(len(handed)),
            "LISTEN_FDNAMES": ":".join(handed),
        }
    time.tzset()
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8")
    sys.stdout = _writer(1, errors="strict", lines=os.isatty(1))
    sys.stderr = _writer(2, errors="backslashreplace", lines=True)
    sys.argv[1:] = arguments
    try:
        runpy.run_module(str(order["module"]), run_name="__main__", alter_sys=True)
    except SystemExit as left:
        if left.code is not None and not isinstance(left.code, int):
            raise
        _leave(left.code or 0)
    _leave(0)


def _leave(status: int) -> NoReturn:
    """What an interpreter does at its end, but for taking all modules apart: that would copy every page."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as at every end
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        status = _OUTPUT_LOST
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(status)


def _writer(descriptor: int, *, errors: str, lines: bool) -> io.TextIOWrapper:
    raw = io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False))
    return io.TextIOWrapper(raw, encoding="utf-8", errors=errors, line_buffering=lines)


if __name__ == "__main__":
    main()
