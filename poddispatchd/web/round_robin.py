"""Who is served next: everybody in turn, however much somebody else has waiting."""

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class RoundRobin(Generic[Item]):
    """Waiting items of several owners: each owner has one taken, then the next one has."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Hashable, deque[Item]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, owner: Hashable, item: Item) -> None:
        """An item waits, behind those of its owner that wait already."""
        self._waiting.setdefault(owner, deque()).append(item)

    def take(self) -> Item:
        """The next one.

        Raises:
            KeyError: nothing waits.
        """
        owner, items = self._waiting.popitem(last=False)
        item = items.popleft()
        if items:
            self._waiting[owner] = items
        return item
