"""What windows and pauses mean for people: until when, and how long that is from now."""

from collections.abc import Callable, Iterable
from datetime import datetime

from poddispatchd.domain.availability import Pause, WindowNow
from poddispatchd.domain.situation import duration_words


class TimetableWords:
    """Words of one moment.

    Args:
        now: the moment.
        shown: writes a moment for people.
    """

    def __init__(self, now: datetime, shown: Callable[[datetime], str]) -> None:
        self._now = now
        self._shown = shown

    def window(self, window: WindowNow) -> str:
        """When it opens or closes."""
        if window.is_open:
            until = "" if window.closes_at is None else f" until {self._countdown(window.closes_at)}"
            return f"window {window.hours}: open{until}"
        if window.opens_at is None:
            return f"window {window.hours}: never open"
        return f"window {window.hours}: opens at {self._countdown(window.opens_at)}"

    def pause(self, pause: Pause) -> str:
        """One that holds."""
        until = "" if pause.ends is None else f" until {self._countdown(pause.ends)}"
        return f"paused since {self._shown(pause.begins)}{until}{_why(pause)}"

    def planned(self, pauses: Iterable[Pause]) -> list[str]:
        """Those to come."""
        return [
            f"pause planned from {self._countdown(pause.begins)}"
            + ("" if pause.ends is None else f" to {self._shown(pause.ends)}")
            + _why(pause)
            for pause in pauses
        ]

    def _countdown(self, moment: datetime) -> str:
        return f"{self._shown(moment)} (in {duration_words(moment - self._now)})"


def _why(pause: Pause) -> str:
    return f": {pause.reason}" if pause.reason else ""
