"""The daemons of one database, by name: which of this host have ended without giving back what they held."""

import os
import socket
from functools import cache
from hashlib import blake2s
from pathlib import Path

_BOOT = "/proc/sys/kernel/random/boot_id"
"""Another one for each start of each machine."""

_NUMBERS = "/proc/self/ns/pid"
"""Another one for each container that numbers its processes anew."""


def instance_name() -> str:
    """This process among those of the same database: host, process id, where it is one, when it began."""
    # The release before knew no place, and takes all behind the second colon for the beginning: with a place
    # there any living process of ours would be a dead one. What is no process id it leaves alone.
    place = f"@{_place()}" if _place() else ""
    return f"{socket.gethostname()}:{os.getpid()}{place}:{_began(os.getpid())}"


def is_dead(owner: str) -> bool:
    """Whether an instance has ended that ran where this process does; of others nothing is known: False."""
    host, _, rest = owner.partition(":")
    process, _, began = rest.partition(":")
    pid, _, place = process.partition("@")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    # Names of hosts come twice, as those of cloned machines, or of containers in the network of their host.
    # The release before told no place.
    if place and place != _place():
        return False
    # Numbers of processes come again: when it began tells two apart.
    return _began(int(pid)) != began


@cache
def _place() -> str:
    """Where process ids mean what they mean here; empty where the system does not tell."""
    try:
        facts = Path(_BOOT).read_bytes() + os.fsencode(Path(_NUMBERS).readlink())
    except OSError:
        return ""
    return blake2s(facts, digest_size=4).hexdigest()


def _began(pid: int) -> str:
    """When a process began, in the kernel's clock ticks; empty when there is none, or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    # The name before it, in brackets, may hold brackets and blanks. Field 22 of proc(5) is the start.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else fields[19]
