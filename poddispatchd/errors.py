"""Everything that can go wrong, in one tree.

The docstring of an error is its default message: one clear sentence that says what to do, never a secret.
"""


class PoddispatchdError(Exception):
    """Something went wrong in poddispatchd."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().partition("\n")[0])


class ConfigurationError(PoddispatchdError):
    """The configuration cannot be used.

    Args:
        problems: every finding, each a sentence of its own.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems) or None)
        self.problems = problems


class PodUnfitError(ConfigurationError):
    """Pod's tables, or the rights on them, do not fit although they did: a migration may be under way."""


class TaskEndedError(PoddispatchdError):
    """A part of the daemon ended although it was to run on: the daemon ends, and systemd starts it anew."""


# --- PostgreSQL ---------------------------------------------------------------------------------------
class DatabaseError(PoddispatchdError):
    """The database refused a statement.

    Args:
        message: words that hold no value of any row.
        sqlstate: PostgreSQL's code of the condition; None when PostgreSQL did not say it.
    """

    def __init__(self, message: str | None = None, *, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class DatabaseUnavailableError(DatabaseError):
    """The database cannot be reached."""


class DatabaseStateError(DatabaseUnavailableError):
    """The database server answers but cannot serve us now: read-only, full, out of memory, shutting down."""


class StatementEndedError(DatabaseError):
    """The database server ended a statement, which others need not meet: cancelled, or over a limit."""


class SessionEndedError(DatabaseError):
    """The database ends the session over a statement, time and again, and answers others: see its log."""


class RowLockedError(DatabaseError):
    """Another session holds a row or a table: it can be tried again, and whatever does not need it goes on.

    ``task``: the primary key of the one whose row was to be taken, where that is known.
    """

    def __init__(
        self, message: str | None = None, *, sqlstate: str | None = None, task: int | None = None
    ) -> None:
        super().__init__(message or "Another database session holds the row.", sqlstate=sqlstate)
        self.task = task


class ValuesRefusedError(DatabaseError):
    """The database does not take these values: the same values will be refused again."""


class SchemaError(DatabaseError):
    """The database is not one that poddispatchd knows how to use."""


class SchemaNewerError(SchemaError):
    """The schema poddispatchd was upgraded by a newer release: this one writes nothing more and stops."""


class SchemaChangedError(SchemaError):
    """The tables are not as they were at the start: they were changed, or rights on them, since."""


MAY_PASS = (DatabaseUnavailableError, SessionEndedError, StatementEndedError)
"""What another try may not meet, and nothing is known to wait for."""


# --- runner managers ----------------------------------------------------------------------------------
class RunnerManagerError(PoddispatchdError):
    """A runner manager did not do what was asked."""


class RunnerManagerFullError(RunnerManagerError):
    """The runner manager has no free runner for this task: back-pressure, not a fault (invariant I9)."""


class RunnerManagerBusyError(RunnerManagerError):
    """The runner manager limits its request rate: ask again later."""


class RunnerManagerUnavailableError(RunnerManagerError):
    """The runner manager cannot be reached, is too slow, or failed (5xx): it trips the breaker."""


class AnswerLostError(RunnerManagerUnavailableError):
    """The request may have been carried out, but its answer did not arrive."""


class RunnerManagerMisconfiguredError(RunnerManagerError):
    """The runner manager refuses us (its URL or its token is wrong): a person must change something."""


class NoHealthCheckError(RunnerManagerMisconfiguredError):
    """Something answers at the URL of a runner manager, and has no health check where it should be."""


class RunnerManagerChangedError(PoddispatchdError):
    """The runner manager refused an address or a token that Pod has replaced since: it is asked anew."""


class PayloadRefusedError(RunnerManagerError):
    """The runner manager refuses this very task (400 or 422): sending it again changes nothing."""


class OnlyAskingError(RunnerManagerError):
    """This would change something on the runner manager, which is only asked (shadow mode)."""


class UnusableAnswerError(RunnerManagerError):
    """The runner manager answered something that cannot be used.

    Args:
        message: what is wrong with the answer.
        orphan: the id of a task that was accepted but whose id Pod cannot store: it should be stopped.
    """

    def __init__(self, message: str | None = None, *, orphan: str | None = None) -> None:
        super().__init__(message)
        self.orphan = orphan


class RecordTooLongError(UnusableAnswerError):
    """A task's record is too long, and what can be read of it does not tell the status."""


class RunnerUnreachableError(RunnerManagerError):
    """The runner manager answers, but the runner that holds the task does not: worth another try later."""


class RecordUnavailableError(RunnerManagerError):
    """The runner manager answers, but not about this task."""


class RunnerTaskUnknownError(RunnerManagerError):
    """The runner manager does not know this task (404)."""


class ResultNotReadyError(RunnerManagerError):
    """The task has no result yet (425), or never will (400)."""


OF_THE_MANAGER = (RunnerManagerUnavailableError, RunnerManagerMisconfiguredError, RunnerManagerBusyError)
"""Trouble that questions about other tasks would meet as well."""


# --- callbacks ----------------------------------------------------------------------------------------
class CallbackRefusedError(PoddispatchdError):
    """A callback is not accepted.

    Args:
        status: of the HTTP answer.
        message: the words of the answer.
        key: what they are called in the answer's JSON.
        retry_after: seconds after which another try makes sense; None: the same will be refused again.
    """

    def __init__(
        self, status: int, message: str, *, key: str = "error", retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.key = key
        self.retry_after = retry_after


# --- tasks and their results --------------------------------------------------------------------------
class UnsubmittableError(PoddispatchdError):
    """This task can never be submitted as it is."""


class MediaMissingError(PoddispatchdError):
    """MEDIA_ROOT, or a part of it, is not mounted or does not answer: no task is to blame."""


class ResultError(PoddispatchdError):
    """The result of a task cannot be imported."""


class ResultIncompleteError(ResultError):
    """Something that the result promises is missing, empty or cut short: worth a new attempt.

    Args:
        findings: everything that is wrong, each a sentence.
    """

    def __init__(self, *findings: str) -> None:
        super().__init__("; ".join(findings) or None)
        self.findings = findings


class ResultRefusedError(ResultError):
    """The result must not be imported: a new attempt would bring the same."""

    def __init__(self, *findings: str) -> None:
        super().__init__("; ".join(findings) or None)
        self.findings = findings


class SourceReplacedError(ResultError):
    """The result was made of a file that is not the source any more."""


class DownloadError(ResultError):
    """A result file did not arrive whole."""


class ResultGoneError(DownloadError):
    """The runner manager knows the task but cannot give this part of its result (404)."""


class ResultUnfetchableError(ResultGoneError):
    """The runner manager will never give this file, of this run or of another."""


class MediaNotWritableError(DownloadError):
    """A file of a result cannot be written under MEDIA_ROOT: nothing is wrong with the result."""


class MediaSlowError(MediaNotWritableError):
    """The file system of MEDIA_ROOT does not answer."""


class NoSpaceError(ResultError):
    """There is not enough free space under MEDIA_ROOT for this result."""


class ImportBusyError(PoddispatchdError):
    """Another process is importing this task."""


class NameTakenError(ImportBusyError):
    """A name that was free has been taken by somebody else meanwhile.

    ``paths``: the names, relative to MEDIA_ROOT: what is there is not ours.
    """

    def __init__(self, message: str, *paths: str) -> None:
        super().__init__(message)
        self.paths = paths


class RaceLostError(PoddispatchdError):
    """The row was changed by someone else meanwhile: a normal outcome (invariant I4)."""


class LeaseLostError(RaceLostError):
    """The lease of an item had run out before its attempt was written down: nothing is said of the item."""


# --- mail, pushes and the command after an import -----------------------------------------------------
class DeliveryError(PoddispatchdError):
    """Something could not be delivered: worth another try later."""


class DeliveryRefusedError(DeliveryError):
    """What is to be delivered is refused for good: another try would end the same."""


class ServiceUnreachableError(DeliveryError):
    """Whoever is to deliver does not answer: other deliveries by it would meet the same."""


class RecipientGoneError(DeliveryRefusedError):
    """Nobody is there any more who could be told."""
