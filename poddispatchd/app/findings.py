"""What a check finds, in words."""

from enum import StrEnum

from msgspec import Struct

from poddispatchd.errors import DatabaseError, DatabaseUnavailableError, SchemaError


class CheckLevel(StrEnum):
    """How serious a finding is."""

    FINE = "fine"
    NOTE = "note"
    PROBLEM = "problem"


class CheckResult(Struct, frozen=True):
    """One thing that was looked at: the subject, and what was found in words."""

    severity: CheckLevel
    subject: str
    words: str


def fine(subject: str, words: str) -> CheckResult:
    """All is well."""
    return CheckResult(CheckLevel.FINE, subject, words)


def note(subject: str, words: str) -> CheckResult:
    """Worth knowing."""
    return CheckResult(CheckLevel.NOTE, subject, words)


def problem(subject: str, words: str) -> CheckResult:
    """To be mended."""
    return CheckResult(CheckLevel.PROBLEM, subject, words)


def unseen(subject: str, error: DatabaseError) -> list[CheckResult]:
    """That something could not be looked at: nobody may take that for nothing found.

    Tables and rights that are missing are told by the findings about them, each with what to do.
    """
    if isinstance(error, SchemaError):
        return []
    if isinstance(error, DatabaseUnavailableError):
        return [problem("database", str(error))]
    return [problem(subject, f"This could not be looked at. {error}")]
