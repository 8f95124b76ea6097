"""Commands of this release while the schema is that of an older one, whose daemon may still run."""

import pytest

from poddispatchd.database import migration
from poddispatchd.domain.task import TaskType
from poddispatchd.sandbox.pod.world import add_task
from tests.integration.cli.conftest import Pod

_TELLS_OTHERWISE = ("status", "check", "db status")
"""No daemon answers, a runner manager is away, the version is told."""

_COMMANDS = (
    *_TELLS_OTHERWISE,
    "tasks list",
    "tasks show 1",
    "tasks restart 1 --dry-run",
    "runners list",
    "runners test first",
    "runners pause first",
    "queues list",
    "failures list",
    "campaigns list",
    "report",
    "tasks cancel 1",
    "tasks restart 1",
)


_SOME = [step.version for step in (*migration.MIGRATIONS[:-1:7], migration.MIGRATIONS[-2])]


@pytest.mark.parametrize("version", _SOME)
async def test_a_command_works_or_says_that_the_schema_is_to_be_upgraded(pod: Pod, version: int) -> None:
    async with pod.database.connection() as connection:
        await add_task(connection, TaskType.ENCODING, video=pod.world.videos["plain"])
        await connection.execute(
            "CREATE SCHEMA poddispatchd; CREATE TABLE poddispatchd.schema_version"
            " (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        for step in migration.MIGRATIONS:
            if step.version <= version:
                await connection.execute(step.script())

    said = {command: await pod.run(*command.split()) for command in _COMMANDS}

    advised = "poddispatchd: The schema poddispatchd is not up to date: run 'poddispatchd db upgrade'.\n"
    assert {
        command: told.out + told.err
        for command, told in said.items()
        if told.status and told.err != advised and command not in _TELLS_OTHERWISE
    } == {}
    assert not any("tables have changed" in told.out + told.err for told in said.values())
