"""The daemon, which tells what it holds: ``python -m soak.observed_daemon CONFIG CLOCK [--trace]``.

``LOOK``: memory, threads, descriptors and asyncio tasks are written to the file that ``observation`` names;
with ``--trace`` the first one begins the tracing, for a start takes long under it. ``SNAPSHOT``, with
``--trace``: a snapshot of tracemalloc goes beside it. The process looks at itself, since the kernel hides
what belongs to one that forbids dumps (``runtime/hardening.py``).
"""

import asyncio
import ctypes
import gc
import json
import signal
import sys
import tracemalloc
from pathlib import Path
from types import FrameType

from chaos.skewed_daemon import skew
from poddispatchd.cli.main import main

LOOK, SNAPSHOT = signal.SIGRTMIN, signal.SIGRTMIN + 1
"""Signals that the daemon leaves alone: it handles SIGUSR1 and SIGUSR2 itself, and does nothing then."""


def observation(config: Path) -> Path:
    """Where the daemon of a configuration writes what it holds."""
    return config.with_suffix(".observation")


def snapshot(config: Path) -> Path:
    """Where its snapshots go; whoever reads one moves it away."""
    return config.with_suffix(".snapshot")


def look() -> dict[str, int]:
    """What this process holds now."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    figures = dict(line.split(":", 1) for line in status.splitlines())
    return {
        "rss_kib": int(figures["VmRSS"].split()[0]),
        "anonymous_kib": int(figures["RssAnon"].split()[0]),
        "threads": int(figures["Threads"]),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())) - 1,
        "tasks": _tasks(),
        "traced_kib": tracemalloc.get_traced_memory()[0] // 1024,
        **_heap(),
    }


_NAMES = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
    *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)


class _MallInfo2(ctypes.Structure):
    """What mallinfo2(3) tells, as malloc.h has it."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in _NAMES)


def _heap() -> dict[str, int]:
    """What of the C library's heaps is used and free; nothing where it does not tell."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return {}
    mallinfo2.restype = _MallInfo2
    told = mallinfo2()
    return {"heap_used_kib": (told.uordblks + told.hblkhd) // 1024, "heap_free_kib": told.fordblks // 1024}


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        # The loop has not begun, or is over.
        return 0


def _write(path: Path, text: str) -> None:
    fresh = path.with_suffix(".fresh")
    fresh.write_text(text, encoding="ascii")
    fresh.replace(path)


def _answer_signals(config: Path, *, is_traced: bool) -> None:
    def told(_: int, __: FrameType | None) -> None:
        if is_traced and not tracemalloc.is_tracing():
            tracemalloc.start(3)
        _write(observation(config), json.dumps(look()))

    def traced(_: int, __: FrameType | None) -> None:
        gc.collect()
        fresh = snapshot(config).with_suffix(".unfinished")
        tracemalloc.take_snapshot().dump(str(fresh))
        fresh.replace(snapshot(config))

    signal.signal(LOOK, told)
    if is_traced:
        signal.signal(SNAPSHOT, traced)


def _churn_interned_names() -> None:
    """Bring CPython's table of interned strings to the size that it has in the long run.

    Names that come and go (parts of paths, say) leave marks in it until it is made anew, once, with room for
    three times as many as it holds: 2 MiB in one piece, after half an hour or two hours of work.
    """
    for number in range(2**17):
        sys.intern(f"name {number}")


if __name__ == "__main__":
    config, clock = Path(sys.argv[1]), Path(sys.argv[2])
    is_traced = "--trace" in sys.argv
    sys.argv[1:] = ["run", "-c", str(config)]
    _churn_interned_names()
    skew(clock)
    _answer_signals(config, is_traced=is_traced)
    main()
