"""What a mail server has said, as it may be told: on one line, bounded, without secrets and without people.

Whose mail a server refuses is personal: words that are logged and kept hold no address
(docs/personal-data.md).
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from aiosmtplib.errors import SMTPConnectError, SMTPResponseException

from poddispatchd.database.sqlstates import os_words
from poddispatchd.observability.logs import without_secrets

_LONGEST_WORDS = 300
_LOOKED_AT = 4 * _LONGEST_WORDS
"""Characters of an answer: some servers explain themselves at length."""

_ADDRESS = re.compile(r"<?[^\s<>\"'(),;]{1,64}@[^\s<>\"'(),;:]{1,255}>?")
_UNNAMED = "ADDRESS"
_SHORTEST_NAME = 3
"""Characters: shorter names stand in every sentence."""


def error_words(error: Exception) -> str:
    """What an error says, of a connection or of what was asked of the server."""
    if isinstance(error, SMTPResponseException):
        return line_of(f"{error.code} {error.message}")
    if isinstance(error, SMTPConnectError) and isinstance(error.__cause__, OSError):
        # The library names host and port once more, before what Python's event loop says.
        return line_of(os_words(error.__cause__))
    return line_of(str(error) or type(error).__name__)


def named_answers(answers: Mapping[str, tuple[int, str]]) -> str:
    """The answers about addresses of the configuration, each with its address."""
    return line_of("; ".join(f"{who}: {code} {words}" for who, (code, words) in answers.items()))


def unnamed_answers(answers: Mapping[str, tuple[int, str]], *, of: int) -> str:
    """The answers about some recipients of a mail that has so many, without their addresses."""
    said = Counter(f"{code} {without_people(words, answers)}" for code, words in answers.values())
    if of == 1:
        return line_of(next(iter(said), ""))
    return line_of("; ".join(f"{count} of {of} recipients: {words}" for words, count in said.items()))


def without_people(text: str, recipients: Iterable[str]) -> str:
    """A text without addresses, nor the names before the @ of these recipients."""
    shown = _ADDRESS.sub(_UNNAMED, text[:_LOOKED_AT])
    names = {recipient.partition("@")[0] for recipient in recipients}
    for name in (each for each in names if len(each) >= _SHORTEST_NAME):
        shown = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", _UNNAMED, shown, flags=re.IGNORECASE)
    return shown


def line_of(text: str) -> str:
    """One line of printable characters: servers answer in any encoding, and PostgreSQL does not take all."""
    shown = "".join(character if character.isprintable() else " " for character in without_secrets(text))
    return " ".join(shown.split())[:_LONGEST_WORDS].rstrip(" :")
