"""The last resort against a secret in a log line.

Secrets are ``SecretStr`` and never formatted; this catches what slips through all the same, as an error
message of a library that quotes an address.
"""

from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from urllib.parse import quote, quote_plus

from pydantic import SecretBytes, SecretStr

from poddispatchd.config.masking import MASK, dsn_password, mask_text

_SHORTEST = 6
"""A shorter secret is a common word or number: replacing it would spoil lines and give it away."""

_SECRET_NAMES = frozenset(
    {"authorization", "proxy_authorization", "cookie", "set_cookie", "password", "passwd", "secret", "token"}
)

_DEEPEST = 6


class Redactor:
    """Knows secret values and takes them out of anything that is about to be written."""

    def __init__(self) -> None:
        self._needles: tuple[str, ...] = ()

    def register(self, secret: SecretStr) -> None:
        """Remember a secret; of a database address, its password too, also as it is written in addresses."""
        value = secret.get_secret_value().strip()
        found = {value, dsn_password(value) or ""}
        forms = {form for text in found for form in (text, quote(text, safe=""), quote_plus(text))}
        # The longest first: a secret that holds another one is replaced whole.
        needles = {form for form in forms if len(form) >= _SHORTEST} | set(self._needles)
        self._needles = tuple(sorted(needles, key=len, reverse=True))

    def text(self, text: str) -> str:
        """A text without registered secrets and without what looks like one."""
        for needle in self._needles:
            text = text.replace(needle, MASK)
        return mask_text(text)

    def value(self, value: object, *, depth: int = 0) -> object:
        """Plain data (text, numbers, lists, mappings) that stands for a value, without secrets."""
        match value:
            case None | bool() | int():
                return value
            case float():
                return value if value - value == 0 else str(value)
            case str():
                return self.text(str.__str__(value))
            case SecretStr() | SecretBytes():
                return MASK
            case _ if depth >= _DEEPEST:
                return self.text(_repr(value))
            case Mapping():
                return {
                    str(key): self.entry(str(key), inner, depth=depth + 1) for key, inner in value.items()
                }
            case list() | tuple() | Set():
                return [self.value(item, depth=depth + 1) for item in value]
            case _ if is_dataclass(value) and not isinstance(value, type):
                return {
                    field.name: self.entry(field.name, getattr(value, field.name, None), depth=depth + 1)
                    for field in fields(value)
                }
            case _:
                return self.text(_repr(value))

    def entry(self, name: str, value: object, *, depth: int = 0) -> object:
        """The value under a name; some names are enough to know that it is a secret."""
        if name.lower().replace("-", "_") in _SECRET_NAMES and value not in (None, ""):
            return MASK
        return self.value(value, depth=depth)


def _repr(value: object) -> str:
    try:
        # Exceptions, paths and dates read best as people see them.
        return str(value)
    except Exception as error:  # noqa: BLE001 -- a broken __str__ of whatever is logged must not lose the line
        return f"<{type(value).__name__}: {type(error).__name__}>"
