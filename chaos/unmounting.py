"""Mounts that end with the process that made them, however it ends: also killed, it leaves none."""

import subprocess
from pathlib import Path

_WHEN_NOBODY_HOLDS_THE_PIPE = """\
read -r _
server=$1
shift
test -z "$server" || { kill -CONT "$server"; kill "$server"; }
for place; do umount --lazy "$place"; done
"""

_DONE_WITHIN = 10.0
"""Seconds."""


class Unmounting:
    """Unmounts places when it is closed, or when the process that made it is gone.

    Args:
        places: where something is mounted, the uppermost first.
        server: the process id of the file server that serves one of them, which ends before.
    """

    def __init__(self, *places: Path, server: int | None = None) -> None:
        words = ["sh", "-c", _WHEN_NOBODY_HOLDS_THE_PIPE, "sh", str(server or ""), *map(str, places)]
        self._keeper = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # What interrupts us is not for it.
            start_new_session=True,
        )

    def close(self) -> None:
        """Unmount them now."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait(_DONE_WITHIN)
