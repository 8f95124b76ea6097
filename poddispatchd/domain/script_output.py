"""The text of a task's ``script_output``: what runners reported, joined as Pod joins it, and bounded."""

import re

LIMIT = 2**20
"""Bytes kept at most, in UTF-8."""

_MOST_BYTES = 4
"""Of a character in UTF-8."""

_SEPARATOR = "\n---\n"
_MARK = "\n[… the middle of this output was left out …]\n"
_SURROGATE = re.compile("[\ud800-\udfff]")
_CALLBACK_WARNING = "Notify callback warning: "
_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+(?:[.:,-]\d+)*")

DEFAULT_FAILURE = "Runner manager task {status}"
"""Pod's words for a failure that came without any."""

_SAYS_NOTHING = ("0", "0.0", "False", "[]", "{}")
"""Texts of JSON values that Pod takes for absent when it looks for words to show."""


def storable(text: str) -> str:
    """A text that PostgreSQL can store: without NUL, and with U+FFFD in place of lone surrogates."""
    text = text.replace("\0", "")
    # Nearly all are without surrogates, and the pattern takes ten times as long to find none as the encoder.
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text)
    return text


def merge_output(
    old: str | None, error_message: str | None, script_output: str | None, *, limit: int = LIMIT
) -> str:
    """What the column holds once a callback is taken into account.

    Mirrors Pod: the old text, then the error message and a line of dashes (even when the message is empty,
    but not when it is missing), then the output. Where Pod would append it again, a callback that is repeated
    changes nothing (invariant I8); beyond ``limit`` bytes the middle is cut out, because the first lines tell
    what ran and the last ones why it ended.
    """
    before = storable(old or "")
    output = storable(script_output or "")
    added = ("" if error_message is None else storable(error_message) + _SEPARATOR) + output
    # A status record and a callback say "no error" in two ways.
    is_known = _ends_with(before, added, limit) or (
        not error_message and output and _ends_with(before, output, limit)
    )
    return bounded(before if is_known else before + added, limit)


def with_sentence(old: str | None, words: str, *, is_reason: bool = False) -> str:
    """An output with a sentence of our own behind it, on a line of its own; once, however often it is added.

    The reason of a failure is read from what stands before the last line of dashes. So where an earlier run
    has left such a line, a sentence that is the reason gets one of its own.
    """
    before = old or ""
    is_there = before.endswith(words)
    if before and not is_there and not before.endswith("\n"):
        before += "\n"
    if is_reason and not is_there and _SEPARATOR in before:
        return merge_output(before, words, None)
    return merge_output(before, None, words)


def without_callback_warning(error_message: str | None) -> str | None:
    """An error message without what a runner manager appends to it when it could not call us.

    Mirrors Esup-Runner (``Notify callback warning: …``): the rest is what it said before, and says again once
    a retry of its call succeeds.
    """
    if error_message is None:
        return None
    # Not by a pattern: one that skips white space takes hours for megabytes of it.
    at = 0
    while (found := error_message.find(_CALLBACK_WARNING, at)) >= 0:
        before = error_message[at:found]
        said = before.rstrip()
        if not said and at == 0:
            return ""
        if (blank := before.find("\n\n", len(said))) >= 0:
            return error_message[: at + blank]
        at = found + len(_CALLBACK_WARNING)
    return error_message


def is_told(script_output: str | None, error_message: str | None) -> bool:
    """Whether an output holds this error message already, whatever stands behind it."""
    return bool(error_message) and storable(error_message or "") + _SEPARATOR in (script_output or "")


def failure_identity(error_message: str | None, script_output: str | None, status: str) -> str:
    """What makes a failure the same one when it is reported again.

    A runner that runs an old failure again has the same words for it, with other times and places in them;
    its output never is the same. Where it has no words, the end of its output is what it says.
    """
    words = " ".join((error_message or (script_output or "")[-200:]).casefold().split())
    return f"{status}: {_NUMBERS.sub('0', words)}"


def failure_words(error_message: str | None, script_output: str | None, status: str) -> str:
    """What a person reads about a failure: the error message, else the output, else Pod's general words."""
    for text in (error_message, script_output):
        if text and text not in _SAYS_NOTHING and (words := storable(text)):
            return words
    return DEFAULT_FAILURE.format(status=status)


def bounded(text: str, limit: int = LIMIT) -> str:
    """A text of at most ``limit`` bytes in UTF-8: the middle of a longer one is cut out, and marked."""
    if _MOST_BYTES * len(text) <= limit:
        return text
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    head, tail = _halves(limit)
    return encoded[:head].decode(errors="ignore") + _MARK + _end_of(encoded, tail)


class BoundedText:
    """A text that arrives in pieces, and of which only what ``bounded`` keeps is wanted."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._size = 0
        self._head = bytearray()
        self._tail = bytearray()

    def add(self, piece: str) -> None:
        """The next piece; it holds no lone surrogate (see ``storable``)."""
        encoded = piece.encode()
        self._size += len(encoded)
        room = self._limit - len(self._head)
        self._head += encoded[:room]
        self._tail += encoded[room:] if room < len(encoded) else b""
        if len(self._tail) > 2 * self._limit:
            del self._tail[: -self._limit]

    def text(self) -> str:
        """What ``bounded`` makes of all pieces together."""
        if self._size <= self._limit:
            return self._head.decode()
        head, tail = _halves(self._limit)
        encoded = bytes(self._head[head:] + self._tail)
        return self._head[:head].decode(errors="ignore") + _MARK + _end_of(encoded, tail)


def _halves(limit: int) -> tuple[int, int]:
    room = max(limit - len(_MARK.encode()), 0)
    return room // 2, room - room // 2


def _end_of(encoded: bytes, size: int) -> str:
    return encoded[len(encoded) - size :].decode(errors="ignore") if size else ""


def _ends_with(text: str, added: str, limit: int) -> bool:
    if text.endswith(added):
        return True
    # An addition that was itself cut left only its end, behind the mark.
    encoded, (_, tail) = added.encode(), _halves(limit)
    return len(encoded) > tail and text.endswith(_MARK + _end_of(encoded, tail))
