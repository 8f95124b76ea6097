"""Which of a video's thumbnails Pod shows."""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import assert_never

_MIDDLE_SINCE = (4, 4)


class ThumbnailChoice(StrEnum):
    """Which of the thumbnails that a runner makes becomes the video's."""

    FIRST = "first"
    """The first that is named, as Pod did before 4.4."""
    MIDDLE = "middle"
    """The middle one by the numbers in their names, taken at half of the video, as Pod does since."""

    @classmethod
    def by_version(cls, pod_version: str) -> "ThumbnailChoice":
        """What a Pod of this version does; one that cannot be read is taken for an old one."""
        numbers = [int(number) for number in re.findall(r"\d{1,9}", pod_version)[:2]]
        return cls.MIDDLE if numbers >= list(_MIDDLE_SINCE) else cls.FIRST

    def of(self, names: Sequence[str]) -> str:
        """The one of these names (at least one) that is taken; of two the later."""
        match self:
            case ThumbnailChoice.FIRST:
                return names[0]
            case ThumbnailChoice.MIDDLE:
                return sorted(names, key=_number_in)[len(names) // 2]
            case _:
                assert_never(self)


def _number_in(name: str) -> int:
    """The number at the end of a name's stem, as in ``source_2.png``; 0 without one."""
    match = re.search(r"(\d{1,9})\.[^.]*$", name)
    return 0 if match is None else int(match[1])
