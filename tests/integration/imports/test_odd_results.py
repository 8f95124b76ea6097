"""A result that its runner manager cannot give is no failure of the manager (I12)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.domain.task import ManagerId, TaskPk
from poddispatchd.imports.importer import Importer
from poddispatchd.sandbox.fake_runner_manager import AnswerFault, FaultKind, Mode
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase

BROKEN = AnswerFault(kind=FaultKind.STATUS, status=500, body="Internal Server Error")
"""As FastAPI answers for a listing over which it fails."""
FORBIDDEN = AnswerFault(kind=FaultKind.STATUS, status=403, body={"detail": "not yours"})
FOREIGN = AnswerFault(kind=FaultKind.STATUS, status=200, body={"task_id": "another", "files": ["a.mp4"]})
NO_JSON = AnswerFault(kind=FaultKind.STATUS, status=200, body="[")

every_fault = pytest.mark.parametrize(
    "fault", [BROKEN, FORBIDDEN, FOREIGN, NO_JSON], ids=["broken", "forbidden", "foreign", "no-json"]
)


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, mode=Mode.SHARED) as made:
        yield made


async def _spoilt(here: Bench, fault: AnswerFault) -> TaskPk:
    task = await here.ready()
    match = str(await here.of(task, "task_id"))
    spoilt = AnswerFault(kind=fault.kind, status=fault.status, body=fault.body, match=match)
    here.fake.faults.inject("result", spoilt, times=None)
    return task


def _manager(here: Bench) -> ManagerId:
    return here.world.managers[0].id


async def _try_again(here: Bench, importer: Importer) -> None:
    await here.execute("UPDATE poddispatchd.import SET next_attempt_at = now() WHERE state = 'open'")
    await here.import_due(importer)


async def _is_soon_due(here: Bench, task: TaskPk) -> bool:
    return bool(
        await here.value(
            "SELECT next_attempt_at <= now() + interval '6 seconds' FROM poddispatchd.import"
            " WHERE task_pk = $1 AND state = 'open'",
            task,
        )
    )


@every_fault
async def test_results_that_cannot_be_had_keep_their_manager_from_no_task_and_no_other_result_waits(
    here: Bench, fault: AnswerFault
) -> None:
    """One listing that failed with 500, or named another task, and the manager got no task for a minute."""
    spoilt = [await _spoilt(here, fault) for _ in range(3)]
    importer, other = features.importer(here.parts), await here.ready()
    for _ in range(2):
        await _try_again(here, importer)
        assert not here.parts.registry.is_down(_manager(here))
        [report] = here.parts.registry.reports()
        assert (report.error, report.retry_in) == (None, None)
    assert await here.status(other) == "completed"
    assert {await here.status(task) for task in spoilt} == {"running"}
    # Nothing is lost: it is imported as soon as it can be had.
    here.fake.faults.clear("result")
    await _try_again(here, importer)
    assert {await here.status(task) for task in spoilt} == {"completed"}


async def test_a_person_sees_that_the_manager_answers_and_gives_only_this_result_not(here: Bench) -> None:
    task = await _spoilt(here, BROKEN)
    await here.import_due()
    [(state, attempts, words)] = await here.imports_of(task)
    assert (state, attempts) == ("open", 0)
    assert words == "Runner manager 'only' failed with status 500. It answers questions about other tasks."


async def test_a_manager_that_answers_nothing_is_still_left_alone(here: Bench) -> None:
    await here.ready()
    for endpoint in ("result", "status"):
        here.fake.faults.inject(endpoint, BROKEN, times=None)
    importer = features.importer(here.parts)
    for _ in range(2):
        await _try_again(here, importer)
    assert here.parts.registry.is_down(_manager(here))


async def test_a_result_that_cannot_be_had_is_not_asked_for_anew_with_every_other_that_is_imported(
    here: Bench,
) -> None:
    """Sixty results a minute that went through were sixty questions a minute about the one that did not."""
    importer, task = features.importer(here.parts), await _spoilt(here, BROKEN)
    await here.import_due(importer)
    soon = []
    for _ in range(3):
        await here.execute(
            "UPDATE poddispatchd.import SET next_attempt_at = now() + interval '10 minutes'"
            " WHERE task_pk = $1",
            task,
        )
        await here.ready()
        await here.import_due(importer)
        soon.append(await _is_soon_due(here, task))
        await _try_again(here, importer)
    # Once: what kept it waiting may have been the manager's trouble.
    assert soon == [True, False, False]
