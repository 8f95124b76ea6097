"""How long a new video is kept."""

from datetime import date

import pytest

from poddispatchd.domain.retention import date_of_deletion

TODAY = date(2026, 1, 1)
YEARS = {"student": 1, "staff": 5, "faculty": 3}


@pytest.mark.parametrize(
    ("affiliation", "days"),
    [
        ("student", 365),
        ("faculty", 3 * 365),
        ("visitor", 2 * 365),
        ("", 2 * 365),
        ("['student', 'staff']", 5 * 365),
        ("['visitor']", 2 * 365),
        ("[broken", 2 * 365),
        ("[1, 2]", 2 * 365),
        ("[{[]: 1}]", 2 * 365),
    ],
)
def test_the_affiliation_decides_how_long_a_video_is_kept(affiliation: str, days: int) -> None:
    assert (date_of_deletion(TODAY, affiliation, YEARS, 2) - TODAY).days == days
