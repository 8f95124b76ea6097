"""How long Pod keeps a new video."""

import ast
from collections.abc import Mapping
from datetime import date, timedelta


def date_of_deletion(today: date, affiliation: str, years: Mapping[str, int], default_years: int) -> date:
    """The day on which a new video may be deleted, as Pod computes it: years of 365 days.

    Args:
        today: the day the video is made, in Pod's time zone.
        affiliation: the owner's; an affiliation that looks like a list counts with its longest time.
        years: ACCOMMODATION_YEARS, by affiliation.
        default_years: DEFAULT_YEAR_DATE_DELETE.
    """
    known = [years[name] for name in _affiliations(affiliation) if name in years]
    return today + timedelta(days=365 * max(known, default=default_years))


def _affiliations(text: str) -> list[str]:
    """``student``, or the names in ``['student', 'staff']``."""
    if text.startswith("["):
        try:
            names = ast.literal_eval(text)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return [text]
        return [name for name in names if isinstance(name, str)]
    return [text]
