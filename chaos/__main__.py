"""``python -m chaos``: exit status 0 when nothing was violated, 1 otherwise."""

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

from chaos import pgbouncer
from chaos.campaign import Plan, run
from chaos.report import text


def main() -> int:
    """Run a campaign and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description="Break everything, lose nothing.")
    parser.add_argument("--tasks", type=int, default=2000, help="how many tasks (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="what decides about the faults (default: a random one)")
    parser.add_argument(
        "--minutes", type=float, default=9.0, help="at most so long are faults caused (default: %(default)s)"
    )
    parser.add_argument(
        "--settle",
        type=float,
        default=420.0,
        help="seconds to come to an end after it (default: %(default)s)",
    )
    parser.add_argument("--pace", type=float, default=1.0, help="more: rarer faults (default: %(default)s)")
    parser.add_argument(
        "--drills",
        type=int,
        default=1,
        help="how often recoveries are measured undisturbed, before all else (default: %(default)s)",
    )
    parser.add_argument(
        "--pooler",
        choices=("session", "transaction"),
        help="what a PgBouncer between daemons and database pools (default: there is none)",
    )
    parser.add_argument(
        "--file-server",
        action="store_true",
        help="serve the media tree by a bindfs that can stand still; as root (default: a plain file system)",
    )
    parser.add_argument(
        "--from",
        dest="older",
        type=Path,
        metavar="DIRECTORY",
        help="the tree of an older release, whose daemons are upgraded in the middle of it (default: none)",
    )
    parser.add_argument("--keep", type=Path, help="directory for logs and histories, kept")
    arguments = parser.parse_args()
    if arguments.pooler is not None:
        try:
            pgbouncer.installed()
        except pgbouncer.PgBouncerMissingError as error:
            parser.error(str(error))
    seed = SystemRandom().randrange(1 << 31) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    directory = arguments.keep or Path(tempfile.mkdtemp(prefix="poddispatchd-chaos-"))
    directory.mkdir(parents=True, exist_ok=True)
    plan = Plan(
        arguments.tasks,
        seed,
        arguments.minutes,
        settle=arguments.settle,
        pace=arguments.pace,
        drills=arguments.drills,
        pooler=arguments.pooler,
        file_server=arguments.file_server,
        older=arguments.older and arguments.older.resolve(),
    )
    result = asyncio.run(run(plan, directory, tell=True))
    print(text(result))
    if result.violations:
        print(f"Logs and histories: {directory}")
        return 1
    if arguments.keep is None:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
