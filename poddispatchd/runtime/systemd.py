"""What systemd is told: READY, EXTEND_TIMEOUT_USEC, STATUS, WATCHDOG, RELOADING and STOPPING."""

import os
import time
import warnings
from collections.abc import Callable, Mapping

from sdnotify import SystemdNotifier

_LONGEST_SEND = 0.2
"""Seconds that a send may take: systemd's queue is only ever full for a moment."""

_LONGEST_STATUS = 500


class ServiceNotifier:
    """Notifications to the service manager; without ``$NOTIFY_SOCKET`` they do nothing.

    No method raises: a daemon does not die because nobody listens to it. What is sent returns whether it was.

    Args:
        environ: the environment, for ``$WATCHDOG_USEC`` and ``$WATCHDOG_PID``; the socket's address
            is read by the sdnotify library, from the process's own environment.
        monotonic_ns: the clock that systemd compares with, CLOCK_MONOTONIC.
    """

    def __init__(
        self, environ: Mapping[str, str] | None = None, *, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._monotonic_ns = monotonic_ns
        self._status: str | None = None
        self.is_up = False
        """Whether systemd was told that the start is over."""
        self.watchdog_interval = watchdog_interval(os.environ if environ is None else environ)
        self._notifier = _connect() if os.environ.get("NOTIFY_SOCKET") else None

    def ready(self) -> bool:
        """Started, or done with reloading."""
        self.is_up = True
        return self._send("READY=1")

    def extend_start(self, seconds: float) -> bool:
        """The start goes on: whatever ``TimeoutStartSec=`` says, it may take this long from now on."""
        return self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``; sent only when it changed."""
        line = " ".join(text.split())[:_LONGEST_STATUS]
        # Kept only if it was sent: what systemd did not take is sent again with the next beat.
        if line != self._status and self._send(f"STATUS={line}"):
            self._status = line

    def watchdog(self) -> bool:
        """Still making progress; call it every ``watchdog_interval`` seconds, and only if that is true."""
        return self._send("WATCHDOG=1")

    def stopping(self) -> bool:
        """Stopping was asked for and has begun."""
        return self._send("STOPPING=1")

    def reloading(self) -> None:
        """Reloading has begun; ``ready`` says when it is done.

        systemd wants the time in the same datagram: it tells this reload from an earlier one by it.
        """
        self._send(f"RELOADING=1\nMONOTONIC_USEC={self._monotonic_ns() // 1000}")

    def close(self) -> None:
        """Let go of the socket; later notifications do nothing."""
        notifier, self._notifier = self._notifier, None
        if notifier is not None:
            notifier.socket.close()

    def _send(self, state: str) -> bool:
        if self._notifier is None:
            return False
        try:
            # The library sends Latin-1, systemd reads UTF-8: hand it the bytes one by one.
            self._notifier.notify(state.encode("utf-8", "replace").decode("latin-1"))
        except OSError:
            return False
        return True


def _connect() -> SystemdNotifier | None:
    try:
        with warnings.catch_warnings():
            # The library drops its socket unclosed when nobody listens at the address.
            warnings.simplefilter("ignore", ResourceWarning)
            notifier = SystemdNotifier(debug=True)
    except (OSError, ValueError):
        return None
    notifier.socket.settimeout(_LONGEST_SEND)
    return notifier


def watchdog_interval(environ: Mapping[str, str]) -> float | None:
    """Seconds between two signs of life, half of what systemd allows; None when it expects none.

    ``$WATCHDOG_PID`` names whom systemd watches: a child that inherited the environment is not meant.
    """
    microseconds, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or int(microseconds) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(microseconds) / 1_000_000 / 2
