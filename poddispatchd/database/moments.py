"""Moments as PostgreSQL keeps them: 'infinity', and years for which Python has no date.

One row with such a moment is read like any other. The driver gives up the whole answer over it, with all
other rows in it, and nothing that reads the table works any more (invariant I12).
"""

from datetime import UTC, date, datetime, timedelta
from typing import Final

import asyncpg

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""PostgreSQL's."""

_FIRST, _LAST = datetime(1000, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
"""What lies between them is read as it is; centuries can be added to it, or taken away."""

_MICROSECOND: Final = timedelta(microseconds=1)
_LOWEST, _HIGHEST = (_FIRST - _EPOCH) // _MICROSECOND, (_LAST - _EPOCH) // _MICROSECOND
_LOWEST_DAY, _HIGHEST_DAY = (_FIRST - _EPOCH).days, (_LAST - _EPOCH).days


class FarMoment(datetime):
    """A moment of another age, shown as the nearest one that can be; ``kept`` is what PostgreSQL has.

    It is written back as it was read: who compares a row with what was read of it finds it unchanged (I4).
    """

    kept: int

    @classmethod
    def of(cls, kept: int) -> "FarMoment":
        """The one of so many microseconds since PostgreSQL's epoch."""
        # On the side where it lies, so that it sorts as in PostgreSQL.
        moment = cls((_FIRST if kept < 0 else _LAST).year, 1, 1, tzinfo=UTC)
        moment.kept = kept
        return moment


def _moment(value: tuple[int]) -> datetime:
    kept = value[0]
    if _LOWEST <= kept <= _HIGHEST:
        return _EPOCH + timedelta(0, 0, kept)
    return FarMoment.of(kept)


def _kept(moment: datetime) -> tuple[int]:
    if isinstance(moment, FarMoment):
        return (moment.kept,)
    # One without a zone is of this machine's, as for the driver.
    since = moment.astimezone(UTC) - _EPOCH
    return ((since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds,)


def _day(value: tuple[int]) -> date:
    return _EPOCH.date() + timedelta(min(max(value[0], _LOWEST_DAY), _HIGHEST_DAY))


def _kept_day(day: date) -> tuple[int]:
    return ((day - _EPOCH.date()).days,)


async def read_all(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Let a connection read whatever moment and day there is; nothing is sent."""
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", encoder=_kept, decoder=_moment, format="tuple"
    )
    await connection.set_type_codec(
        "date", schema="pg_catalog", encoder=_kept_day, decoder=_day, format="tuple"
    )
