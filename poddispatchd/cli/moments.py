"""Moments as people type them: a time of day, a date with a time, or a length of time from now or back."""

import re
from datetime import UTC, datetime, timedelta

import click
from msgspec import Struct

from poddispatchd.clock import Clock
from poddispatchd.config.units import parse_duration

_FIRST_YEAR, _LAST_YEAR = 1900, 3000
"""Far from where a sum of moments, a time zone or the driver of the database finds no date any more."""


def within_reach(moment: datetime) -> datetime:
    """The same moment.

    Raises:
        ValueError: nobody can mean one that is so long ago, or so far away.
        OverflowError: so is this one.
    """
    if not _FIRST_YEAR <= moment.astimezone(UTC).year < _LAST_YEAR:
        raise ValueError(f"it is not between the years {_FIRST_YEAR} and {_LAST_YEAR}")
    return moment


class Coming(Struct, frozen=True):
    """A moment that depends on another one, after which it comes."""

    text: str

    def after(self, moment: datetime) -> datetime:
        """The moment that was meant, in the time zone of this machine.

        Raises:
            ValueError: the text means none.
            OverflowError: nor does one that is so far away.
        """
        return within_reach(self._after(moment))

    def _after(self, moment: datetime) -> datetime:
        if re.fullmatch(r"\d\d?:\d\d", self.text):
            hour, minute = map(int, self.text.split(":"))
            local = moment.astimezone().replace(tzinfo=None)
            found = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
            if found <= local:
                found += timedelta(days=1)
            return found.astimezone()
        if re.match(r"\d{4}-", self.text):
            return datetime.fromisoformat(self.text).astimezone()
        return moment.astimezone() + timedelta(seconds=parse_duration(self.text))


class Moment(click.ParamType[Coming]):
    """A time of day (22:00), a date with a time (2026-03-01 22:00), or a length of time (2h)."""

    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Coming:
        """What was typed, if it can be understood."""
        if isinstance(value, Coming):
            return value
        coming = Coming(str(value).strip())
        try:
            coming.after(Clock().now())
        except (ValueError, OverflowError):
            self.fail(
                f"{coming.text!r} is no time (22:00), no date (2026-03-01 22:00) and no length of time (2h).",
                param,
                ctx,
            )
        return coming


class Since(click.ParamType[datetime | None]):
    """A length of time before now (2h), or a date (2026-03-01)."""

    name = "TIME"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime | None:
        """The moment that was meant."""
        if value is None or isinstance(value, datetime):
            return value
        text = str(value).strip()
        try:
            if re.match(r"\d{4}-", text):
                return within_reach(datetime.fromisoformat(text).astimezone())
            return within_reach(Clock().now().astimezone() - timedelta(seconds=parse_duration(text)))
        except (ValueError, OverflowError):
            self.fail(f"{text!r} is no length of time (30m, 2h, 7d) and no date (2026-03-01).", param, ctx)
