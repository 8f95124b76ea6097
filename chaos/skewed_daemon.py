"""The daemon on a machine whose wall clock is wrong: ``python -m chaos.skewed_daemon FILE run -c …``.

FILE holds by how many seconds it is ahead, and is read at every look at the clock, so that it can jump.
The daemon reads its wall clock in one place only (a test holds that), and that is replaced here; its timers
and the time stamps of its log stay right, as does the database's clock. A preloaded libfaketime would be
nearer to a real machine, but Python's sleeps do not survive it.
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from poddispatchd import clock
from poddispatchd.cli.main import main


def skew(file: Path) -> None:
    """Put the wall clock of this process ahead."""

    class Skewed(clock.Clock):
        def now(self) -> datetime:
            return datetime.now(UTC) + timedelta(seconds=float(file.read_text(encoding="ascii")))

    clock.Clock = Skewed  # type: ignore[misc]  # before anything else has imported it


if __name__ == "__main__":
    skew(Path(sys.argv.pop(1)))
    main()
