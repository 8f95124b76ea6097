"""``python -m benchmarks [NAME…]``: runs those named, else all; exit status 1 when a limit is missed."""

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Coroutine

import structlog

from benchmarks import dispatch, foresight, queue
from benchmarks.report import Figure

BENCHMARKS: dict[str, Callable[[], Coroutine[None, None, list[Figure]]]] = {
    "insert-to-post": dispatch.insert_to_post,
    "callback-to-post": dispatch.callback_to_post,
    "slot-use": dispatch.slot_use,
    "many-managers": dispatch.many_managers,
    "long-queue": queue.long_queue,
    "foresight": foresight.calibration,
}


def main(names: list[str]) -> int:
    """Run and print; the exit status."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"There is no benchmark {unknown[0]}; there are: {', '.join(BENCHMARKS)}.", file=sys.stderr)
        return 2
    missed = 0
    for name in names or BENCHMARKS:
        begun = time.monotonic()
        figures = asyncio.run(BENCHMARKS[name]())
        print(f"{name} ({time.monotonic() - begun:.0f} s)")
        for figure in figures:
            print(f"  {figure.line()}", flush=True)
            missed += not figure.holds
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
