"""A question about many files: a file system that is slow with each is not one that does not answer."""

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from poddispatchd.errors import MediaSlowError
from poddispatchd.pod.media import tree as trees
from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.media.tree import FileTimeouts, MediaTree

_NAMES = [f"{number}.mp4" for number in range(10)]


async def _turns(
    tree: MediaTree, monkeypatch: pytest.MonkeyPatch, *, seconds: float
) -> tuple[list[str], list[int]]:
    """What is said of ten files that take so many seconds each, and how many were looked at in each turn."""
    ticks, turns = itertools.count(0.0, seconds), list[int]()
    monkeypatch.setattr(trees, "monotonic", lambda: next(ticks))
    of_some = trees._of_some

    def counted(function: Callable[[str], str], items: Sequence[str], half: float) -> list[str]:
        said = of_some(function, items, half)
        turns.append(len(said))
        return said

    monkeypatch.setattr(trees, "_of_some", counted)
    return await tree.look_each(Look.SOURCE, str.upper, _NAMES), turns


async def test_many_files_are_looked_at_in_one_turn_of_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, turns = await _turns(MediaTree(tmp_path), monkeypatch, seconds=0.001)
    assert said == [name.upper() for name in _NAMES]
    assert turns == [10]


async def test_a_file_system_that_takes_a_second_for_each_gets_turns_that_it_can_end_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, turns = await _turns(MediaTree(tmp_path), monkeypatch, seconds=1.0)
    assert said == [name.upper() for name in _NAMES]
    assert turns == [3, 3, 3, 1]


async def test_one_that_takes_longer_than_half_of_the_limit_is_still_asked_file_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, turns = await _turns(MediaTree(tmp_path), monkeypatch, seconds=4.0)
    assert turns == [1] * 10


async def test_one_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    tree = MediaTree(tmp_path, limits=FileTimeouts(look=0.05))
    with pytest.raises(MediaSlowError):
        await tree.look_each(Look.SOURCE, lambda _: time.sleep(0.3), _NAMES)
