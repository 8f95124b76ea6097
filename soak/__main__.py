"""``python -m soak``: exit status 0 when everything was flat and nothing was violated, 1 otherwise."""

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from chaos.campaign import Plan, run
from chaos.report import text
from chaos.sabotage import KINDS
from chaos.timeline import Kind
from soak.verdict import findings
from soak.watch import Watch

_BEGIN_ANEW = (
    Kind.DAEMON_KILL,
    Kind.LEADER_KILL,
    Kind.DAEMON_STOP,
    Kind.DAEMON_PAUSE,
)
"""Faults after which a daemon is another process, or answers nobody."""


def command(config: Path, clock: Path) -> list[str]:
    """How the daemons are started: the memory of the second one is traced."""
    traced = ["--trace"] if config.stem.endswith("B") else []
    return [sys.executable, "-m", "soak.observed_daemon", str(config), str(clock), *traced]


def main() -> int:
    """Let it work for an hour and print what has grown."""
    parser = argparse.ArgumentParser(prog="python -m soak", description="Work for an hour, and hold no more.")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (default: %(default)s)")
    parser.add_argument(
        "--warm-up", type=float, help="minutes that do not count (default: a sixth of all)", metavar="MINUTES"
    )
    parser.add_argument("--rate", type=float, default=40.0, help="new tasks a minute (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=1, help="what decides about the faults (default: %(default)s)"
    )
    parser.add_argument(
        "--pace", type=float, default=4.0, help="more: rarer faults; 1 is one in 3 s (default: %(default)s)"
    )
    parser.add_argument("--keep", type=Path, help="directory for samples, snapshots and logs, kept")
    arguments = parser.parse_args()
    warm_up = arguments.minutes / 6 if arguments.warm_up is None else arguments.warm_up
    directory = arguments.keep or Path(tempfile.mkdtemp(prefix="poddispatchd-soak-"))
    directory.mkdir(parents=True, exist_ok=True)
    plan = Plan(
        round(arguments.rate * arguments.minutes),
        arguments.seed,
        arguments.minutes,
        pace=arguments.pace,
        kinds={kind: share for kind, share in KINDS.items() if kind not in _BEGIN_ANEW},
        feeding=1.0,
    )
    watch = Watch(directory, warm_up)
    result = asyncio.run(run(plan, directory, tell=True, command=command, watched=watch.on))
    print(text(result))
    print(f"\n{len(watch.samples)} samples, {watch.missed} missed; of the traced daemon grew most:")
    print("\n".join(watch.grown))
    found = findings(watch.samples, warm_up=warm_up)
    print(f"\n{'median after the warm-up':<32} first     last     most    limit")
    for one in found:
        verdict = "flat" if one.is_flat else "GROWN"
        print(
            f"{one.daemon + ' ' + one.name:<28}{one.first:9.0f}{one.last:9.0f}{one.most:9.0f}"
            f"{one.limit:+9.0f}  {verdict}"
        )
    is_fine = not result.violations and all(one.is_flat for one in found)
    if not is_fine or arguments.keep is not None:
        print(f"Samples, snapshots and logs: {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)
    return 0 if is_fine else 1


if __name__ == "__main__":
    sys.exit(main())
