"""How costs grow: ``python -m benchmarks.growth docs/growth.svg`` measures, and draws curves (make growth).

Each point is a daemon on a Pod of its own: what its statements take, by PostgreSQL's own count, how long
callbacks take beside, and its memory. ``--quick`` leaves out the large ones.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import matplotlib as mpl

from benchmarks.callbacks import load_webhook
from benchmarks.manager import Managers, Spec, managers
from benchmarks.system import System, shared_server, system
from benchmarks.table import load, machine, percentile
from poddispatchd.pod import trigger

_ANSWER = 0.2
_WITHIN = 300.0
_SECONDS = 8.0
"""For which each daemon is watched while it submits."""

_STATEMENTS = {"look": "by_source AS MATERIALIZED", "ranks": "FROM written) AS changed"}
"""What only the text of these statements holds."""


@dataclass(frozen=True, slots=True)
class Point:
    """What a Pod has, and what it costs there. Times in milliseconds, memory in MiB.

    ``look``: to read the page of candidates; ``ranks``: to number the queue; ``rate``: the share of what its
    managers could take.
    """

    pending: int = 5_000
    finished: int = 10_000
    managers: int = 4
    has_index: bool = False
    look: float = 0.0
    ranks: float = 0.0
    webhook: float = 0.0
    memory: float = 0.0
    rate: float = 0.0


_AXES: Mapping[str, Sequence[Point]] = {
    "pending": [Point(pending=number) for number in (1_000, 10_000, 100_000)],
    "finished": [Point(finished=number) for number in (0, 100_000, 1_000_000)],
    "managers": [Point(managers=number) for number in (1, 10, 100)],
}
_LARGEST_QUICK = 10_000

_WITH_INDEX = "finished"
"""The axis on which everything is measured again with the index that is advised."""

_CURVES = {
    "look": "a look at the queue, ms",
    "ranks": "ranks written, ms",
    "webhook": "callbacks, p99, ms",
    "memory": "memory, MiB",
    "rate": "share of the managers' pace",
}


async def measure(point: Point, *, with_index: bool = False) -> list[Point]:
    """One daemon on a Pod, and another one once it has the index."""
    specs = [Spec(delay=_ANSWER)] * point.managers
    async with managers(specs) as fakes, system(fakes.ports) as pod:
        await pod.connection.execute("SET session_replication_role = replica")
        await pod.add_videos(point.pending)
        if point.finished:
            await pod.add_finished(point.finished)
        await pod.add_pending(pod.videos)
        await pod.connection.execute("VACUUM ANALYZE")
        found = [await _measured(point, pod, fakes)]
        if with_index:
            await pod.connection.execute(trigger.INDEX_SQL)
            await pod.connection.execute("VACUUM ANALYZE runner_manager_task")
            await pod.statistics.execute("SELECT pg_stat_statements_reset()")
            # The ranks are to be written again.
            await pod.connection.execute("UPDATE runner_manager_task SET rank = NULL WHERE rank IS NOT NULL")
            found.append(await _measured(replace(point, has_index=True), pod, fakes))
    return found


async def _measured(point: Point, pod: System, fakes: Managers) -> Point:
    daemon, before = await pod.start(), len(fakes.posts)
    await fakes.until(lambda: len(fakes.posts) >= before + 5 * point.managers, seconds=_WITHIN)
    before, begun = len(fakes.posts), time.monotonic()
    one = next(post for post in fakes.posts if post.manager == 0)
    await asyncio.sleep(_SECONDS)
    posts, seconds = len(fakes.posts) - before, time.monotonic() - begun
    taken = await load_webhook(pod.webhook, [one], 1, 2.0)
    memory = daemon.peak_memory
    await daemon.stop()
    return replace(
        point,
        look=await _mean(pod, "look"),
        ranks=await _mean(pod, "ranks"),
        webhook=1000 * percentile(taken, 0.99),
        memory=memory,
        rate=posts / (seconds * point.managers / _ANSWER),
    )


async def _mean(pod: System, name: str) -> float:
    """Milliseconds that a statement takes."""
    found = await pod.statistics.fetchval(
        "SELECT sum(total_exec_time) / sum(calls) FROM pg_stat_statements WHERE strpos(query, $1) > 0",
        _STATEMENTS[name],
    )
    return float(found or 0.0)


def draw(points: Mapping[str, Sequence[Point]], facts: Mapping[str, str], target: Path) -> None:
    """The curves, a row for each cost and a column for each thing that grows."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "poddispatchd"
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice of what draws

    figure, axes = plt.subplots(
        len(_CURVES), len(points), figsize=(10, 12), sharey="row", sharex="col", squeeze=False
    )
    for column, (name, found) in enumerate(points.items()):
        for row, (curve, title) in enumerate(_CURVES.items()):
            place = axes[row][column]
            for has_index, line in ((False, "o-"), (True, "s--")):
                drawn = [each for each in found if each.has_index is has_index]
                values = [[getattr(each, which) for each in drawn] for which in (name, curve)]
                place.plot(*values, line, label="with the advised index" if has_index else "as Pod makes it")
            place.grid(alpha=0.3)
            place.ticklabel_format(axis="x", style="plain")
            if not column:
                place.set_ylabel(title)
            if not row and any(each.has_index for each in found):
                place.legend(fontsize="small")
        axes[-1][column].set_xlabel(name)
        axes[-1][column].tick_params(axis="x", rotation=30)
    for row in axes:
        # Once all that share it are drawn; the highest marks lay on the edge where values differ by little.
        row[0].set_ylim(0, 1.08 * max(place.dataLim.y1 for place in row))
    figure.suptitle(f"{facts['at']}, {facts['processor']}, at a load of {facts['load']}")
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


async def _all(axes: Sequence[str], largest: int | None) -> dict[str, list[Point]]:
    points: dict[str, list[Point]] = {}
    for name in axes:
        points[name] = []
        for point in _AXES[name]:
            if largest is None or getattr(point, name) <= largest:
                points[name] += await measure(point, with_index=name == _WITH_INDEX)
                print(f"{points[name][-1]} load {load()}", flush=True)
    return points


def main(arguments: list[str]) -> None:
    """Measure, write what was measured beside the picture, and draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("target", type=Path, help="the drawing (SVG); the figures go beside it, as .json")
    parser.add_argument(
        "axes",
        nargs="*",
        metavar="AXIS",
        help=f"those only, of {', '.join(_AXES)}; the others are drawn as the figures beside have them",
    )
    parser.add_argument("--quick", action="store_const", const=_LARGEST_QUICK, help="without the large sizes")
    options = parser.parse_args(arguments)
    if unknown := [axis for axis in options.axes if axis not in _AXES]:
        parser.error(f"unknown: {', '.join(unknown)}")
    facts = machine()
    beside = options.target.with_suffix(".json")
    points = _read(beside) if options.axes else {}
    with shared_server():
        points |= asyncio.run(_all(options.axes or [*_AXES], options.quick))
    facts["load"] += f" to {load()}"
    document = {"machine": facts, "points": {name: [*map(asdict, each)] for name, each in points.items()}}
    beside.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    draw(points, facts, options.target)


def _read(document: Path) -> dict[str, list[Point]]:
    if not document.exists():
        return {}
    found = json.loads(document.read_text(encoding="utf-8"))["points"]
    return {name: [Point(**point) for point in points] for name, points in found.items()}


if __name__ == "__main__":
    main(sys.argv[1:])
