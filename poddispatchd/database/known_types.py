"""What PostgreSQL's own types consist of: asked once by a process, not by each of its connections.

asyncpg asks the server about most kinds of arrays that it meets, on every connection anew. That recursive
statement takes longer than nearly all of ours, and a connection asks it several times.
"""

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

_FIRST_OF_A_CLUSTER = 10_000
"""Object ids below it are assigned in PostgreSQL's source, and mean the same on every server."""

_USUAL = (1000, 1001, 1005, 1007, 1015, 1016, 1022, 1115, 1185)
"""Arrays of boolean, bytea, smallint, integer, varchar, bigint, float8, timestamp and timestamptz."""

NOTHING_PREPARED: Any = SimpleNamespace(name="none")
"""Stands for the statement that asked: none has taken the place of the one being prepared."""


class KnownTypes:
    """The types that a server has told of."""

    def __init__(self) -> None:
        self._types: dict[int, Mapping[str, object]] = {}

    def of(self, oids: Iterable[int]) -> list[Mapping[str, object]] | None:
        """What was told of these types, and of others; None if one of them is not known."""
        return list(self._types.values()) if self._types.keys() >= {*oids} else None

    def worth_asking(self, oids: Iterable[int]) -> list[int]:
        """The types to ask about when some are wanted: the usual ones as well, to ask no more."""
        return sorted({*oids, *_USUAL})

    def keep(self, types: Iterable[Mapping[str, Any]]) -> None:
        """Keep what a server has told; of what is a database's own, nothing."""
        self._types |= {each["oid"]: each for each in types if is_everywhere((each["oid"],))}


def is_everywhere(oids: Iterable[int]) -> bool:
    """Whether all of these types are the same on every server."""
    return all(oid < _FIRST_OF_A_CLUSTER for oid in oids)


KNOWN = KnownTypes()
"""Those of this process."""
