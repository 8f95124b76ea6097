"""Writing the lines of the log: events of ours, and records of standard logging from libraries."""

import logging
import sys
from collections.abc import Sequence
from typing import ClassVar, TextIO, TypeAlias

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from poddispatchd.observability.journald import JournalSocket, journal_fields
from poddispatchd.observability.log_stream import LogStream

_Taken: TypeAlias = "tuple[tuple[str, EventDict], dict[str, object]]"

_LEVELS = {
    **{name.lower(): level for name, level in logging.getLevelNamesMapping().items()},
    "exception": logging.ERROR,
}


class LogHandler(logging.StreamHandler[TextIO]):
    """Writes a line; what cannot be written is told in one line without its content, which may be secret.

    To the journal it is sent with fields; what the journal does not take is written as a plain line. Lines
    that nobody takes are counted, and that is told with the first one that is taken again.

    Attributes:
        rendering: what makes a line of an event.
        only_tracebacks: whether nothing but bugs is written.
    """

    def __init__(self, stream: TextIO, journal: JournalSocket | None = None) -> None:
        super().__init__(stream)
        self.rendering: Sequence[Processor] = ()
        self.only_tracebacks = False
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
        """Write the line of a record."""
        if self.only_tracebacks and not record.exc_info:
            return
        try:
            self._write(self.format(record))
        except Exception:  # noqa: BLE001 - as logging's own handlers: a line never stops the daemon
            self.handleError(record)

    def emit_event(self, logger: "EventLogger", method: str, event: EventDict) -> None:
        """Write the line of an event of ours."""
        if self.only_tracebacks and not event.get("exc_info"):
            return
        assert self.lock is not None  # noqa: S101 - logging makes one for every handler
        with self.lock:
            try:
                line: object = event
                for process in self.rendering:
                    line = process(logger, method, line)  # type: ignore[arg-type] # the last one makes the line
                self._write(str(line))
            except Exception as error:  # noqa: BLE001 - as above
                self._tell_unwritable(logger.name, error)

    def let_go(self) -> None:
        """Close what this handler opened; the stream is somebody else's.

        Not while a thread writes a line: it would go on in whatever is opened next, a file or a connection.
        """
        assert self.lock is not None  # noqa: S101 - logging makes one for every handler
        with self.lock:
            self._lines.close()
            if self._journal is not None:
                self._journal.close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- the name is logging's
        """Tell of a line that could not be written."""
        self._tell_unwritable(record.name, sys.exc_info()[1])

    def _write(self, line: str) -> None:
        if not self._is_taken(line):
            self._lost += 1
        elif self._lost:
            self._tell_lost()

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

    def _tell_unwritable(self, name: str, error: BaseException | None) -> None:
        # Past the rendering, which may be what fails.
        self._lines.write(f"<3>a line of {name} could not be logged: {type(error).__name__}\n")


class EventLogger:
    """Where structlog brings events of ours: to the handler, past standard logging.

    A record of standard logging costs as much as the line itself. The handler is the process', so that
    loggers that structlog keeps go on when logging is set up anew.
    """

    __slots__ = ("name",)

    handler: ClassVar[LogHandler | None] = None
    level: ClassVar[int] = logging.INFO

    def __init__(self, name: str = "poddispatchd") -> None:
        self.name = name

    @classmethod
    def use(cls, handler: LogHandler, level: int) -> None:
        """Write events of this level and above by this handler, and not by the one before."""
        cls.handler, cls.level = handler, level

    def take(self, method: str, event: EventDict) -> None:
        """Write an event; ``method`` is how it was called, as ``warning``."""
        if EventLogger.handler is not None:
            EventLogger.handler.emit_event(self, method, event)

    debug = info = warning = error = critical = take


def taken(_logger: WrappedLogger, method: str, event: EventDict) -> _Taken:
    """What is given to a method of ``EventLogger``.

    Raises:
        structlog.DropEvent: the event's level is not written.
    """
    if _LEVELS[method] < EventLogger.level:
        raise structlog.DropEvent
    return (method, event), {}
