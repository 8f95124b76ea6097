"""Mail addresses as people write them in a configuration."""

import re
from email.errors import MessageError
from email.header import decode_header, make_header
from email.headerregistry import Address

_ADDRESS = re.compile(r"[^@\s<>,;:\"\\()\[\]]+@[^@\s<>,;:\"\\()\[\]]+")
# Possessive: else white space is tried by the cube of its length.
_MAILBOX = re.compile(r"\s*+(?:(?P<name>[^<>]*+)<(?P<bracketed>[^<>]*+)>|(?P<bare>[^<>\s]++))\s*+")
_LONGEST = 320


def is_address(text: str) -> bool:
    """Whether mail can be sent to this text as it stands: one local part, one domain, nothing around them."""
    # Beyond ASCII not every server takes an address (SMTPUTF8). In a header "=?" begins an encoded word: it
    # would stand there for anything, line breaks included.
    is_plain = text.isascii() and text.isprintable() and len(text) <= _LONGEST and "=?" not in text
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
    if text and (not text.isprintable() or sender_of(text) is None):
        raise ValueError("write a mail address, as pod@example.org or Pod <pod@example.org>")
    return text


def sender_of(text: str) -> Address | None:
    """A mailbox as a header holds it: whatever its name is made of, it is written so that it is one name.

    None when it is none. The name may be encoded already, as for a header.
    """
    match = _MAILBOX.fullmatch(text)
    if match is None or not is_address(address := match["bare"] or match["bracketed"]):
        return None
    try:
        name = str(make_header(decode_header(_unquoted((match["name"] or "").rstrip()))))
        return Address(name, addr_spec=address) if name.isprintable() and "=?" not in name else None
    except (MessageError, ValueError, LookupError):
        return None


def _unquoted(name: str) -> str:
    if len(name) > 1 and name[0] == name[-1] == '"':
        return re.sub(r"\\(.)", r"\1", name[1:-1])
    return name


def address_of(text: str) -> str:
    """The address in a mailbox, without its name; empty when it is none."""
    found = sender_of(text)
    return "" if found is None else found.addr_spec


def domain_of(text: str) -> str:
    """The domain of a mailbox; empty when it is none."""
    return address_of(text).rpartition("@")[2]
