"""A statement that the server cancels concerns what it was for, and nothing else (I12)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.runtime.jobs import Progress
from poddispatchd.sandbox.fake_runner_manager import Behaviour, Mode, RunOutcome
from tests.integration.cancelling import CANCEL
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, mode=Mode.SHARED) as made:
        yield made


async def test_a_result_over_which_the_server_cancels_a_statement_holds_up_no_other(here: Bench) -> None:
    """No import was begun for up to a minute, each time that it was tried."""
    odd = await here.ready()
    await here.execute(CANCEL.format(condition=f"NEW.id = {odd} AND NEW.status = 'completed'"))
    importer = await here.import_due()
    other = await here.ready()
    await here.import_due(importer)

    assert (await here.status(odd), await here.status(other)) == ("running", "completed")
    [(state, attempts, words)] = await here.imports_of(odd)
    assert (state, attempts) == ("open", 0)
    assert words == (
        "The database ended a statement: it was cancelled, by a statement_timeout or because an "
        "administrator asked (57014)."
    )
    state_of_daemon = features.status(here.parts).state(Progress())
    assert f"The writing of a result fails (task {odd})" in " ".join(state_of_daemon.problems)
    assert state_of_daemon.database_writable
    assert here.staged() == []

    await here.execute("DROP FUNCTION cancel CASCADE")
    await here.import_again()
    assert await here.status(odd) == "completed"
    assert not here.parts.incidents.active


async def test_a_result_that_the_database_refuses_is_not_fetched_again_with_each_other_one(
    here: Bench,
) -> None:
    """Whenever another result was imported it was brought forward, however long it should have waited."""
    odd = await here.ready()
    await here.execute(CANCEL.format(condition=f"NEW.id = {odd} AND NEW.status = 'completed'"))
    importer, waits = await here.import_due(), []
    for _ in range(2):
        await here.execute("UPDATE poddispatchd.import SET next_attempt_at = now() WHERE state = 'open'")
        await here.import_due(importer)
        later = "UPDATE poddispatchd.import SET next_attempt_at = now() + interval '10 minutes'"
        await here.execute(f"{later} WHERE task_pk = $1", odd)
        await here.ready()
        await here.import_due(importer)
        is_long = "SELECT next_attempt_at > now() + interval '5 minutes' FROM poddispatchd.import"
        waits.append(await here.value(f"{is_long} WHERE task_pk = $1", odd))
    # The first time what kept it may have gone.
    assert waits == [False, True]


async def test_an_end_over_which_the_server_cancels_a_statement_holds_up_no_other(here: Bench) -> None:
    """The conversation with its manager ended there, each time: the others were never asked about."""
    odd, other = await here.running(), await here.running()
    for task in (odd, other):
        await here.end(task, Behaviour(outcome=RunOutcome.FAILED, error="Bad medium"))
    await here.execute(CANCEL.format(condition=f"NEW.id = {odd}"))
    watcher = features.reconciler(here.parts)
    await watcher.step()
    await watcher.until_idle()
    assert (await here.status(odd), await here.status(other)) == ("running", "failed")
