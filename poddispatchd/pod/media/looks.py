"""One question about many files."""

from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import TypeVar

from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.media.tree import MediaTree

Item = TypeVar("Item")
Answer = TypeVar("Answer")


async def look_each(
    tree: MediaTree, kind: Look, function: Callable[[Item], Answer], items: Sequence[Item], *, place: str = ""
) -> list[Answer]:
    """What a function says of each item: many in one turn of a thread, which ends at half of its time.

    So a file system that takes long for each is waited for, as if they were looked at one by one.

    Args:
        tree: whose threads look, each turn within ``limits.look`` seconds.
        kind: of look.
        function: looks at one item.
        items: in their order.
        place: looks at another one do not wait for this.

    Raises:
        MediaSlowError: the file system does not answer.
    """
    said: list[Answer] = []
    limit = tree.limits.look
    while rest := items[len(said) :]:
        said += await tree.look_within(limit, kind, partial(_of_some, function, rest, limit / 2), place=place)
    return said


def _of_some(function: Callable[[Item], Answer], items: Sequence[Item], seconds: float) -> list[Answer]:
    """What it says of the first one, and of as many more as begin within these seconds."""
    until = monotonic() + seconds
    said: list[Answer] = []
    for item in items:
        if said and monotonic() > until:
            break
        said.append(function(item))
    return said
