import asyncio
import io
import json
import linecache
import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog

from poddispatchd.config.model import LogSettings
from poddispatchd.domain.secret import SecretStr
from poddispatchd.observability.events import Event
from poddispatchd.observability.logs import choose_format, configure_logging, register_secret

Lines = Callable[[], list[str]]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def configured(log_format: str, level: str = "info", stream: io.StringIO | None = None) -> Lines:
    target = stream or io.StringIO()
    logging.getLogger().handlers[:] = []
    configure_logging(LogSettings.read({"format": log_format, "level": level}), environ={}, stream=target)
    return lambda: target.getvalue().splitlines()


def logger() -> structlog.stdlib.BoundLogger:
    return structlog.stdlib.get_logger("poddispatchd.test")


def fail(error: Exception) -> None:
    raise error


# --- formats ---


def test_json_is_one_object_a_line_with_the_utc_time() -> None:
    lines = configured("json")

    logger().info(Event.TASK_SUBMITTED, task=12, words="été\nfini", at=datetime(2026, 1, 2, tzinfo=UTC))

    (line,) = lines()
    found = json.loads(line)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:.]+Z", found.pop("timestamp"))
    assert found == {
        "event": "task.submitted",
        "task": 12,
        "words": "été\nfini",
        "at": "2026-01-02 00:00:00+00:00",
        "level": "info",
        "logger": "poddispatchd.test",
    }


@pytest.mark.parametrize("encoding", ["utf-8", "iso-8859-15", "ascii"])
def test_json_is_read_whatever_encoding_the_stream_has(encoding: str, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w", encoding=encoding) as stream:
        configure_logging(LogSettings.read({"format": "json"}), environ={}, stream=stream)
        logger().info(Event.TASK_SUBMITTED, words="Université 🎥\x7f")

    assert json.loads((tmp_path / "log").read_bytes().decode())["words"] == "Université 🎥\x7f"


@pytest.mark.parametrize(
    ("method", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2)]
)
def test_journald_lines_begin_with_their_priority_and_carry_no_time(method: str, priority: int) -> None:
    lines = configured("journald", level="debug")

    getattr(logger(), method)(Event.TASK_FAILED, task=12)

    assert lines() == [f"<{priority}>task.failed task=12 logger=poddispatchd.test"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "v=plain"),
        ("two words", 'v="two words"'),
        ('say "x"', 'v="say \\"x\\""'),
        ("a=b", 'v="a=b"'),
        ("", 'v=""'),
        ("line\nbreak\r\x1b[31m\u2028\x85", 'v="line\\nbreak\\r\\u001b[31m\\u2028\\u0085"'),
        (None, "v=null"),
        (True, "v=true"),
        (1.5, "v=1.5"),
        (float("nan"), "v=nan"),
        (["a", 1], 'v="[\\"a\\", 1]"'),
        (Path("/srv/media"), "v=/srv/media"),
    ],
)
def test_a_journald_value_stays_on_its_line(value: object, written: str) -> None:
    lines = configured("journald")

    logger().info(Event.RANKS_WRITTEN, v=value)

    assert lines() == [f"<6>ranks.written v={written[2:]} logger=poddispatchd.test"]


def test_an_event_and_a_key_cannot_break_the_line_either() -> None:
    lines = configured("journald")

    logger().info("a\n<0>fake", **{"key with\nblank": 1})

    assert lines() == ["<6>a\\n<0>fake key_with_blank=1 logger=poddispatchd.test"]


def test_a_traceback_is_one_line_of_the_journal_and_comes_last() -> None:
    lines = configured("journald")

    try:
        fail(ValueError("it broke"))
    except ValueError:
        logger().exception(Event.SERVICE_CRASHED, service="importer")

    (line,) = lines()
    assert line.startswith(
        '<3>service.crashed service=importer logger=poddispatchd.test exception="Traceback'
    )
    assert line.endswith('ValueError: it broke"')


def test_of_the_sources_that_a_traceback_quotes_nothing_is_kept() -> None:
    lines = configured("json")

    try:
        fail(ValueError("it broke"))
    except ValueError:
        logger().exception(Event.SERVICE_CRASHED, service="importer")

    (line,) = lines()
    assert "raise error" in line
    assert not linecache.cache


def test_a_very_long_value_is_cut_before_journald_cuts_the_line() -> None:
    lines = configured("journald")

    logger().info(Event.TASK_FAILED, words="x" * 100_000 + " the end")

    (line,) = lines()
    assert len(line) < 20_000
    assert "84008 more" in line
    assert "the end" in line


def test_the_console_is_readable_and_never_pretty_prints_local_variables() -> None:
    lines = configured("console")
    hidden = "local" + "-variable"

    try:
        fail(ValueError(len(hidden)))
    except ValueError:
        logger().exception(Event.SERVICE_CRASHED, service="importer")

    text = "\n".join(lines())
    assert "service.crashed" in text
    assert "service=importer" in text
    assert "ValueError: 14" in text
    assert "local-variable" not in text
    assert "╭" not in text


def test_colours_are_for_terminals() -> None:
    terminal = Terminal()
    on_terminal, in_file = configured("console", stream=terminal), None
    logger().info(Event.DAEMON_READY)
    assert "\x1b[" in "".join(on_terminal())

    in_file = configured("console")
    logger().info(Event.DAEMON_READY)
    assert "\x1b[" not in "".join(in_file())


# --- auto ---


def test_auto_is_journald_when_systemd_reads_this_very_stream(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream, (tmp_path / "other").open("w") as other:
        status = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}

        assert choose_format("auto", environ=environ, stream=stream) == "journald"
        assert choose_format("auto", environ=environ, stream=other) == "json"
        assert choose_format("json", environ=environ, stream=stream) == "json"


def test_auto_is_console_on_a_terminal_and_json_elsewhere() -> None:
    assert choose_format("auto", environ={}, stream=Terminal()) == "console"
    assert choose_format("auto", environ={}, stream=io.StringIO()) == "json"
    assert choose_format("auto", environ={"JOURNAL_STREAM": "nonsense"}, stream=io.StringIO()) == "json"


# --- libraries, levels ---


def test_lines_of_libraries_come_out_the_same_way() -> None:
    lines = configured("journald")

    logging.getLogger("aiohttp.server").error("Unhandled %s", "thing", extra={"peer": "10.0.0.1"})

    assert lines() == ["<3>Unhandled thing peer=10.0.0.1 logger=aiohttp.server"]


def test_what_another_handler_leaves_on_a_record_is_not_logged() -> None:
    lines = configured("journald")
    ours = logging.getLogger().handlers.pop()
    other = logging.StreamHandler(io.StringIO())
    other.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.getLogger().handlers[:] = [other, ours]

    logging.getLogger("asyncpg").error("gone")

    assert lines() == ["<3>gone logger=asyncpg"]


def test_errors_of_the_event_loop_come_out_with_their_traceback_on_one_line() -> None:
    lines = configured("journald")
    loop = asyncio.new_event_loop()
    try:
        loop.call_exception_handler({"message": "Task failed", "exception": ValueError("it broke")})
    finally:
        loop.close()

    (line,) = lines()
    assert line.startswith("<3>Task failed logger=asyncio exception=")


async def test_a_connection_that_ends_while_it_is_being_made_is_told_by_our_own_event_alone() -> None:
    """asyncpg leaves its exception unread, and the event loop told it as an error in the fault campaign."""
    lines = configured("json")
    loop = asyncio.get_running_loop()
    for words in ("unexpected connection_lost() call", "something else"):
        loop.call_exception_handler(
            {"message": "Future exception was never retrieved", "exception": ConnectionError(words)}
        )
    [line] = lines()
    assert "something else" in json.loads(line)["exception"]


def test_warnings_are_logged() -> None:
    lines = configured("journald")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old thing", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)

    (line,) = lines()
    assert line.startswith("<4>python.warned ")
    assert "old thing" in line


def test_the_level_holds_for_everybody_and_can_be_changed_while_running() -> None:
    lines = configured("journald", level="warning")
    log = logger()
    log.info(Event.DAEMON_READY)
    logging.getLogger("asyncpg").info("chatty")
    assert lines() == []

    lines = configured("journald", level="debug")
    log.debug(Event.DAEMON_READY)

    assert lines() == ["<7>daemon.ready logger=poddispatchd.test"]


def test_requests_are_not_logged_one_by_one_unless_asked_for() -> None:
    lines = configured("json")
    logging.getLogger("aiohttp.access").info("GET /metrics")
    assert lines() == []

    lines = configured("json", level="debug")
    logging.getLogger("aiohttp.access").info("GET /metrics")
    assert len(lines()) == 1


def test_configuring_again_does_not_double_the_lines() -> None:
    configured("json")
    lines = configured("json")

    logger().info(Event.CONFIG_RELOADED)

    assert len(lines()) == 1


# --- secrets ---


@dataclass(frozen=True, slots=True)
class Holder:
    name: str
    token: str


class Broken:
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("log_format", ["json", "journald", "console"])
@pytest.mark.parametrize(
    "keys",
    [
        {"value": SecretStr("hunter2-value")},
        {"headers": {"Authorization": "Bearer hunter2-value"}},
        {"headers": [("X", {"deep": {"token": "hunter2-value"}})]},
        {"token": "hunter2-value"},
        {"client_token": "hunter2-value"},
        {"X-Api-Key": "hunter2-value"},
        {"dsn": "host=h password=hunter2-value"},
        {"words": "postgresql://pod:hunter2-value@host/db"},
        {"words": "sent Authorization: Bearer hunter2-value"},
        {"holder": Holder("first", "hunter2-value")},
        {"error": ValueError("registered-secret/1 is wrong")},
        {"url": "https://host/?t=registered-secret%2F1"},
        {"words": "a registered-secret/1 and more", "list": [{"x": ("registered-secret/1",)}]},
        {"registered": SecretStr("registered-secret/1"), "words": "db p@ssword of it"},
    ],
)
def test_no_secret_gets_into_a_line(log_format: str, keys: dict[str, object]) -> None:
    register_secret(SecretStr("registered-secret/1"))
    register_secret(SecretStr("postgresql://pod:p%40ssword@host/db"))
    lines = configured(log_format)

    logger().info(Event.CALLBACK_REFUSED, **keys)

    (line,) = lines()
    for secret in ("hunter2", "registered-secret", "p@ssword"):
        assert secret not in line
    assert "***" in line


@pytest.mark.parametrize("log_format", ["json", "journald", "console"])
def test_no_secret_gets_out_through_a_traceback_or_a_library(log_format: str) -> None:
    register_secret(SecretStr("registered-secret"))
    lines = configured(log_format)

    try:
        try:
            fail(ValueError("postgresql://pod:hunter2@host/db"))
        except ValueError as error:
            raise RuntimeError("registered-secret") from error
    except RuntimeError:
        logger().exception(Event.SERVICE_CRASHED)
        logging.getLogger("asyncpg").exception("cannot connect with %s", "registered-secret")

    text = "\n".join(lines())
    assert "RuntimeError: ***" in text
    assert "registered-secret" not in text
    assert "hunter2" not in text


def test_half_a_secret_at_the_end_of_what_is_read_is_not_written() -> None:
    lines = configured("json")

    # The address is cut before its @, by which a password is known.
    logger().info(Event.TASK_FAILED, words="x" * 999_970 + " postgresql://pod:hunter2-value@host/db")

    (line,) = lines()
    assert "hunter2" not in line


def test_a_short_secret_does_not_shred_every_line() -> None:
    register_secret(SecretStr("pod"))
    register_secret(SecretStr(""))
    lines = configured("journald")

    logger().info(Event.DAEMON_READY, unit="poddispatchd")

    assert lines() == ["<6>daemon.ready unit=poddispatchd logger=poddispatchd.test"]


def test_what_cannot_be_written_as_text_does_not_lose_the_line() -> None:
    lines = configured("json")
    endless: dict[str, object] = {}
    endless["self"] = endless

    logger().info(Event.DAEMON_READY, broken=Broken(), endless=endless, bytes=b"\xff")

    assert json.loads(lines()[0])["broken"] == "<Broken: RuntimeError>"


def test_a_line_that_cannot_be_logged_is_told_without_its_content() -> None:
    lines = configured("journald")

    logging.getLogger("careless").error("%d tokens", "hunter2")

    assert lines() == ["<3>a line of careless could not be logged: TypeError"]


def test_a_stream_that_is_gone_stops_nobody() -> None:
    stream = io.StringIO()
    configured("json", stream=stream)
    stream.close()

    logger().error(Event.DAEMON_STOPPED)


# --- events ---


def test_every_event_is_a_noun_and_a_verb_named_like_its_constant() -> None:
    for event in Event:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*", event.value)
        assert event.name == event.value.upper().replace(".", "_")


def test_every_event_says_when_it_is_logged() -> None:
    source = Path(sys.modules[Event.__module__].__file__ or "").read_text(encoding="utf-8")

    for event in Event:
        assert re.search(rf'{event.name} = "{event.value}"\n    """[A-Z].*\."""\n', source), event


def test_real_standard_error_under_python_is_one_line_an_event() -> None:
    code = (
        "import os, structlog; from poddispatchd.config.model import LogSettings;"
        "from poddispatchd.observability.logs import configure_logging;"
        "from poddispatchd.observability.events import Event;"
        "configure_logging(LogSettings(), environ=os.environ);"
        "structlog.get_logger('x').info(Event.DAEMON_STARTED, words='é\\n\\udce9')"
    )

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    (line,) = ran.stderr.splitlines()
    assert json.loads(line)["event"] == "daemon.started"


@pytest.mark.parametrize("log_format", ["json", "console", "journald"])
def test_no_line_acts_on_the_terminal_of_whoever_reads_the_log(log_format: str) -> None:
    lines = configured(log_format)
    hostile = "a\x1b]0;owned\x07\x9b2J\u202eb"
    logger().error("task.failed", reason=hostile, **{"odd key": hostile})
    logging.getLogger("some.library").warning("said %s", hostile)
    try:
        _fail(hostile)
    except ValueError:
        logger().exception("service.crashed")
    text = "\n".join(lines())
    assert "owned" in text
    assert not set("\x1b\x07\x9b\u202e") & set(text)


def _fail(words: str) -> None:
    raise ValueError(words)
