"""What a line looks like: JSON, the pairs that systemd reads, and what a terminal may be shown."""

import json
import re
from collections.abc import MutableMapping
from contextlib import suppress

import msgspec
from structlog.typing import EventDict, WrappedLogger

from poddispatchd.domain.display import escaped, escaped_json

_JSON = json.JSONEncoder(ensure_ascii=False)
_ASCII_JSON = json.JSONEncoder()
_QUICK_JSON = msgspec.json.Encoder()

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "exception": 3, "critical": 2}
"""Of syslog, as sd-daemon(3) takes them at the beginning of a line."""

_BARE = re.compile(
    r"[^\s\"'=\\\x00-\x1f\x7f-\xa0\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb]+"
)


def render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """One object."""
    line = _encoded(event)
    # Of ASCII, JSON leaves nothing but DEL in a text that acts: most lines need no closer look.
    return line if line.isascii() and "\x7f" not in line else escaped_json(line)


def render_ascii_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """The same in ASCII, for a stream of another encoding than the one that programs read."""
    return escaped_json(_ASCII_JSON.encode(event))


def _encoded(event: EventDict) -> str:
    """The object by what is quick; by what knows every number and every text where that does not."""
    with suppress(ValueError, OverflowError):
        return msgspec.json.format(_QUICK_JSON.encode(event), indent=0).decode()
    return _JSON.encode(event)


def printable(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The same with nothing in it that a terminal acts upon."""
    return {name: escaped(value) if isinstance(value, str) else value for name, value in event.items()}


def render_journald(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """``<6>task.submitted task=12 manager="the first"``: systemd takes the priority off and adds the time."""
    keys: MutableMapping[str, object] = dict(event)
    priority = _PRIORITIES.get(str(keys.pop("level", "info")), 6)
    text = _escape(str(keys.pop("event", "")))
    # The traceback comes last: it is long.
    tail = {name: keys.pop(name) for name in ("stack", "exception") if name in keys}
    pairs = [f"{_key(name)}={_pair_value(value)}" for name, value in (*keys.items(), *tail.items())]
    return " ".join((f"<{priority}>{text}", *pairs))


def _key(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name) or "_"


def _pair_value(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            text = value
        case _:
            text = _JSON.encode(value)
    is_bare = _BARE.fullmatch(text) and escaped(text) == text
    return text if is_bare else f'"{_escape(text, quoted=True)}"'


def _escape(text: str, *, quoted: bool = False) -> str:
    """A text on one line, whatever it holds."""
    if quoted:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    text = text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return escaped_json(text)
