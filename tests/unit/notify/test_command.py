"""The command after an import, as real processes."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
from asyncio.base_subprocess import BaseSubprocessTransport
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from poddispatchd.errors import DeliveryError, DeliveryRefusedError
from poddispatchd.notify import command
from poddispatchd.notify.command import HookRun, hook_environment, run_hook

SHELL = "/bin/sh"


async def run(script: str, *arguments: str, seconds: float = 30) -> HookRun:
    return await run_hook((SHELL, "-c", script, "hook", *arguments), seconds=seconds, environ=os.environ)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that a process does."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_it_gets_its_arguments_as_they_are() -> None:
    ended = await run('printf "%s|" "$@"', "5", "encoding", "12; rm -rf $HOME")

    assert ended == HookRun(0, "5|encoding|12; rm -rf $HOME|")
    assert ended.succeeded


async def test_its_failure_is_told_with_all_it_wrote() -> None:
    ended = await run("echo before; echo wrong >&2; exit 3")

    assert (ended.status, ended.output, ended.succeeded) == (3, "before\nwrong", False)


async def test_it_reads_nothing() -> None:
    assert (await run("cat; echo done")).output == "done"


async def test_it_and_all_it_started_are_killed_when_its_time_is_over(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    ended = await run(f"sleep 300 & echo $! $$ > {pids}; echo started; wait", seconds=0.5)

    assert ended.timed_out
    assert not ended.succeeded
    assert ended.output == "started"
    await until(lambda: not any(is_running(int(pid)) for pid in pids.read_text().split()))


async def test_one_that_writes_without_an_end_is_killed_long_before_its_time() -> None:
    ended = await run("trap '' TERM PIPE; yes & yes", seconds=90)

    assert ended.killed_for == "was killed: it wrote more than 16 MiB."
    assert not ended.succeeded
    assert not ended.timed_out
    assert len(ended.output) < 4100


async def test_what_it_left_behind_may_write_without_an_end_and_is_not_read() -> None:
    ended = await run("yes & exit 0", seconds=90)

    assert (ended.status, ended.killed_for) == (0, None)
    assert ended.succeeded


async def test_it_dies_with_the_daemons_stop(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    work = asyncio.create_task(run(f"echo $$ > {pid}.part; mv {pid}.part {pid}; sleep 300"))
    await until(pid.exists)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)

    assert work.cancelled()
    await until(lambda: not is_running(int(pid.read_text())))


async def test_all_of_it_dies_with_a_stop_that_comes_while_it_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs already, and asyncio has not got hold of its pipes: then it kills the first process alone."""
    pid, connect = tmp_path / "pid", BaseSubprocessTransport._connect_pipes

    async def connect_late(transport: Any, waiter: Any) -> None:  # noqa: ANN401 - they are asyncio's own
        await until(pid.exists)
        work.cancel()
        await asyncio.sleep(0)
        await connect(transport, waiter)

    monkeypatch.setattr(BaseSubprocessTransport, "_connect_pipes", connect_late)
    work = asyncio.create_task(run(f"sleep 300 & echo $! > {pid}.part; mv {pid}.part {pid}; wait"))
    async with asyncio.timeout(20):
        await asyncio.gather(work, return_exceptions=True)

    assert work.cancelled()
    await until(lambda: not is_running(int(pid.read_text())))


@asynccontextmanager
async def unkillable(monkeypatch: pytest.MonkeyPatch, written: Path) -> AsyncIterator[None]:
    """What writes its number there cannot be killed in here, as what sudo runs cannot."""

    def pid() -> int:
        return int(written.read_text())

    def refuse(_: int, __: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", refuse)
        patch.setattr(os, "killpg", refuse)
        patch.setattr(command, "_DIES_WITHIN", 0.1)
        patch.setattr(command, "_LINGER", 0.1)
        yield
    os.kill(pid(), signal.SIGKILL)
    await until(lambda: not Path(f"/proc/{pid()}").exists())


async def test_one_that_cannot_be_killed_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"

    async with unkillable(monkeypatch, pid), asyncio.timeout(10):
        ended = await run(f"echo $$ > {pid}; exec sleep 60", seconds=0.5)

    assert ended.timed_out
    assert ended.words == "took more than 0.5 s, and does not end though it was killed."


async def test_a_stop_goes_on_without_one_that_cannot_be_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    async with unkillable(monkeypatch, pid):
        task = asyncio.create_task(run(f"echo $$ > {pid}; exec sleep 60"))
        await until(lambda: pid.exists() and pid.read_text().endswith("\n"))
        await asyncio.sleep(0.5)  # it may run before asyncio is done with its start

        task.cancel()
        ended = (await asyncio.gather(task, return_exceptions=True))[0]

    assert isinstance(ended, asyncio.CancelledError)


async def test_what_it_leaves_in_the_background_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    held_open = os.open(pipe, os.O_RDWR)
    try:
        # Reading from the pipe ends when the test has ended.
        ended = await run('echo done; cat "$1" &', str(pipe))
    finally:
        os.close(held_open)

    assert ended == HookRun(0, "done", left_behind=True)


async def test_what_it_leaves_in_the_background_is_killed_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_LEFT_FOR", 0.5)
    pid = tmp_path / "pid"

    ended = await run(f"sleep 1000 & echo $! > {pid}; echo done")

    assert ended == HookRun(0, "done", left_behind=True)
    assert ended.succeeded
    await until(lambda: not is_running(int(pid.read_text())))


async def test_what_it_leaves_in_the_background_may_end_by_itself(tmp_path: Path) -> None:
    sent = tmp_path / "sent"

    ended = await run(f"(sleep 0.3; touch {sent}) < /dev/null > /dev/null 2>&1 &")

    assert ended.left_behind
    await until(sent.exists)


async def test_what_it_gives_a_session_of_its_own_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_LEFT_FOR", 0.0)
    pid = tmp_path / "pid"

    ended = await run(f"setsid sleep 1000 < /dev/null > /dev/null 2>&1 & echo $! > {pid}; sleep 0.2")

    assert ended.succeeded
    number = int(pid.read_text())
    try:
        assert is_running(number)
    finally:
        os.kill(number, signal.SIGKILL)


async def test_only_the_ends_of_a_long_output_are_kept() -> None:
    script = "import sys; sys.stdout.write('a' * 100 + 'x' * 5_000_000 + 'z' * 100)"

    ended = await run_hook((sys.executable, "-c", script), seconds=30, environ={})

    assert ended.succeeded
    assert len(ended.output) < 4100
    assert ended.output.startswith("a" * 100)
    assert ended.output.endswith("z" * 100)
    assert "[… 4996200 bytes …]" in ended.output


async def test_it_sees_none_of_our_settings_and_credentials() -> None:
    environ = {
        "PATH": os.environ["PATH"],
        "LC_ALL": "C.UTF-8",
        "PODDISPATCHD_DATABASE__DSN": "postgresql://secret",
        "CREDENTIALS_DIRECTORY": "/run/secret",
        "PGPASSWORD": "secret",
        "NOTIFY_SOCKET": "/run/secret",
        "SMTP_PASSWORD": "secret",
    }

    ended = await run_hook((SHELL, "-c", "env"), seconds=30, environ=environ)

    assert "secret" not in ended.output
    assert "LC_ALL=C.UTF-8" in ended.output
    assert hook_environment(environ).keys() == {"PATH", "LC_ALL"}


@pytest.mark.parametrize("program", ["/nonexistent/program", "/etc/passwd", "/bin/\0sh"])
async def test_a_program_that_cannot_be_started_says_so(program: str) -> None:
    with pytest.raises(DeliveryRefusedError, match="cannot be started"):
        await run_hook((program,), seconds=5, environ={})


async def test_a_system_that_has_no_process_to_spare_is_no_fault_of_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command was not run for that import any more."""

    def no_process(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", no_process)
    with pytest.raises(DeliveryError, match="cannot be started") as told:
        await run("true")
    assert not isinstance(told.value, DeliveryRefusedError)


async def test_it_needs_no_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the system gave none it had begun, nobody knew of it, and it was run again and again."""

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    said = tmp_path / "said"
    assert (await run(f"echo once >> {said}; exit 3")).status == 3
    assert said.read_text() == "once\n"
