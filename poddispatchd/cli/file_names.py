"""Names of files are UTF-8, as Pod writes them, whatever the locale of the service says."""

import os
import sys

_MODE, _OUTPUT = "PYTHONUTF8", "PYTHONIOENCODING"


def begin_again_in_utf8() -> None:
    """Begin the process again, as it is, in Python's UTF-8 mode if names of files are not UTF-8 in it.

    In a locale as ``fr_FR@euro``, Python takes a file that Pod calls ``été.mp4`` for another one that is not
    there, and its task would fail. What is written to terminals stays in their encoding, and arguments and
    the environment keep their meaning.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get(_MODE) == "1" or not sys.executable:
        return
    output = "utf-8" if sys.stdout is None else sys.stdout.encoding
    environment = {_OUTPUT: output, **os.environ, _MODE: "1"}
    os.execve(  # noqa: S606 - this very program
        sys.executable,
        [_bytes(argument) for argument in (sys.executable, *sys.orig_argv[1:])],
        {_bytes(name): _bytes(value) for name, value in environment.items()},
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
