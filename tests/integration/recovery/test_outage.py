"""Callbacks while PostgreSQL is away: refused so that the manager calls again, and taken when it does."""

import asyncio
from typing import Any

from chaos.postgres import DURABLE, RestartableServer
from poddispatchd.sandbox.pod.schema import SchemaVariant, create_schema
from poddispatchd.sandbox.postgresql import PostgresServer
from tests.integration.callbacks.bench import bench
from tests.integration.callbacks.conftest import TOKEN
from tests.integration.pod import rows
from tests.plugins.postgres import PodDatabase


async def test_a_callback_of_an_outage_is_refused_and_taken_when_it_is_repeated() -> None:
    said: dict[str, Any] = {"task_id": "t-1", "status": "failed", "error_message": "Bad medium"}
    async with PostgresServer(settings=DURABLE) as server:
        restartable = RestartableServer(server)
        database = PodDatabase("postgres", server.dsn(), SchemaVariant.NOPODFILE)
        async with database.connection() as connection:
            await create_schema(connection, SchemaVariant.NOPODFILE)
            manager = await rows.manager(connection, await rows.site(connection, "x"), token=TOKEN)
            task = await rows.task(connection, status="running", task_id="t-1", runner_manager_id=manager)
        try:
            async with bench(database) as webhook:
                command, user = await restartable.stop_immediately()
                for _ in range(3):
                    answer = await webhook.call(TOKEN, **said)
                    assert (answer.status, answer.headers["Retry-After"]) == (503, "30")
                await restartable.start(command, user)
                # For a second after a reading failed the tokens are not read again, however many call.
                async with asyncio.timeout(20):
                    while (await webhook.call(TOKEN, **said)).status != 200:  # noqa: ASYNC110 - no event tells it
                        await asyncio.sleep(0.1)
                assert (await webhook.call(TOKEN, **said)).status == 200
                await webhook.settle()
            async with database.connection() as connection:
                row = await connection.fetchrow("SELECT * FROM runner_manager_task WHERE id = $1", task)
                recorded = await connection.fetch("SELECT state FROM poddispatchd.callback")
            assert row is not None
            assert (row["status"], row["script_output"].count("Bad medium")) == ("failed", 1)
            assert "open" not in {record["state"] for record in recorded}
        finally:
            await asyncio.to_thread(restartable.close)
