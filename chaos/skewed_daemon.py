"""The daemon on a machine whose wall clock is wrong: ``python -m chaos.skewed_daemon SECONDS run -c …``."""

import sys
from datetime import UTC, datetime, timedelta

from poddispatchd import clock
from poddispatchd.cli.main import main


def skew(seconds: float) -> None:
    """Put the wall clock of this process ahead; timers and the database's clock stay right."""

    class Skewed(clock.Clock):
        def now(self) -> datetime:
            return datetime.now(UTC) + timedelta(seconds=seconds)

    clock.Clock = Skewed  # type: ignore[misc]  # before anything else has imported it


if __name__ == "__main__":
    skew(float(sys.argv.pop(1)))
    main()
