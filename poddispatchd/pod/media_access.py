"""Whether the media tree can be used by this process, in words."""

import os
import tempfile
from pathlib import Path


def trouble_with(directory: Path) -> str | None:
    """What keeps this process from reading and writing in a directory; None when nothing does.

    It may block for as long as the file system does: not for the event loop.
    """
    try:
        directory.stat()
    except FileNotFoundError:
        return f"{directory} does not exist: set pod.media_root to Pod's MEDIA_ROOT."
    except PermissionError:
        return f"{directory} cannot be reached by this user: run as the user of Pod."
    except OSError as error:
        return f"{directory} cannot be looked at: {error.strerror or error}."
    if not directory.is_dir():
        return f"{directory} is not a directory: set pod.media_root to Pod's MEDIA_ROOT."
    if not os.access(directory, os.R_OK | os.X_OK):
        return f"{directory} cannot be read by this user: run as the user of Pod."
    try:
        with tempfile.TemporaryFile(dir=directory):
            return None
    except OSError as error:
        return f"{directory} cannot be written: {error.strerror or error}."
