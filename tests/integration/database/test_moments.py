"""Moments that PostgreSQL has and Python has not: each is read, shown, and written back as it was."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.integration.pod.rows import opened
from tests.plugins.postgres import PodDatabase

_FAR = ("infinity", "-infinity", "294276-01-01 00:00+00", "4713-01-01 00:00+00 BC", "9999-12-31 23:59+00")


@pytest.mark.parametrize("text", _FAR)
async def test_a_moment_of_another_age_spoils_no_answer_and_is_found_unchanged(
    pod_database: PodDatabase, text: str
) -> None:
    async with opened(pod_database) as database:
        rows = await database.fetch("SELECT unnest(ARRAY[now(), $1::text::timestamptz]) AS moment", text)
        near, far = (row["moment"] for row in rows)
        assert abs(near - datetime.now(UTC)) < timedelta(minutes=5)
        # Whatever is done with moments can be done with it.
        for other in (far + timedelta(days=36500), far - timedelta(days=36500)):
            assert other.astimezone(ZoneInfo("Pacific/Kiritimati")).isoformat() == str(
                other.astimezone(ZoneInfo("Pacific/Kiritimati"))
            ).replace(" ", "T")
        assert (far < near) is text.endswith(("BC", "-infinity"))
        [row] = await database.fetch(
            "SELECT $1 = far AND $2::timestamptz[] = ARRAY[far] AS is_same"
            " FROM CAST($3::text AS timestamptz) AS far",
            *(far, [far], text),
        )
        assert row["is_same"]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris", "America/St_Johns"])
async def test_other_moments_are_those_that_they_were(pod_database: PodDatabase, zone: str) -> None:
    async with opened(pod_database) as database:
        for moment in (
            datetime(1969, 12, 31, 23, 59, 59, 999999, ZoneInfo(zone)),
            datetime.now(ZoneInfo(zone)),
        ):
            [row] = await database.fetch(
                "SELECT $1::timestamptz AS same, $1::timestamptz::text AS text", moment
            )
            assert row["same"] == moment == datetime.fromisoformat(row["text"])
        [row] = await database.fetch("SELECT $1::date AS day, 'infinity'::date AS far", date(2026, 2, 28))
        assert (row["day"], row["far"].year) == (date(2026, 2, 28), 9000)
