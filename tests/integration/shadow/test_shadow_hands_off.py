"""What keeps a shadow from changing anything, should its code ever try."""

import pytest

from poddispatchd.config.model import RunnersSettings
from poddispatchd.database.read_only import ReadOnlyDatabase
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.task import ManagerId, RunnerTaskId, SiteId
from poddispatchd.errors import DatabaseError, OnlyAskingError
from poddispatchd.runner.connections import open_session
from poddispatchd.sandbox.fake_runner_manager import FakeRunnerManager
from poddispatchd.shadow.client import AskingClient
from tests.plugins.postgres import PodDatabase


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO django_site (domain, name) VALUES ('a', 'a')",
        "UPDATE runner_manager_task SET rank = 1",
        "DELETE FROM runner_manager_task",
        "SELECT id FROM runner_manager_task FOR UPDATE",
        "SELECT nextval('runner_manager_task_id_seq')",
        "CREATE SCHEMA poddispatchd",
        "SET TRANSACTION READ WRITE",
    ],
)
async def test_the_database_refuses_to_be_changed_even_by_its_superuser(
    pod_database: PodDatabase, statement: str
) -> None:
    database = ReadOnlyDatabase(pod_database.dsn, pool_size=2)
    await database.open()
    try:
        async with database.connection() as connection:
            await connection.fetch("SELECT id FROM runner_manager_task")
            with pytest.raises(Exception, match=r"read-only|25001"):
                await connection.execute(statement)
        with pytest.raises(DatabaseError):
            await database.execute("UPDATE runner_manager_task SET rank = 1")
        async with database.transaction() as connection:
            assert await connection.fetchval("SHOW transaction_read_only") == "on"
    finally:
        await database.close()


async def test_nothing_that_changes_a_manager_is_sent() -> None:
    async with FakeRunnerManager(token="token") as fake, open_session(RunnersSettings()) as http:
        manager = RunnerManager(ManagerId(1), "first", 1, fake.url, SecretStr("token"), SiteId(1))
        client = AskingClient(http, request_timeout=5.0)
        task_id = RunnerTaskId("one")
        with pytest.raises(OnlyAskingError):
            await client.execute(manager, b"{}")
        with pytest.raises(OnlyAskingError):
            await client.stop(manager, task_id)
        with pytest.raises(OnlyAskingError):  # asking for a result ends "warning" on the manager
            await client.manifest(manager, task_id)
        with pytest.raises(OnlyAskingError):
            async with client.result_file(manager, task_id, "a.mp4", headers={}, first_byte_timeout=1.0):
                pass
        assert len(await client.runners(manager)) == 2
        assert [request.method for request in fake.requests] == ["GET"]
