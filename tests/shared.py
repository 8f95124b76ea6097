"""Where the recorded material lies beside a checkout, if it is there."""

from pathlib import Path

_BESIDE = Path(__file__).resolve().parents[2] / "shared"

SHARED: Path | None = _BESIDE if (_BESIDE / "vectors").is_dir() else None
"""The folder of recorded vectors and dumps; None on a machine without it."""
