"""Writes every file that is made from the code: ``make references``."""

import sys
from pathlib import Path

from references.catalogue import files


def main(root: Path) -> None:
    """Write all files below the root of a checkout, and name those that changed."""
    for name, text in files().items():
        path = root / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main(Path(__file__).resolve().parents[1])
