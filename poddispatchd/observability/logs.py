"""Logging: every line of the daemon and of its libraries in one format, on standard error.

A line of ours is an event (``events.py``) with keys; it goes through standard logging, so that the lines of
aiohttp, asyncio and asyncpg come out the same way, at the same level and without secrets.
"""

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TextIO, TypeAlias

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from poddispatchd.config.model import LogSettings
from poddispatchd.config.section import Section
from poddispatchd.domain.secret import SecretStr
from poddispatchd.observability.events import Event
from poddispatchd.observability.journald import SOCKET, JournalSocket, journal_fields
from poddispatchd.observability.log_lines import printable, render_journald, render_json
from poddispatchd.observability.log_stream import LogStream
from poddispatchd.observability.redaction import Redactor

LogFormat: TypeAlias = Literal["json", "console", "journald"]

_NOISY = ("aiohttp.access", "asyncio")
"""Loggers with a line for every request or selector: shown when asked for debug."""

_ECHO = "unexpected connection_lost() call"
"""What asyncpg leaves unread when a connection ends while it is being made: our own event tells that."""

_REPEATED = "asyncpg.pool"
"""A logger that tells with tracebacks, again and again, what our own event says once: no database."""

_REDACTOR = Redactor()
# Logging belongs to the process, and so does the list of what must never be in it.


def register_secret(secret: SecretStr) -> None:
    """Never let this value out in any line, wherever it comes from."""
    _REDACTOR.register(secret)


def without_secrets(text: str) -> str:
    """What a runner manager says, before it is kept: tokens that it repeats are taken out (invariant I10)."""
    return _REDACTOR.said(text)


def register_secrets(settings: Section) -> None:
    """Never let a secret of these settings out, in whichever section it stands."""
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            register_secret(value)
        elif isinstance(value, Section):
            register_secrets(value)


def configure_logging(
    settings: LogSettings,
    *,
    environ: Mapping[str, str],
    stream: TextIO | None = None,
    journal: Path = SOCKET,
) -> LogFormat:
    """Set logging up for the whole process; may be called again, as after a reload.

    Args:
        settings: level and format.
        environ: the environment, for ``$JOURNAL_STREAM``.
        stream: where lines go; standard error when None.
        journal: the socket of the journal, used when the stream is the journal's.

    Returns:
        The format in effect, never ``auto``.
    """
    target = sys.stderr if stream is None else stream
    chosen = choose_format(settings.format, environ=environ, stream=target)
    is_journal = chosen == "journald" and _is_journal(environ.get("JOURNAL_STREAM", ""), target)
    handler = _Handler(target, JournalSocket(journal) if is_journal else None)
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), _tidy],
            processors=_rendering(chosen, handler, colors=target.isatty()),
        )
    )
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
        old.let_go()
    root.addHandler(handler)
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    root.setLevel(level)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.NOTSET if level <= logging.DEBUG else logging.WARNING)
    logging.getLogger(_REPEATED).setLevel(logging.ERROR)
    logging.getLogger("asyncio").addFilter(_is_no_echo)
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        # Not structlog's own: it looks for the caller of each line, which none of our formats names.
        logger_factory=logging.getLogger,
        cache_logger_on_first_use=True,
    )
    return chosen


def log_only_tracebacks() -> None:
    """Write nothing but bugs from now on: for a command that says in one line of its own what it did."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Handler):
            handler.addFilter(_has_traceback)


def _has_traceback(record: logging.LogRecord) -> bool:
    return bool(record.exc_info or (isinstance(record.msg, dict) and record.msg.get("exc_info")))


def _is_no_echo(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, ConnectionError) and str(error) == _ECHO)


def choose_format(wanted: str, *, environ: Mapping[str, str], stream: TextIO) -> LogFormat:
    """The format in effect: ``auto`` is journald when systemd reads the stream, console on a terminal."""
    match wanted:
        case "json" | "console" | "journald":
            return wanted
        case _ if _is_journal(environ.get("JOURNAL_STREAM", ""), stream):
            return "journald"
        case _:
            return "console" if stream.isatty() else "json"


def _is_journal(journal_stream: str, stream: TextIO) -> bool:
    # The variable is inherited by children whose stream is redirected: only the very same file counts.
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return journal_stream == f"{status.st_dev}:{status.st_ino}"


def _rendering(chosen: LogFormat, handler: "_Handler", *, colors: bool) -> list[Processor]:
    common: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _redact,
    ]
    timestamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    match chosen:
        case "journald":
            return [*common, handler.note_fields, render_journald]
        case "json":
            return [*common, timestamp, render_json]
        case "console":
            # Tracebacks in plain text: the pretty ones show local variables, and secrets among them.
            plain = structlog.dev.plain_traceback
            return [
                *common,
                timestamp,
                printable,
                structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain),
            ]


def _tidy(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Give a library's line the shape of ours."""
    for name in ("message", "asctime"):
        # Another handler's formatter leaves them on the record, and they look like keys somebody gave.
        event.pop(name, None)
    record = event.get("_record")
    if isinstance(record, logging.LogRecord) and record.name == "py.warnings":
        event["warning"] = event["event"]
        event["event"] = Event.PYTHON_WARNED
    return event


def _redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {str(name): _REDACTOR.entry(str(name), value) for name, value in event.items()}


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """structlog's, without its copy of the record for other handlers' formatters: there are none."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        logger, method = getattr(record, "_logger", None), getattr(record, "_name", None)
        if method is None or not isinstance(record.msg, dict):
            return super().format(record)
        event: object = {**record.msg, "_record": record, "_from_structlog": True}
        for process in self.processors:
            event = process(logger, method, event)  # type: ignore[arg-type] # what the last one makes is the line
        return str(event)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes a line; what cannot be written is told in one line without its content, which may be secret.

    To the journal it is sent with fields; what the journal does not take is written as a plain line. Lines
    that nobody takes are counted, and that is told with the first one that is taken again.
    """

    def __init__(self, stream: TextIO, journal: JournalSocket | None = None) -> None:
        super().__init__(stream)
        self._journal = journal
        self._lines = LogStream(stream)
        self._lost = 0
        self._fields: dict[str, str] = {}

    def note_fields(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Remember the fields of the line that is being made; the handler's lock is held until it is out."""
        if self._journal is not None:
            self._fields = journal_fields(event)
        return event

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        try:
            if not self._is_taken(self.format(record)):
                self._lost += 1
            elif self._lost:
                self._tell_lost()
        except Exception:  # noqa: BLE001 - as logging's own handlers: a line never stops the daemon
            self.handleError(record)

    def _is_taken(self, line: str) -> bool:
        if self._journal is not None and self._journal.send(line[3:], int(line[1]), self._fields):
            return True
        return self._lines.write(line + self.terminator)

    def _tell_lost(self) -> None:
        lost, self._lost = self._lost, 0
        words = f"{lost} lines could not be logged: nobody took them"
        record = logging.LogRecord(__name__, logging.WARNING, "", 0, words, None, None)
        if not self._is_taken(self.format(record)):
            self._lost = lost

    def let_go(self) -> None:
        """Close what this handler opened; the stream is somebody else's."""
        self._lines.close()
        if self._journal is not None:
            self._journal.close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- the name is logging's
        error = sys.exc_info()[1]
        self._lines.write(f"<3>a line of {record.name} could not be logged: {type(error).__name__}\n")
