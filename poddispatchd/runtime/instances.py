"""The daemons of one database, by name: which of this host have ended without giving back what they held."""

import os
import socket
from pathlib import Path


def instance_name() -> str:
    """This process among those of the same database: host, process id and when the process began."""
    return f"{socket.gethostname()}:{os.getpid()}:{_began(os.getpid())}"


def is_dead(owner: str) -> bool:
    """Whether an instance of this host has ended; of other hosts nothing is known, and False is said."""
    host, _, rest = owner.partition(":")
    pid, _, began = rest.partition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    # Numbers of processes come again, after a reboot soon: when it began tells two apart.
    return _began(int(pid)) != began


def _began(pid: int) -> str:
    """When a process began, in the kernel's clock ticks; empty when there is none, or only its corpse."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    # The name before it, in brackets, may hold brackets and blanks. Field 22 of proc(5) is the start.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else fields[19]
