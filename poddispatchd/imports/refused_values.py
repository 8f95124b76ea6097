"""Whether the database refuses the values of one result, or those of all, as a site's own constraint does."""

from poddispatchd.domain.task import TaskType
from poddispatchd.errors import ValuesRefusedError
from poddispatchd.journal.imports import ImportId

_SEVERAL = 2
"""So many results are refused, with none written since, before that is more than their own fault."""

_MOST = 1000
"""Results of one kind of which this is remembered: enough to tell one from many."""


class RefusedValues:
    """The results that were refused since the last one of their type was written, by what they met.

    Also those that have failed over it since: where all are refused and few come, the first fails alone.
    """

    def __init__(self) -> None:
        self._refused: dict[TaskType, dict[str | None, dict[ImportId, None]]] = {}
        self._odd: dict[ImportId, None] = {}
        """Those that were refused before another one was written."""

    def are_of_all(self, kind: TaskType, import_id: ImportId, error: ValuesRefusedError) -> bool:
        """A result was refused: whether that is about all of its type, as far as anybody can know."""
        if import_id in self._odd:
            return False
        alike = self._refused.setdefault(kind, {}).setdefault(error.sqlstate, {})
        alike[import_id] = None
        _bound(alike)
        return len(alike) >= _SEVERAL

    def written(self, kind: TaskType) -> None:
        """A result of this type was written: what is refused is refused for its own values."""
        for alike in self._refused.pop(kind, {}).values():
            self._odd |= alike
        _bound(self._odd)


def _bound(known: dict[ImportId, None]) -> None:
    while len(known) > _MOST:
        del known[next(iter(known))]
