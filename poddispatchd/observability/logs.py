"""Logging: every line of the daemon and of its libraries in one format, on standard error.

A line of ours is an event (``events.py``) with keys; the lines of aiohttp, asyncio and asyncpg, which come
through standard logging, are made and written the same way, at the same level and without secrets.
"""

import linecache
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
from poddispatchd.domain.display import is_utf8
from poddispatchd.domain.secret import SecretStr
from poddispatchd.observability.events import Event
from poddispatchd.observability.journald import SOCKET, JournalSocket
from poddispatchd.observability.log_handler import EventLogger, LogHandler, taken
from poddispatchd.observability.log_lines import (
    printable,
    render_ascii_json,
    render_journald,
    render_json,
)
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
    handler = LogHandler(target, JournalSocket(journal) if is_journal else None)
    names: list[Processor] = [structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name]
    rendering = _rendering(chosen, handler, target)
    handler.rendering = [*names, *rendering]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), _tidy, *names],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, LogHandler)]:
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
    EventLogger.use(handler, level)
    structlog.configure(
        processors=[taken],
        # Loggers are kept, levels change: it is not the class of a logger that knows them.
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        logger_factory=EventLogger,
        cache_logger_on_first_use=True,
    )
    return chosen


def log_only_tracebacks() -> None:
    """Write nothing but bugs from now on: for a command that says in one line of its own what it did."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogHandler):
            handler.only_tracebacks = True


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


def _rendering(chosen: LogFormat, handler: LogHandler, target: TextIO) -> list[Processor]:
    common: list[Processor] = [
        structlog.processors.StackInfoRenderer(),
        _traceback,
        _redact,
    ]
    timestamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    match chosen:
        case "journald":
            return [*common, handler.note_fields, render_journald]
        case "json":
            return [*common, timestamp, render_json if is_utf8(target.encoding) else render_ascii_json]
        case "console":
            # Tracebacks in plain text: the pretty ones show local variables, and secrets among them.
            plain = structlog.dev.plain_traceback
            return [
                *common,
                timestamp,
                printable,
                structlog.dev.ConsoleRenderer(colors=target.isatty(), exception_formatter=plain),
            ]


def _traceback(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Write out an error with its traceback, and keep none of the sources that are read for it."""
    has_error = bool(event.get("exc_info"))
    event = structlog.processors.format_exc_info(logger, method, event)
    if has_error:
        # Python keeps every file that it has quoted: half a megabyte after the first bug already.
        linecache.clearcache()
    return event


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
    return _REDACTOR.entries(event)
