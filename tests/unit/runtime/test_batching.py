import asyncio
from collections.abc import Sequence

import pytest

from poddispatchd.errors import DatabaseError, DatabaseUnavailableError, MediaSlowError
from poddispatchd.runtime.batching import Batcher


class _Work:
    """Doubles numbers; the number 13 spoils its batch, and batches wait for a sign."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, numbers: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(numbers))
        await self.go.wait()
        if 13 in numbers:
            raise DatabaseError("13 is refused")
        if 0 in numbers:
            raise DatabaseUnavailableError
        return [2 * number for number in numbers]


async def test_what_comes_in_at_once_or_meanwhile_goes_together() -> None:
    work = _Work()
    batcher = Batcher(work)
    work.go.clear()
    first = [asyncio.create_task(batcher.put(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later = [asyncio.create_task(batcher.put(number)) for number in (3, 4, 5)]
    await asyncio.sleep(0)
    work.go.set()
    assert await asyncio.gather(*first, *later) == [2, 4, 6, 8, 10]
    assert work.batches == [[1, 2], [3, 4, 5]]


async def test_one_that_spoils_a_batch_fails_alone() -> None:
    work = _Work()
    batcher = Batcher(work)
    results = await asyncio.gather(*(batcher.put(number) for number in (1, 13, 3)), return_exceptions=True)
    assert results[0] == 2
    assert results[2] == 6
    assert isinstance(results[1], DatabaseError)
    assert sorted(work.batches[1:]) == [[1], [3], [13]]


async def test_a_database_that_is_away_is_told_to_all_at_once() -> None:
    work = _Work()
    batcher = Batcher(work)
    results = await asyncio.gather(*(batcher.put(number) for number in (1, 0, 3)), return_exceptions=True)
    assert [type(result) for result in results] == [DatabaseUnavailableError] * 3
    assert len(work.batches) == 1
    assert await batcher.put(4) == 8


async def test_whoever_is_cancelled_while_it_waits_is_not_worked_on() -> None:
    work = _Work()
    batcher = Batcher(work)
    work.go.clear()
    first = asyncio.create_task(batcher.put(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    second, third = asyncio.create_task(batcher.put(2)), asyncio.create_task(batcher.put(3))
    await asyncio.sleep(0)
    second.cancel()
    work.go.set()
    assert list(await asyncio.gather(first, third)) == [2, 6]
    with pytest.raises(asyncio.CancelledError):
        await second
    assert work.batches == [[1], [3]]


async def test_one_that_goes_alone_waits_for_nobody_and_no_batch_is_too_long() -> None:
    work = _Work()
    batcher = Batcher(work, limit=2)
    work.go.clear()
    all_of_them = [asyncio.create_task(batcher.put(number)) for number in (1, 2, 3)]
    alone = asyncio.create_task(batcher.put(9, alone=True))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sorted(work.batches) == [[1, 2], [9]]
    work.go.set()
    assert await asyncio.gather(*all_of_them, alone) == [2, 4, 6, 18]


@pytest.mark.parametrize("error", [ZeroDivisionError("nobody foresaw it"), None])
async def test_what_nobody_foresaw_about_one_is_told_to_that_one_only(error: Exception | None) -> None:
    """One task with an odd source kept those that were read with it from being submitted."""

    async def work(numbers: Sequence[int]) -> Sequence[int]:
        if 13 not in numbers:
            return [2 * number for number in numbers]
        if error is not None:
            raise error
        return []

    batcher = Batcher(work)
    async with asyncio.timeout(10):
        results = await asyncio.gather(
            *(batcher.put(number) for number in (1, 13, 3)), return_exceptions=True
        )
    assert (results[0], results[2]) == (2, 6)
    assert isinstance(results[1], ZeroDivisionError if error else ValueError)


async def test_a_file_system_that_hangs_is_not_asked_once_for_each() -> None:
    asked: list[Sequence[int]] = []

    async def work(numbers: Sequence[int]) -> Sequence[int]:
        asked.append(numbers)
        raise MediaSlowError("it hangs")

    batcher = Batcher(work)
    results = await asyncio.gather(*(batcher.put(number) for number in (1, 2, 3)), return_exceptions=True)
    assert [type(result) for result in results] == [MediaSlowError] * 3
    assert asked == [[1, 2, 3]]


async def test_a_batch_waits_for_what_goes_before_it_and_takes_along_who_comes_meanwhile() -> None:
    work, others = _Work(), asyncio.Event()

    async def what_goes_before() -> None:
        await others.wait()

    batcher = Batcher(work, after=what_goes_before)
    first = asyncio.create_task(batcher.put(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    second = asyncio.create_task(batcher.put(2))
    await asyncio.sleep(0)
    assert work.batches == []
    others.set()
    assert list(await asyncio.gather(first, second)) == [2, 4]
    assert work.batches == [[1, 2]]
