"""What all faults share."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import TypeAlias, TypeVar

Fault: TypeAlias = Callable[[], Coroutine[object, object, None]]
"""Causes one fault, and comes back when it is over."""

_T = TypeVar("_T")


@dataclass(slots=True)
class Lot:
    """Decides who is hit and for how long.

    ``brevity`` scales the seconds. When it ``is_over``, nobody begins any more.
    """

    random: Random
    brevity: float = 1.0
    is_over: bool = False

    def seconds(self, least: float, most: float) -> float:
        """How long a fault lasts."""
        return self.random.uniform(least, most) * self.brevity

    def one_of(self, targets: Sequence[_T]) -> _T:
        """Who is hit."""
        return self.random.choice(targets)

    @asynccontextmanager
    async def turn(self, busy: asyncio.Lock) -> AsyncIterator[bool]:
        """Wait until nobody else is at a target; whether it is still to be hit."""
        async with busy:
            yield not self.is_over
