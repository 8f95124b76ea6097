"""When it is told that a runner manager is down, or up again: not at every turn of one that comes and goes.

Down is told once it has lasted, or once it has happened several times within a while; up once that has
lasted and the manager has not gone down as often any more.
"""

from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

_TURNS = 3
"""How often a manager goes down within ``_WHILE`` times the delay until it is told to come and go."""

_WHILE = 10.0


class News(Enum):
    """What is to be told."""

    DOWN = "down"
    COMES_AND_GOES = "comes and goes"
    UP = "up"


class WatchedManager(Struct, frozen=True):
    """What was seen of a manager: since when it is as it is, when it went down lately, what was told last."""

    is_down: bool
    since: float
    went_down: tuple[float, ...] = ()
    told_down: bool = False

    def seen(self, now: float, *, is_down: bool, delay: float) -> "WatchedManager":
        """After another look, at ``now`` of a monotonic clock; ``delay``: seconds that news must last."""
        lately = tuple(at for at in self.went_down if now - at < _WHILE * delay)
        if is_down == self.is_down:
            return replace(self, went_down=lately)
        return WatchedManager(is_down, now, (*lately, now) if is_down else lately, self.told_down)

    def news(self, now: float, *, delay: float) -> News | None:
        """What is to be told now; None: nothing."""
        has_lasted = now - self.since >= delay
        comes_and_goes = len(self.went_down) >= _TURNS
        if self.is_down and not self.told_down:
            if comes_and_goes:
                return News.COMES_AND_GOES
            return News.DOWN if has_lasted else None
        if not self.is_down and self.told_down and has_lasted and not comes_and_goes:
            return News.UP
        return None

    def told(self, *, is_down: bool) -> "WatchedManager":
        """It was told to be down, or up."""
        return replace(self, told_down=is_down)
