"""What a runner manager says about a run of a task, by whatever way."""

from dataclasses import dataclass, field
from enum import StrEnum

from poddispatchd.domain.callback import Callback
from poddispatchd.domain.failures import advice, is_curable, is_not_fetched, is_over_time
from poddispatchd.domain.french import ENGLISH, in_language
from poddispatchd.domain.script_output import (
    failure_identity,
    failure_words,
    merge_output,
    without_callback_warning,
)
from poddispatchd.domain.task import RunnerStatus


class ReportOrigin(StrEnum):
    """How a report came here."""

    CALLBACK = "callback"
    """It is a hint: it may be repeated, late, or overtaken by another one."""
    STATUS = "status"
    """It is the truth of this moment."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a runner manager says about a task."""

    status: RunnerStatus
    error: str | None = None
    output: str | None = field(default=None, repr=False)
    origin: ReportOrigin = ReportOrigin.STATUS

    def __post_init__(self) -> None:
        """Take a failure for one that its runner calls a time-out by a word in an address alone."""
        if self.status is RunnerStatus.TIMEOUT and not is_over_time(self.reason):
            object.__setattr__(self, "status", RunnerStatus.FAILED)

    @classmethod
    def of_callback(cls, callback: Callback) -> "RunReport":
        """What a callback says."""
        return cls(callback.status, callback.error_message, callback.script_output, ReportOrigin.CALLBACK)

    @property
    def reason(self) -> str | None:
        """The error text, without what is about the manager's call to us."""
        return without_callback_warning(self.error)

    def words(self, language: str = ENGLISH) -> str:
        """What a person reads about a failure, with what can be done about it in a language of Pod's."""
        words = self.bare_words
        known = self.advice(language)
        return words if known is None else f"{words.rstrip()}\n{known}"

    def advice(self, language: str = ENGLISH) -> str | None:
        """What can be done about a failure, if that is known."""
        known = advice(self.reason)
        return None if known is None else in_language(known, language)

    @property
    def bare_words(self) -> str:
        """What the manager says of a failure."""
        return failure_words(self.reason, self.output, self.status)

    @property
    def identity(self) -> str:
        """What tells a failure from others of the same run (``failure_identity``)."""
        return failure_identity(self.reason, self.output, self.status)

    @property
    def is_success(self) -> bool:
        """Whether a result is there."""
        return self.status in (RunnerStatus.COMPLETED, RunnerStatus.WARNING)

    @property
    def is_curable(self) -> bool:
        """Whether it is a failure that a new submission can cure."""
        ran = self.origin is ReportOrigin.CALLBACK or bool(self.output)
        return self.status is RunnerStatus.FAILED and is_curable(self.reason, ran=ran, output=self.output)

    @property
    def may_last(self) -> bool:
        """Whether what it failed over may last for minutes."""
        return is_not_fetched(self.reason)

    def merged(self, old: str | None) -> str:
        """The row's ``script_output`` with this report in it, once however often it comes and by which way.

        The record of a success may hold an error all the same: that the manager could not call us.
        """
        error = None if self.is_success and self.origin is ReportOrigin.STATUS else self.reason
        return merge_output(old, error, self.output)
