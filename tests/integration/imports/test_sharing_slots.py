"""Import slots are shared between managers: one whose results take long holds up no other (invariant I12)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.imports import attempt
from poddispatchd.imports.attempt import ImportAttempt
from poddispatchd.imports.failure_handling import FailureHandling
from poddispatchd.imports.queue import ImportJob
from poddispatchd.runner.result_download import ResultDownloader
from poddispatchd.runtime import queue_tables
from poddispatchd.runtime.queue_tables import IMPORTS
from tests.integration.imports.bench import Bench, bench, idle
from tests.plugins.postgres import PodDatabase


class Attempts:
    """Attempts that last until they are let go.

    ``begun`` are the managers of all of them; ``checked`` says of one after the other that its result has
    been fetched.
    """

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.checked: list[Callable[[], None]] = []
        self.end = asyncio.Event()

    async def make(self, _: ImportAttempt, job: ImportJob, checked: Callable[[], None]) -> None:
        self.begun.append(job.runner_manager_id)
        self.checked.append(checked)
        await self.end.wait()


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, changes={"imports": {"concurrency": 2}}) as made:
        yield made


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> Attempts:
    made = Attempts()

    async def make(
        attempt: ImportAttempt, job: ImportJob, *, checked: Callable[[], None], is_ours: Callable[[], bool]
    ) -> None:
        assert is_ours()
        await made.make(attempt, job, checked)

    monkeypatch.setattr(ImportAttempt, "make", make)
    return made


async def _results(here: Bench, manager: int, *tasks: int) -> None:
    for task in tasks:
        await here.execute(
            "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id) VALUES ($1, $2, $3)",
            *(task, manager, f"t-{task}"),
        )


async def test_managers_take_turns(here: Bench, attempts: Attempts) -> None:
    await _results(here, 1, *range(10))
    await _results(here, 2, 100)
    importer = features.importer(here.parts)
    await importer.step()
    await asyncio.sleep(0)
    assert sorted(attempts.begun) == [1, 2]
    await importer.stop(5)


async def test_a_manager_whose_imports_take_long_does_not_keep_the_slots_from_others(
    here: Bench, attempts: Attempts
) -> None:
    """A byte every five seconds kept all slots for eighteen minutes."""
    await _results(here, 1, *range(10))
    importer = features.importer(here.parts)
    await importer.step()
    await _results(here, 2, 100, 101)
    # As yet they are no slower than others are: the number of the configuration holds.
    assert await importer.step() <= 30
    await asyncio.sleep(0)
    assert attempts.begun == [1, 1]
    here.clock.ahead += 30
    await importer.step()
    await asyncio.sleep(0)
    assert attempts.begun == [1, 1, 2]
    # One for each manager that has none, and no more.
    here.clock.ahead += 30
    await importer.step()
    await asyncio.sleep(0)
    assert attempts.begun == [1, 1, 2]
    assert importer.running == 3
    attempts.end.set()
    await idle(importer)
    await importer.stop(5)


async def test_a_result_that_has_been_fetched_leaves_its_slot_to_the_next(
    here: Bench, attempts: Attempts
) -> None:
    """The disk and the database were waited for, and meanwhile no manager was asked for anything."""
    await _results(here, 1, *range(10))
    importer = features.importer(here.parts)
    await importer.step()
    await asyncio.sleep(0)
    rings = here.parts.wakeups.importer.rings
    attempts.checked[0]()
    assert here.parts.wakeups.importer.rings == rings + 1
    await importer.step()
    await asyncio.sleep(0)
    assert (len(attempts.begun), importer.running) == (3, 3)
    # However slow the disk is, there are never more than twice as many as may be fetched at once.
    for checked in attempts.checked[1:]:
        checked()
    await importer.step()
    await asyncio.sleep(0)
    for checked in attempts.checked[3:]:
        checked()
    assert await importer.step() > 30
    await asyncio.sleep(0)
    assert importer.running == 4
    attempts.end.set()
    await idle(importer)
    await importer.stop(5)


async def test_a_disk_that_is_slow_does_not_count_as_a_slow_manager(here: Bench, attempts: Attempts) -> None:
    await _results(here, 1, 1, 2)
    importer = features.importer(here.parts)
    await importer.step()
    await asyncio.sleep(0)
    for checked in attempts.checked:
        checked()
    await _results(here, 1, 3, 4, 5)
    here.clock.ahead += 60
    await importer.step()
    await asyncio.sleep(0)
    # The first two have no slot, and so the manager may use both.
    assert (attempts.begun, importer.running) == ([1, 1, 1, 1], 4)
    attempts.end.set()
    await idle(importer)
    await importer.stop(5)


async def test_an_import_whose_failure_cannot_be_settled_is_set_aside_and_not_begun_again(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was given back uncounted and due at once: dozens of tracebacks a second."""

    async def broken(*_: object) -> None:
        raise ValueError("a bug")

    task, other = await here.ready(), await here.ready()
    await here.execute("UPDATE runner_manager_task SET task_id = 'gone' WHERE id = $1", task)
    monkeypatch.setattr(FailureHandling, "drop", broken)
    importer = features.importer(here.parts)
    await here.import_due(importer)
    assert await here.status(other) == "completed"
    [(state, attempts, words)] = await here.imports_of(task)
    # On a slow machine it may be due again before the other one is done; never at once.
    assert (state, attempts < IMPORTS.table.max_attempts) == ("open", True)
    for _ in range(IMPORTS.table.max_attempts):
        await here.import_again()
    [(state, attempts, words)] = await here.imports_of(task)
    assert (state, attempts) == ("set_aside", IMPORTS.table.max_attempts)
    assert "ValueError" in str(words)
    async with here.pod.connection() as connection:
        assert (await queue_tables.set_aside_counts(connection))["imports"] == 1


async def test_an_attempt_that_hangs_ends_and_counts(here: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    task = await here.ready()
    monkeypatch.setattr(attempt, "LONGEST_ATTEMPT", 0.2)
    monkeypatch.setattr(ResultDownloader, "download", hang)
    async with asyncio.timeout(20):
        await here.import_due()
    [(state, attempts, words)] = await here.imports_of(task)
    assert (state, attempts) == ("open", 1)
    assert "took longer than" in str(words)
