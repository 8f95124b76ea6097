"""What the journal gets: a datagram socket stands in its place."""

import logging
import os
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest
import structlog

from poddispatchd.config.model import LogSettings
from poddispatchd.domain.secret import SecretStr
from poddispatchd.observability.catalog import message_id
from poddispatchd.observability.events import Event
from poddispatchd.observability.journald import JournalSocket
from poddispatchd.observability.logs import configure_logging, register_secret


class Journal:
    """A journal that keeps what it gets."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(5)

    def has_entries(self) -> bool:
        """Whether there are some that have not been read."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def entry(self) -> dict[str, str]:
        """The next entry, read as the protocol says."""
        data, found = self.socket.recv(2**20), {}
        while data:
            line, _, data = data.partition(b"\n")
            name, equals, value = line.partition(b"=")
            if not equals:
                (length,) = struct.unpack("<Q", data[:8])
                value, data = data[8 : 8 + length], data[9 + length :]
            found[name.decode()] = value.decode()
        return found


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "socket")
    with journal.socket:
        yield journal


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[TextIO]:
    """The standard error that systemd has given us."""
    with (tmp_path / "stderr").open("w+") as stream:
        yield stream


@pytest.fixture
def log(journal: Journal, stream: TextIO) -> Iterator[structlog.stdlib.BoundLogger]:
    configure(stream, journal.path)
    yield structlog.stdlib.get_logger("poddispatchd.test")
    configure_logging(LogSettings(), environ={}, stream=stream)


def configure(stream: TextIO, journal: Path) -> None:
    logging.getLogger().handlers[:] = []
    status = os.fstat(stream.fileno())
    environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    assert configure_logging(LogSettings(), environ=environ, stream=stream, journal=journal) == "journald"


def written(stream: TextIO) -> str:
    stream.seek(0)
    return stream.read()


def test_a_line_has_fields_by_which_it_is_found(
    journal: Journal, stream: TextIO, log: structlog.stdlib.BoundLogger
) -> None:
    log.warning(Event.TASK_FAILED, task=42, video=7, runner_manager="the first", reason="no disk")

    assert journal.entry() == {
        "MESSAGE": 'task.failed task=42 video=7 runner_manager="the first" reason="no disk"'
        " logger=poddispatchd.test",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "poddispatchd",
        "EVENT": "task.failed",
        "MESSAGE_ID": message_id("task.failed"),
        "POD_TASK_ID": "42",
        "VIDEO_ID": "7",
        "RUNNER_MANAGER": "the first",
        "LOGGER": "poddispatchd.test",
    }
    assert written(stream) == ""


def test_a_line_of_a_library_has_no_event(journal: Journal, log: structlog.stdlib.BoundLogger) -> None:
    logging.getLogger("aiohttp").warning("task.failed\nis what %s says", "a peer")
    log.info(Event.DAEMON_STOPPED)

    entry = journal.entry()
    assert (entry["LOGGER"], "EVENT" in entry, "MESSAGE_ID" in entry) == ("aiohttp", False, False)
    # The fields of one line are never those of the one before.
    assert "RUNNER_MANAGER" not in journal.entry()


def test_no_secret_is_in_any_field(journal: Journal, log: structlog.stdlib.BoundLogger) -> None:
    register_secret(SecretStr("s3cret-token-of-it"))
    log.info(Event.RUNNER_MANAGER_UP, runner_manager="x s3cret-token-of-it", words="s3cret-token-of-it")

    assert "s3cret-token-of-it" not in " ".join(journal.entry().values())


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[31mred", "MESSAGE=forged\nPRIORITY=0"])
def test_a_name_of_others_makes_no_field_and_no_line(
    journal: Journal, log: structlog.stdlib.BoundLogger, name: str
) -> None:
    log.info(Event.RUNNER_MANAGER_UP, runner_manager=name)

    entry = journal.entry()
    assert (entry["PRIORITY"], entry["EVENT"]) == ("6", "runner_manager.up")
    assert "\n" not in entry["RUNNER_MANAGER"]
    assert "\x1b" not in "".join(entry.values())


def test_without_a_journal_the_line_is_on_standard_error(tmp_path: Path, stream: TextIO) -> None:
    configure(stream, tmp_path / "nowhere")

    structlog.stdlib.get_logger("poddispatchd.test").error(Event.TASK_FAILED, task=42)

    assert written(stream) == "<3>task.failed task=42 logger=poddispatchd.test\n"


def test_a_journal_that_was_restarted_gets_the_next_line(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    first = Journal(path)
    sender = JournalSocket(path)
    assert sender.send("one", 6, {})
    first.socket.close()
    path.unlink()
    assert not sender.send("lost", 6, {})
    second = Journal(path)

    assert sender.send("two", 6, {})

    assert second.entry()["MESSAGE"] == "two"
    second.socket.close()
    sender.close()


def test_a_stream_that_is_not_the_journals_is_written_to(journal: Journal, stream: TextIO) -> None:
    configure_logging(
        LogSettings(format="journald"), environ={"JOURNAL_STREAM": "1:2"}, stream=stream, journal=journal.path
    )

    structlog.stdlib.get_logger("poddispatchd.test").info(Event.DAEMON_STOPPED)

    assert written(stream).startswith("<6>daemon.stopped")
