"""When an obstacle goes, what waited for it does not sit out a wait that grew with the trouble."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.domain.task import ManagerId, TaskPk, TaskType
from poddispatchd.errors import DatabaseUnavailableError, RunnerManagerUnavailableError
from poddispatchd.imports import blocked_imports, queue
from poddispatchd.imports.blocked_imports import BlockedImports
from poddispatchd.imports.importer import Importer
from poddispatchd.journal.imports import ImportId
from poddispatchd.runtime.blocked_writes import BlockedWrites
from poddispatchd.sandbox.fake_runner_manager import AnswerFault, FaultKind, Mode
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, mode=Mode.SHARED) as made:
        yield made


async def _obstructed(here: Bench, importer: Importer, count: int) -> list[TaskPk]:
    """Imports whose manager has given nothing for an hour, and which wait for long by now."""
    waiting = [await here.ready() for _ in range(count)]
    here.fake.faults.inject("result", AnswerFault(kind=FaultKind.DROP), times=None)
    await here.import_due(importer)
    here.fake.faults.clear()
    await here.execute(
        "UPDATE poddispatchd.import SET obstructed_since = now() - interval '1 hour',"
        " next_attempt_at = now() + interval '10 minutes'"
        " WHERE state = 'open' AND obstructed_since IS NOT NULL"
    )
    return waiting


async def _seconds_until_due(here: Bench, task: TaskPk) -> float:
    seconds = await here.value(
        "SELECT extract(epoch FROM next_attempt_at - now())::float FROM poddispatchd.import"
        " WHERE task_pk = $1 AND state = 'open'",
        task,
    )
    assert isinstance(seconds, float)
    return seconds


async def test_an_import_that_goes_through_brings_the_others_of_its_manager_forward(here: Bench) -> None:
    importer = features.importer(here.parts)
    waiting = await _obstructed(here, importer, 2)
    latest = await here.ready()
    await here.import_due(importer)
    assert await here.status(latest) == "completed"
    assert max([await _seconds_until_due(here, task) for task in waiting]) <= 5


async def test_a_manager_that_answers_again_gets_its_waiting_imports(here: Bench) -> None:
    importer, registry = features.importer(here.parts), here.parts.registry
    [task] = await _obstructed(here, importer, 1)
    manager = registry.all()[0]
    for _ in range(2):
        registry.learn(manager, RunnerManagerUnavailableError("It is away."))
    await importer.step()
    assert await _seconds_until_due(here, task) > 500
    registry.learn(manager, None)
    await importer.step()
    assert await _seconds_until_due(here, task) <= 5


async def test_imports_whose_manager_is_back_are_brought_forward_when_the_database_is_back_too(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That they need not wait was forgotten with the statement that failed: they waited on."""
    importer, registry = features.importer(here.parts), here.parts.registry
    [task] = await _obstructed(here, importer, 1)
    manager = registry.all()[0]
    for _ in range(2):
        registry.learn(manager, RunnerManagerUnavailableError("It is away."))
    await importer.step()
    registry.learn(manager, None)

    async def gone(*_: object) -> None:
        raise DatabaseUnavailableError

    with monkeypatch.context() as broken:
        broken.setattr(queue, "bring_forward", gone)
        with pytest.raises(DatabaseUnavailableError):
            await importer.step()
    await importer.step()
    assert await _seconds_until_due(here, task) <= 5


async def test_imports_that_fail_one_after_the_other_bring_nothing_forward(here: Bench) -> None:
    importer = features.importer(here.parts)
    [task] = await _obstructed(here, importer, 1)
    await here.ready()
    here.fake.faults.inject("result", AnswerFault(kind=FaultKind.DROP), times=None)
    await here.import_due(importer)
    assert await _seconds_until_due(here, task) > 500


async def test_an_import_that_waits_by_its_own_fault_is_not_brought_forward(here: Bench) -> None:
    importer = features.importer(here.parts)
    [task] = await _obstructed(here, importer, 1)
    await here.execute("UPDATE poddispatchd.import SET obstructed_since = NULL WHERE task_pk = $1", task)
    latest = await here.ready()
    await here.import_due(importer)
    assert await here.status(latest) == "completed"
    assert await _seconds_until_due(here, task) > 500


async def _refuse_all(here: Bench) -> None:
    await here.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE 'no' USING ERRCODE = 'check_violation'; END $$"
    )
    await here.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON video_encode_transcript_encodingvideo"
        " FOR EACH ROW EXECUTE FUNCTION refuse()"
    )


async def test_results_of_which_the_database_takes_none_wait_until_it_does(here: Bench) -> None:
    """A trigger of a site's let each of them use up its attempts: all videos of a night failed."""
    importer = features.importer(here.parts)
    await _refuse_all(here)
    waiting = [await here.ready() for _ in range(3)]
    for _ in range(8):
        await here.execute("UPDATE poddispatchd.import SET next_attempt_at = now() WHERE state = 'open'")
        await here.import_due(importer)
    assert [await here.status(task) for task in waiting] == ["running"] * 3
    here.clock.ahead += 200
    assert "the database refuses whatever is to be written" in " ".join(
        BlockedWrites(here.parts.incidents, here.parts.locked_rows, here.clock).words
    )

    await here.execute("DROP FUNCTION refuse CASCADE")
    latest = await here.ready()
    await here.import_due(importer)
    assert await here.status(latest) == "completed"
    await here.execute("UPDATE poddispatchd.import SET next_attempt_at = now() WHERE state = 'open'")
    await here.import_due(importer)
    assert [await here.status(task) for task in waiting] == ["completed"] * 3
    assert here.parts.incidents.active == ()


async def test_a_result_that_is_refused_while_others_are_taken_fails(here: Bench) -> None:
    importer = features.importer(here.parts)
    odd = [await here.video(title=f"Odd {number}") for number in range(2)]
    await here.execute(
        "ALTER TABLE video_encode_transcript_encodingvideo ADD CONSTRAINT of_the_site"
        f" CHECK (video_id NOT IN ({odd[0].id}, {odd[1].id})) NOT VALID"
    )
    tasks = [await here.ready(video=video) for video in odd]
    for _ in range(6):
        # Both are refused, and then another one is taken: it is about these two.
        await here.execute("UPDATE poddispatchd.import SET next_attempt_at = now() WHERE state = 'open'")
        await here.import_due(importer)
        await here.ready()
        await here.import_due(importer)
    assert [await here.status(task) for task in tasks] == ["failed"] * 2


async def test_where_all_are_refused_and_few_come_only_the_first_fails(here: Bench) -> None:
    """Also over restarts: each daemon here is a new one, as a pass of the CRON is."""
    await _refuse_all(here)

    async def tried(task: TaskPk) -> str:
        for _ in range(6):
            await here.execute("UPDATE poddispatchd.import SET next_attempt_at = now() WHERE state = 'open'")
            async with here.another() as elsewhere:
                await elsewhere.import_due()
        return await here.status(task)

    assert [await tried(await here.ready()) for _ in range(3)] == ["failed", "running", "running"]
    # Another type has other tables.
    assert await tried(await here.ready(TaskType.TRANSCRIPTION)) == "completed"


def test_what_is_remembered_of_imports_that_end_elsewhere_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked_imports, "_MOST", 3)
    blocked, away = BlockedImports(), RunnerManagerUnavailableError("away")
    for number in range(9):
        blocked.met(ImportId(number), ManagerId(number % 2), away if number % 3 else OSError("full"))
    assert blocked.passed(ImportId(99), ManagerId(0)) == {ImportId(8), ImportId(6)}
    blocked.met(ImportId(1), ManagerId(0), away)
    blocked.ended(ImportId(1))
    assert blocked.passed(ImportId(99), ManagerId(0)) == set()
