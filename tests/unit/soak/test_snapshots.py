"""The comparison of two snapshots names the place that keeps what it has allocated."""

import subprocess
import sys
from pathlib import Path

from soak.watch import differences

_PROGRAM = """
import tracemalloc, sys
tracemalloc.start(4)
kept = []
def hoard():
    kept.extend(bytes(1000) for _ in range(500))
hoard()
tracemalloc.take_snapshot().dump(sys.argv[1])
hoard()
tracemalloc.take_snapshot().dump(sys.argv[2])
"""


def test_a_hoard_is_named_first_with_its_size(tmp_path: Path) -> None:
    program = tmp_path / "hoarding.py"
    program.write_text(_PROGRAM)
    warm, end = tmp_path / "warm", tmp_path / "end"
    subprocess.run([sys.executable, program, warm, end], check=True)

    first = differences(warm, end)[0]

    assert "hoarding.py:6" in first
    assert "+500 blocks" in first
