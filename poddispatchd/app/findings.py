"""What a check finds, in words."""

from enum import StrEnum

from msgspec import Struct


class Severity(StrEnum):
    """How serious a finding is."""

    FINE = "fine"
    NOTE = "note"
    PROBLEM = "problem"


class Finding(Struct, frozen=True):
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
