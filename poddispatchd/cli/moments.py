"""Moments to come, as people type them: a time of day, a date with a time, or a length of time."""

import re
from datetime import datetime, timedelta

import click
from msgspec import Struct

from poddispatchd.config.units import parse_duration


class Coming(Struct, frozen=True):
    """A moment that depends on another one, after which it comes."""

    text: str

    def after(self, moment: datetime) -> datetime:
        """The moment that was meant, in the time zone of this machine.

        Raises:
            ValueError: the text means none.
        """
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
            coming.after(datetime(2000, 1, 1).astimezone())
        except (ValueError, OverflowError):
            self.fail(
                f"{coming.text!r} is no time (22:00), no date (2026-03-01 22:00) and no length of time (2h).",
                param,
                ctx,
            )
        return coming
