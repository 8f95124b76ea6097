"""The last resort against a secret in a log line.

Secrets are ``SecretStr`` and never formatted; this catches what slips through all the same, as an error
message of a library that quotes an address.
"""

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import fields, is_dataclass
from functools import lru_cache
from urllib.parse import quote, quote_plus

from msgspec import Struct

from poddispatchd.config.masking import MASK, dsn_password, mask_credentials, mask_dsn, mask_text
from poddispatchd.domain.secret import SecretStr

_SHORTEST = 6
"""A shorter secret is a common word or number: replacing it would spoil lines and give it away."""

_SHORTEST_SAID = 8
"""The same for texts that are kept: a word that a script may well write is left in them."""

_SECRET_NAME = re.compile(
    r"(?:.*[_-])?(?:authorization|cookie|passw(?:or)?d|secret|token|api[_-]?key)", re.IGNORECASE
)

_LONGEST_READ = 1_000_000
_LONGEST_WRITTEN = 16_000
"""Characters of one value; journald cuts a line at 48 KiB."""

_SHORT = 200
_REMEMBERED = 2048
"""Texts of so many characters of which is known what is left of them: ids, names and states come again."""

_DEEPEST = 6


class Redactor:
    """Knows secret values and takes them out of anything that is about to be written."""

    def __init__(self) -> None:
        self._needles: tuple[str, ...] = ()
        self._registered: dict[str, re.Pattern[str]] = {}
        """What was registered, and how it is found where it stands alone."""
        self._short_entry = lru_cache(_REMEMBERED)(self._text_entry)

    def register(self, secret: SecretStr) -> None:
        """Remember a secret; of a database address, its password too, also as it is written in addresses."""
        value = secret.get_secret_value().strip()
        if value in self._registered:
            return
        # A new mapping: threads may be going through the old one, for a line of theirs.
        self._registered = {**self._registered, value: re.compile(rf"(?<!\w){re.escape(value)}(?!\w)")}
        found = {value, dsn_password(value) or ""}
        forms = {form for text in found for form in (text, quote(text, safe=""), quote_plus(text))}
        # The longest first: a secret that holds another one is replaced whole.
        needles = {form for form in forms if len(form) >= _SHORTEST} | set(self._needles)
        self._needles = tuple(sorted(needles, key=len, reverse=True))
        # What was remembered before may hold the new secret.
        self._short_entry = lru_cache(_REMEMBERED)(self._text_entry)

    def said(self, text: str) -> str:
        """What somebody else says, to be kept: without registered secrets and headers of a login.

        A secret is taken out where it stands alone, so that no word is spoilt that happens to hold it.
        """
        for value, alone in self._registered.items():
            if len(value) >= _SHORTEST_SAID and value in text:
                text = alone.sub(MASK, text)
        return mask_credentials(text)

    def text(self, text: str) -> str:
        """A text without registered secrets and without what looks like one."""
        for needle in self._needles:
            text = text.replace(needle, MASK)
        if len(text) <= _LONGEST_READ:
            return _shortened(mask_text(text))
        # The end may be half a secret that nothing recognises any more.
        return _shortened(mask_text(text[:_LONGEST_READ])[:-1000])

    def value(self, value: object, *, depth: int = 0) -> object:
        """Plain data (text, numbers, lists, mappings) that stands for a value, without secrets."""
        match value:
            case None | bool() | int():
                return value
            case float():
                # JSON has neither infinity nor NaN.
                return value if value - value == 0 else str(value)
            case str():
                return self.text(str.__str__(value))
            case SecretStr():
                return MASK
            case _ if depth >= _DEEPEST:
                return self.text(_repr(value))
            case Mapping():
                return {
                    str(key): self.entry(str(key), inner, depth=depth + 1) for key, inner in value.items()
                }
            case list() | tuple() | Set():
                return [self.value(item, depth=depth + 1) for item in value]
            case Struct():
                return self._fields(value, value.__struct_fields__, depth=depth + 1)
            case _ if is_dataclass(value) and not isinstance(value, type):
                return self._fields(value, [field.name for field in fields(value)], depth=depth + 1)
            case _:
                return self.text(_repr(value))

    def _fields(self, value: object, names: Iterable[str], *, depth: int) -> dict[str, object]:
        return {name: self.entry(name, getattr(value, name, None), depth=depth) for name in names}

    def entries(self, line: Mapping[str, object]) -> dict[str, object]:
        """The values of a line, by their names."""
        known = self._short_entry
        # Nearly all are short texts and numbers: a line has ten, and there are thousands of lines a second.
        return {
            str(name): known(str(name), value)
            if type(value) is str and len(value) <= _SHORT
            else self.entry(str(name), value)
            for name, value in line.items()
        }

    def entry(self, name: str, value: object, *, depth: int = 0) -> object:
        """The value under a name; some names are enough to know that it is a secret."""
        if isinstance(value, str):
            entry = self._short_entry if len(value) <= _SHORT else self._text_entry
            return entry(name, str.__str__(value))
        if isinstance(value, bytes) and value and _SECRET_NAME.fullmatch(name):
            return MASK
        return self.value(value, depth=depth)

    def _text_entry(self, name: str, text: str) -> str:
        if text and _SECRET_NAME.fullmatch(name):
            return MASK
        return mask_dsn(text) if name == "dsn" else self.text(text)


def _shortened(text: str) -> str:
    """A text without its middle when it is long: a traceback ends with what matters."""
    more = len(text) - _LONGEST_WRITTEN
    half = _LONGEST_WRITTEN // 2
    return text if more <= 0 else f"{text[:half]} … ({more} more) … {text[-half:]}"


def _repr(value: object) -> str:
    try:
        # Exceptions, paths and dates read best as people see them.
        return str(value)
    except Exception as error:  # noqa: BLE001 -- a broken __str__ of whatever is logged must not lose the line
        return f"<{type(value).__name__}: {type(error).__name__}>"
