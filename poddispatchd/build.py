"""Which build this is: the version, and the commit that it was built from, where that is known."""

import re
from pathlib import Path

from poddispatchd import __version__

_REVISION = re.compile(r"g[0-9a-f]{7,40}(\.dirty)?")


def _read() -> str | None:
    """What the build wrote; None in a checkout, and where it was built without git."""
    try:
        found = Path(__file__).with_name("_revision").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return found if _REVISION.fullmatch(found) else None


REVISION = _read()
"""``g1a2b3c4d5e``, with ``.dirty`` where files were changed since; None: not known."""

FULL_VERSION = __version__ if REVISION is None else f"{__version__}+{REVISION}"
"""The version for people; packages and addresses have the plain one."""
