"""``python -m fuzz``: exit status 0 when nothing was violated, 1 otherwise."""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from fuzz.campaign import Plan, run
from fuzz.daemon import shown


def main() -> int:
    """Try everything and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Say anything to it, and look.")
    parser.add_argument(
        "--seed", type=int, default=1, help="what decides about everything (default: %(default)s)"
    )
    parser.add_argument("--requests", type=int, default=100_000, help="how many (default: %(default)s)")
    parser.add_argument("--answers", type=int, default=10_000, help="how many (default: %(default)s)")
    arguments = parser.parse_args()
    begun = time.monotonic()

    def tell(words: str) -> None:
        print(f"{time.monotonic() - begun:6.0f} s  {words}", flush=True)

    with tempfile.TemporaryDirectory(prefix="poddispatchd-fuzz-") as directory:
        plan = Plan(arguments.seed, arguments.requests, arguments.answers)
        violations = asyncio.run(run(plan, Path(directory), tell))
    tell(f"{len(violations)} violations")
    if violations:
        print(shown(violations))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
