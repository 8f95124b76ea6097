"""Which of a video's thumbnails Pod shows."""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import assert_never

_MIDDLE_SINCE = (4, 4)

_NUMBER = re.compile(r"_(\d{1,9})\.[^./]+$")


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

    def ordered(self, names: Sequence[str]) -> Sequence[str]:
        """These names in the order in which they are tried: the first that is there is taken.

        Of two the later is in the middle. Names without a number stand behind those with one.
        """
        match self:
            case ThumbnailChoice.FIRST:
                return names
            case ThumbnailChoice.MIDDLE:
                by_number = sorted(names, key=_number_in)
                middle = len(by_number) // 2
                return by_number[middle : middle + 1] + by_number[:middle] + by_number[middle + 1 :]
            case _:
                assert_never(self)


def _number_in(name: str) -> tuple[bool, int]:
    """A key by the number at the end of a name's stem, as in ``source_2.png``; one without it stands last."""
    match = _NUMBER.search(name)
    return (True, 0) if match is None else (False, int(match[1]))
