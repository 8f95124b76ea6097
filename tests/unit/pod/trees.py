"""Small trees of files."""

from pathlib import Path


def staged(directory: Path, **files: str) -> Path:
    """A directory with these files; ``__`` in a name stands for a slash."""
    for name, content in files.items():
        path = directory / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return directory
