"""What a PostgreSQL server names in its messages, in whatever language it speaks."""

import re
from collections.abc import Mapping

import asyncpg

_OPENS, _CLOSES = r"(?:[\"«»„“”「]|<<|,,)\s?", r"\s?(?:[\"«»“”」]|>>|'')"
"""How names are quoted. While a session begins, a server sends what ASCII has of its language."""

_QUOTED = re.compile(rf"{_OPENS}(.+?){_CLOSES}")

_IDENTIFIER = re.compile(rf"{_OPENS}[\w.]+{_CLOSES}|\b[a-z_]\w*\.[a-z_]\w*")

_ENGLISH_IDENTIFIER = re.compile(r"(?:column|relation|table|function|type|schema) \"?([\w.]+)\"?")

_JUDGES_STATEMENTS = re.compile(r"(?:^|/)(?:parse_\w+|aclchk|namespace|rls)\.c$")
"""The sources of PostgreSQL that quote what a statement names, and never a value."""

_RAISES = re.compile(r"(?:^|/)pl_exec\.c$")
"""The source of what triggers say, which can be any text."""

_REFUSALS: Mapping[str, tuple[str, str]] = {
    "28P01": ("password authentication failed", "password authentication failed for user"),
    "3D000": ("the database does not exist", "there is no database"),
}
"""What is told of a session that is refused: alone, and before the name that the server quotes."""


def identifiers(error: asyncpg.PostgresError) -> list[str]:
    """The names in the message of an error of class 42: all of them stand in our own statements."""
    source, message = error.server_source_filename or "", error.message or ""
    quoted = _IDENTIFIER.findall(message) if _JUDGES_STATEMENTS.search(source) else []
    if quoted or _RAISES.search(source):
        return [re.sub(r"[^\w.]", "", name) for name in quoted]
    return _ENGLISH_IDENTIFIER.findall(message)


def refusal_words(sqlstate: str | None, message: str) -> str | None:
    """Why a session is refused, in words that no language changes; None where the server's have to do."""
    alone, before_name = _REFUSALS.get(sqlstate or "", (None, ""))
    named = _QUOTED.search(message)
    return alone if alone is None or named is None else f'{before_name} "{named[1]}"'
