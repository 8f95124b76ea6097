"""How large source files are: asked once for each, and never waited for."""

import posixpath
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress

from poddispatchd.errors import MediaSlowError, ResultRefusedError
from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.media.tree import MediaTree

_KEPT = 5000


class SourceSizes:
    """Sizes by path, of the files that were asked about lately; a file system that is slow is left alone."""

    def __init__(self, tree: MediaTree) -> None:
        self._tree = tree
        self._known: OrderedDict[str, int | None] = OrderedDict()

    async def of(self, paths: Iterable[str], *, most: int) -> dict[str, int]:
        """The sizes in bytes of files, by their paths relative to MEDIA_ROOT, as far as they are known.

        Args:
            paths: of the files.
            most: files that are looked at; what is known already costs nothing.
        """
        wanted = list(dict.fromkeys(paths))
        missing = [path for path in wanted if path not in self._known][:most]
        if missing:
            # A forecast can do without them, and nobody is to wait for one.
            with suppress(MediaSlowError):
                self._remember(await self._tree.look(Look.SIZE, _sizes, self._tree, missing))
        return {path: size for path in wanted if (size := self._known.get(path)) is not None}

    def _remember(self, sizes: dict[str, int | None]) -> None:
        self._known.update(sizes)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)


def _sizes(tree: MediaTree, paths: Iterable[str]) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for path in paths:
        try:
            status = tree.path(posixpath.normpath(path)).status()
        except (OSError, ResultRefusedError):
            status = None
        found[path] = status.size if status is not None and status.is_file and status.size else None
    return found
