"""The journal's own protocol: a line with fields, by which ``journalctl`` finds it.

``journalctl -u poddispatchd POD_TASK_ID=42``, ``VIDEO_ID=``, ``RUNNER_MANAGER=``, ``EVENT=``; MESSAGE_ID
leads ``journalctl --catalog`` to what the event means. See https://systemd.io/JOURNAL_NATIVE_PROTOCOL/.
"""

import socket
import struct
from collections.abc import Mapping
from pathlib import Path

from poddispatchd.domain.display import escaped
from poddispatchd.observability.catalog import message_id
from poddispatchd.observability.events import Event
from poddispatchd.observability.log_wait import LogWait

SOCKET = Path("/run/systemd/journal/socket")

_IDENTIFIER = "poddispatchd"

_FIELDS = {"video": "VIDEO_ID", "runner_manager": "RUNNER_MANAGER", "logger": "LOGGER"}
"""Fields of the journal by the keys of our events."""

_EVENTS = frozenset(Event)


def journal_fields(keys: Mapping[str, object]) -> dict[str, str]:
    """The fields of a line beside its text and priority, from its keys, out of which secrets are already."""
    event = str(keys.get("event", ""))
    found = {"EVENT": event, "MESSAGE_ID": message_id(event)} if event in _EVENTS else {}
    task = keys.get("task")
    # The id of a callback's task is the manager's, and a text.
    if isinstance(task, int) and not isinstance(task, bool):
        found["POD_TASK_ID"] = str(task)
    for key, field in _FIELDS.items():
        value = keys.get(key)
        if isinstance(value, (str, int)):
            found[field] = escaped(str(value)).replace("\n", " ")
    return found


def datagram(fields: Mapping[str, str]) -> bytes:
    """An entry in the journal's protocol. A value with a line end is given with its length."""
    parts: list[bytes] = []
    for name, value in fields.items():
        data = value.encode("utf-8", "replace")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)


class JournalSocket:
    """Sends lines to the journal; connects anew when the journal was restarted."""

    def __init__(self, path: Path = SOCKET) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._wait = LogWait()

    def send(self, message: str, priority: int, fields: Mapping[str, str]) -> bool:
        """Send a line; whether the journal has it. Where it has not, the caller writes it as a plain line."""
        data = datagram(
            {"MESSAGE": message, "PRIORITY": str(priority), "SYSLOG_IDENTIFIER": _IDENTIFIER, **fields}
        )
        # Twice: the first one may be to a journal that is not there any more.
        return self._sent(data) or (self._socket is None and self._sent(data))

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _sent(self, data: bytes) -> bool:
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.connect(str(self._path))
            # Anew for each line: what is left to wait for changes from line to line.
            self._socket.settimeout(self._wait.begin())
            self._socket.send(data)
        except (TimeoutError, BlockingIOError):
            self._wait.end(is_taken=False)
            return False
        except OSError:
            self.close()
            return False
        self._wait.end(is_taken=True)
        return True
