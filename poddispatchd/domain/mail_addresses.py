"""Mail addresses as people write them in a configuration."""

import re
from email.utils import parseaddr

_ADDRESS = re.compile(r"[^@\s<>,;:\"\\()\[\]]+@[^@\s<>,;:\"\\()\[\]]+")
_LONGEST = 320


def is_address(text: str) -> bool:
    """Whether mail can be sent to this text as it stands: one local part, one domain, nothing around them."""
    # Beyond ASCII not every server takes an address (SMTPUTF8).
    is_plain = text.isascii() and text.isprintable() and len(text) <= _LONGEST
    return is_plain and _ADDRESS.fullmatch(text) is not None


def bare_address(text: str) -> str:
    """An address, or nothing.

    Raises:
        ValueError: it is something else.
    """
    if text and not is_address(text):
        raise ValueError("write a mail address, as someone@example.org")
    return text


def mailbox(text: str) -> str:
    """An address with or without a name, or nothing.

    Raises:
        ValueError: it is something else, or holds a line break.
    """
    if text and not (text.isprintable() and is_address(parseaddr(text)[1])):
        raise ValueError("write a mail address, as pod@example.org or Pod <pod@example.org>")
    return text


def address_of(text: str) -> str:
    """The address in a mailbox, without its name."""
    return parseaddr(text)[1]


def domain_of(text: str) -> str:
    """The domain of a mailbox."""
    return address_of(text).rpartition("@")[2]
