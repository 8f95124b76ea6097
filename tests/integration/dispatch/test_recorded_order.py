"""Recorded queues through the real dispatcher: each type goes in the order in which Pod submitted it."""

import asyncio
import json
from typing import Any

import pytest

from poddispatchd.assembly import assembled, lay_groundwork
from poddispatchd.config.model import Settings
from poddispatchd.domain.task import TaskType
from poddispatchd.sandbox.fake_runner_manager import FakeRunnerManager, Runner
from poddispatchd.services.dispatcher import Dispatcher
from poddispatchd.services.submission import Submitter
from tests.plugins.shared_world import SharedWorldFactory
from tests.shared import SHARED

_CASES: list[dict[str, Any]] = (
    json.loads((SHARED / "vectors" / "queue.json").read_bytes())["cases"] if SHARED else []
)
# The others record bugs of Pod: ties, duplicates, and rows without a video that block the queue.
_CHOSEN = [case for case in _CASES if not case.get("upstream_bug")]


@pytest.mark.parametrize("limit", [5, 20])
@pytest.mark.parametrize("case", _CHOSEN, ids=lambda case: case["id"])
async def test_each_type_goes_in_the_order_in_which_pod_submitted_it(
    shared_world: SharedWorldFactory, case: dict[str, Any], limit: int
) -> None:
    world = await shared_world(case["variant"])
    await world.apply(case)
    runners = [Runner() for _ in range(3 * limit)]
    async with FakeRunnerManager(runners=runners) as fake, world.database.connection() as connection:
        await connection.execute("UPDATE runner_manager SET is_active = false WHERE name <> 'rm1'")
        # Unlike Pod, a source that runs already is not submitted a second time.
        await connection.execute("DELETE FROM runner_manager_task WHERE status = 'running'")
        types = {
            row["id"]: row["type"]
            for row in await connection.fetch("SELECT id, type FROM runner_manager_task")
        }
        await connection.execute(
            "UPDATE runner_manager SET url = $1, token = $2 WHERE is_active", fake.url, fake.token
        )
        settings = Settings.model_validate(
            {
                "database": {"dsn": world.database.dsn.get_secret_value()},
                "pod": {
                    "https": False,
                    "media_root": str(world.media_root),
                    "use_podfile": case["variant"] == "podfile",
                },
                "dispatch": {"grace": 0},
            }
        )
        async with assembled(lay_groundwork(settings)) as parts:
            session = asyncio.create_task(parts.session.run())
            await parts.session.available()
            dispatcher = Dispatcher(parts, Submitter(parts), budget=limit)
            await dispatcher.step()
            while dispatcher.in_hand:
                await dispatcher.drain()
                await dispatcher.step()
            session.cancel()
            await asyncio.gather(session, return_exceptions=True)
        order = list(fake.tasks)
        rows = {
            row["task_id"]: (row["type"], row["id"])
            for row in await connection.fetch(
                "SELECT id, type, task_id FROM runner_manager_task WHERE status = 'running'"
            )
        }
    submitted = [rows[task_id] for task_id in order]
    recorded = case["expect"][f"max{limit}"]["order_of_rows"]
    for kind in TaskType:
        assert [pk for pk in recorded if types[pk] == kind] == [
            pk for type_, pk in submitted if type_ == kind
        ]
