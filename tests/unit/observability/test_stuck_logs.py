"""A log that nobody reads holds up nothing: the event loop writes its lines itself (I11, I12)."""

import io
import json
import os
import pty
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

import pytest
import structlog

from poddispatchd.config.model import LogSettings
from poddispatchd.observability.events import Event
from poddispatchd.observability.log_wait import LogWait
from poddispatchd.observability.logs import configure_logging
from tests.unit.observability.test_journald import Journal

_LINES = 2000
"""Many more than fit into a pipe, or into the queue of a socket."""


class Pipe(NamedTuple):
    """Standard error, as its reader sees it."""

    reader: int
    stream: TextIO

    def read(self) -> str:
        """All that can be read at once."""
        pieces = []
        while True:
            try:
                piece = os.read(self.reader, 2**20)
            except BlockingIOError:
                break
            if not piece:
                break
            pieces.append(piece)
        return b"".join(pieces).decode()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with open(writer, "w", encoding="utf-8", closefd=False) as stream:
        yield Pipe(reader, stream)
        configure_logging(LogSettings(), environ={}, stream=io.StringIO())
        os.close(reader)
    os.close(writer)


@pytest.fixture
def log() -> structlog.stdlib.BoundLogger:
    return structlog.stdlib.get_logger("poddispatchd.test")


@pytest.mark.parametrize(
    ("lines", "words"), [(_LINES, "short"), (50, "long " * 3000)], ids=["short ones", "long ones"]
)
def test_a_pipe_that_nobody_reads_costs_a_moment_once_and_what_was_lost_is_told(
    pipe: Pipe, log: structlog.stdlib.BoundLogger, lines: int, words: str
) -> None:
    """The first line that did not fit stopped the whole daemon, until systemd killed it."""
    configure_logging(LogSettings(format="json"), environ={}, stream=pipe.stream)

    begun = time.monotonic()
    for number in range(lines):
        log.info(Event.DAEMON_READY, number=number, words=words)
    assert time.monotonic() - begun < 60

    kept = pipe.read()
    log.info(Event.DAEMON_STOPPED)
    taken = (kept + pipe.read()).splitlines()
    lost = lines - sum(line.endswith("}") for line in kept.splitlines())
    assert 0 < lost < lines
    # One that was cut off is nobody's beginning.
    assert json.loads(taken[-2])["event"] == "daemon.stopped"
    assert f"{lost} lines could not be logged" in taken[-1]
    log.info(Event.DAEMON_STOPPED)
    assert len(pipe.read().splitlines()) == 1


@pytest.fixture
def terminal() -> Iterator[Pipe]:
    reader, writer = pty.openpty()
    os.set_blocking(reader, False)
    with open(writer, "w", encoding="utf-8", closefd=False) as stream:
        yield Pipe(reader, stream)
        configure_logging(LogSettings(), environ={}, stream=io.StringIO())
    os.close(writer)
    os.close(reader)


def test_a_terminal_that_is_halted_stops_nobody(terminal: Pipe, log: structlog.stdlib.BoundLogger) -> None:
    """It has room, says the kernel, for a few bytes; whoever writes more of them waits until it goes on."""
    configure_logging(LogSettings(format="json"), environ={}, stream=terminal.stream)

    for number in range(_LINES // 10):
        log.info(Event.DAEMON_READY, number=number, words="long " * 50)

    assert '"number": 0' in terminal.read()
    log.info(Event.DAEMON_STOPPED)
    assert "lines could not be logged" in terminal.read()
    assert os.get_blocking(terminal.stream.fileno())


def test_a_slow_reader_holds_up_the_daemon_for_a_fiftieth_of_the_time() -> None:
    """Each line waited anew, because the one before it had been taken at last: it was as slow as he."""
    now = waited = 0.0
    wait = LogWait(lambda: now)

    for _ in range(1000):
        seconds = min(wait.begin(), 0.15)
        waited += seconds
        now += seconds
        wait.end(is_taken=seconds == 0.15)
        now += 0.1  # until the next line
        if seconds < 0.15:
            wait.begin()
            wait.end(is_taken=True)  # one that had not to wait

    assert 0 < waited < 0.2 + now / 50


def test_what_a_full_disk_did_not_take_is_told_when_it_takes_something(
    tmp_path: Path, log: structlog.stdlib.BoundLogger
) -> None:
    """And the beginning of a line that it took is nobody else's."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with (tmp_path / "log").open("w", encoding="utf-8") as stream:
        configure_logging(LogSettings(format="json"), environ={}, stream=stream)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            for number in range(20):
                log.info(Event.DAEMON_READY, number=number)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        log.info(Event.DAEMON_STOPPED)
        configure_logging(LogSettings(), environ={}, stream=io.StringIO())

    *whole, cut, stopped, told = (tmp_path / "log").read_text().splitlines()
    assert [json.loads(line)["number"] for line in whole] == list(range(len(whole)))
    assert not cut.endswith("}")
    assert json.loads(stopped)["event"] == "daemon.stopped"
    assert f"{20 - len(whole)} lines could not be logged" in told


def test_a_journal_that_hangs_costs_a_moment_once_and_gets_its_lines_when_it_works_again(
    pipe: Pipe, log: structlog.stdlib.BoundLogger, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "socket")
    status = os.fstat(pipe.stream.fileno())
    environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    configure_logging(LogSettings(), environ=environ, stream=pipe.stream, journal=journal.path)

    with journal.socket:
        begun = time.monotonic()
        for number in range(_LINES):
            log.info(Event.TASK_SUBMITTED, task=number)
        assert time.monotonic() - begun < 60
        found = []
        while journal.has_entries():
            found.append(journal.entry()["POD_TASK_ID"])
        assert found == [str(number) for number in range(len(found))]
        log.info(Event.DAEMON_STOPPED)
        assert journal.entry()["EVENT"] == "daemon.stopped"
        assert "lines could not be logged" in journal.entry()["MESSAGE"]


def test_a_reload_waits_for_the_line_that_a_thread_writes(
    pipe: Pipe, log: structlog.stdlib.BoundLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread went on with the number of a closed descriptor: that of the next file or connection."""
    configure_logging(LogSettings(format="json"), environ={}, stream=pipe.stream)
    writes, goes_on = threading.Event(), threading.Event()
    order: list[str] = []
    write, close = os.write, os.close

    def slow_write(number: int, data: bytes) -> int:
        writes.set()
        goes_on.wait()
        order.append("written")
        return write(number, data)

    def noted_close(number: int) -> None:
        order.append("closed")
        close(number)

    writer = threading.Thread(target=log.warning, args=(Event.DAEMON_STARTED,))
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", slow_write)
        patched.setattr(os, "close", noted_close)
        writer.start()
        writes.wait()
        reloading = threading.Thread(target=configure_logging, args=(LogSettings(),), kwargs={"environ": {}})
        reloading.start()
        reloading.join(0.2)  # as far as it comes
        goes_on.set()
        writer.join()
        reloading.join()
    assert order == ["written", "closed"]
