"""Every file that is made from the code, by its path in the repository."""

from collections.abc import Mapping
from functools import cache

from poddispatchd.config.example import example
from references import commands, events, http, lifecycle, metrics, settings
from references.shipped import shipped_files

HEAD = "<!-- Made from the code: make references -->\n\n"
"""Of every page below ``docs/reference``."""


@cache
def files() -> Mapping[str, str]:
    """The text of each file."""
    pages = {
        "settings": settings.page(),
        "commands": commands.page(),
        "exit-statuses": commands.statuses_page(),
        "events": events.page(),
        "metrics": metrics.page(),
        "http": http.page(),
    }
    return {
        "config.yaml.example": example(),
        "docs/lifecycle.md": lifecycle.text(),
        **{f"share/{name}": text for name, text in shipped_files().items()},
        **{f"docs/reference/{name}.md": HEAD + text for name, text in pages.items()},
    }
