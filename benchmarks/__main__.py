"""``python -m benchmarks``: figures of the daemon beside bare ones; exit status 1 when a limit is missed."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

from benchmarks import (
    callbacks,
    campaigning,
    fairness,
    foresight,
    latency,
    memory,
    rest,
    results,
    slots,
    submissions,
)
from benchmarks.sizes import Size
from benchmarks.system import shared_server
from benchmarks.table import HEAD, Figure, line, load, machine, record

MEASUREMENTS: dict[str, Callable[[Size], Coroutine[None, None, list[Figure]]]] = {
    "instant-managers": submissions.instant_managers,
    "slow-managers": submissions.slow_managers,
    "long-queue": submissions.long_queue,
    "insert-to-post": latency.insert_to_post,
    "callback-to-post": latency.callback_to_post,
    "slot-use": slots.slot_use,
    "many-managers": slots.many_managers,
    "callbacks": callbacks.callbacks,
    "small-results": results.small_results,
    "large-result": results.large_result,
    "start": rest.start,
    "idle": rest.idle,
    "large-imports": memory.large_imports,
    "large-callbacks": memory.large_callbacks,
    "journal-size": memory.journal_size,
}
"""Those that run unless others are named."""


async def _foresight(_: Size) -> list[Figure]:
    return foresight.calibration()


async def _fairness(_: Size) -> list[Figure]:
    return fairness.fairness()


async def _campaigns(_: Size) -> list[Figure]:
    return campaigning.campaigning()


BY_NAME = {"foresight": _foresight, "fairness": _fairness, "campaigns": _campaigns}


def main(arguments: list[str]) -> int:
    """Measure and print; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"those only; of all, in turn: {', '.join(MEASUREMENTS)}; by name only: {', '.join(BY_NAME)}",
    )
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument(
        "--quick",
        dest="size",
        action="store_const",
        const=Size.QUICK,
        default=Size.USUAL,
        help="one round of fewer samples: a first impression",
    )
    sizes.add_argument(
        "--full", dest="size", action="store_const", const=Size.FULL, help="five rounds of all samples"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file, too")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in (*MEASUREMENTS, *BY_NAME)]:
        parser.error(f"unknown: {', '.join(unknown)}")
    facts = machine()
    print(", ".join(f"{name} {value}" for name, value in facts.items()), HEAD, sep="\n")
    figures: list[Figure] = []
    missed: list[str] = []
    with shared_server():
        for name in options.names or MEASUREMENTS:
            begun = time.monotonic()
            found = asyncio.run({**MEASUREMENTS, **BY_NAME}[name](options.size))
            print(*map(line, found), sep="\n")
            print(f"  ({name}: {time.monotonic() - begun:.0f} s, load {load()})", flush=True)
            figures += found
            missed += [f"{name} ({each.name.lstrip('… ')})" for each in found if not each.keeps(each.limit)]
    if options.json is not None:
        document = {"machine": facts, "size": options.size.name, "figures": [*map(record, figures)]}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if missed:
        print(f"missed at a load of {facts['load']} to {load()}: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
