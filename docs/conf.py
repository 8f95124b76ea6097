"""How the documentation is built: ``make docs``. Pages are the Markdown files of this directory."""

import re
from pathlib import Path

from sphinx.application import Sphinx

from poddispatchd import __version__

project = "poddispatchd"
release = version = __version__
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
nitpicky = True
suppress_warnings = [
    "misc.highlighting_failure"
]  # diagrams are shown as they are written: nothing draws them
html_theme = "furo"
html_title = f"poddispatchd {__version__}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

_HERE = Path(__file__).parent
_LISTED = re.compile(r"^([\w/-]+)$", re.MULTILINE)


def _list_the_rest(_: Sphinx, page: str, source: list[str]) -> None:
    """Pages that index.md does not name come last: to add one, its file is enough."""
    if page != "index":
        return
    listed = set(_LISTED.findall(source[0]))
    found = {str(path.relative_to(_HERE).with_suffix("")) for path in _HERE.rglob("*.md")}
    rest = sorted(found - listed - {"index"})
    if rest:
        names = "\n".join(rest)
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: More\n\n{names}\n```\n"


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _list_the_rest)
