"""A daemon that stands by knows the runner managers as they are now: it imports, and it is looked at."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from poddispatchd.app import features
from tests.integration.imports.bench import TOKEN, Bench, bench, schedule
from tests.plugins.postgres import PodDatabase


@pytest.fixture
async def standby(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root) as made:
        schedule(made.parts, None)
        yield made


async def test_it_imports_with_a_token_that_was_changed_meanwhile(standby: Bench) -> None:
    """It went on with the managers of its start, and gave up results that another daemon could have got."""
    task = await standby.ready()
    for token in ("an-old-token", TOKEN):
        await standby.execute("UPDATE runner_manager SET token = $1", token)
        standby.clock.ahead += 11
        if token != TOKEN:
            await standby.parts.managers.refresh()
    await standby.import_due()
    assert await standby.status(task) == "completed"


async def test_it_shows_managers_that_were_added_and_removed(standby: Bench) -> None:
    dispatcher = features.dispatcher(standby.parts)
    await standby.execute("UPDATE runner_manager SET name = 'renamed'")
    standby.clock.ahead += 301
    await dispatcher.step()
    assert [manager.name for manager in standby.parts.registry.reports()] == ["renamed"]


async def test_it_looks_at_them_rarely(standby: Bench) -> None:
    dispatcher = features.dispatcher(standby.parts)
    await standby.execute("UPDATE runner_manager SET name = 'renamed'")
    standby.clock.ahead += 299
    await dispatcher.step()
    assert [manager.name for manager in standby.parts.registry.reports()] != ["renamed"]
