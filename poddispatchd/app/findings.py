"""What a check finds, in words."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How serious a finding is."""

    FINE = "fine"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: the subject, and what was found in words."""

    severity: Severity
    subject: str
    words: str


def fine(subject: str, words: str) -> Finding:
    """All is well."""
    return Finding(Severity.FINE, subject, words)


def note(subject: str, words: str) -> Finding:
    """Worth knowing."""
    return Finding(Severity.NOTE, subject, words)


def problem(subject: str, words: str) -> Finding:
    """To be mended."""
    return Finding(Severity.PROBLEM, subject, words)
