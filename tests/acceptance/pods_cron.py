"""What Pod's CRON and its webhook do to rows, done by a test."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from poddispatchd.domain.task import RunnerTaskId, TaskPk
from poddispatchd.sandbox.fake_runner_manager import FakeRunnerManager
from tests.acceptance.rig import Rig


@dataclass(frozen=True, slots=True)
class PodsCron:
    """Pod, as far as runner managers and the table of tasks see it."""

    rig: Rig

    async def submit(self, task: TaskPk, *, at: int = 0, to: FakeRunnerManager | None = None) -> RunnerTaskId:
        """Give a task to a manager of the world and write its id into the row, as Pod does."""
        manager, row = to or self.rig.manager, self.rig.world.managers[at]
        body = {
            "etab_name": "University / Pod",
            "app_name": "Esup-Pod",
            "app_version": "4.3.0",
            "task_type": "encoding",
            "source_url": f"http://pod.example.org/media/{task}.mp4",
            "notify_url": "",
            "parameters": {"rendition": "{}"},
        }
        headers = {"Authorization": f"Bearer {manager.token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"{manager.url}/task/execute", json=body) as answer,
        ):
            answer.raise_for_status()
            task_id = RunnerTaskId((await answer.json())["task_id"])
        await self.rig.execute(
            "UPDATE runner_manager_task SET status = 'running', task_id = $2, runner_manager_id = $3,"
            " rank = NULL WHERE id = $1",
            task,
            task_id,
            row.id,
        )
        return task_id

    async def end(self, task: TaskPk, status: str) -> None:
        """A task is over in Pod."""
        await self.rig.execute(
            "UPDATE runner_manager_task SET status = $2, rank = NULL WHERE id = $1", task, status
        )


async def everything_in(rig: Rig) -> Mapping[str, object]:
    """Every row of every table, every sequence and schema, and every file: what a shadow must leave alone."""
    found: dict[str, object] = {}
    async with rig.database.connection() as connection:
        tables = await connection.fetch(
            "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
        )
        for table in tables:
            query = f"SELECT to_jsonb(t)::text AS row FROM {table['name']} AS t ORDER BY 1"
            found[table["name"]] = [record["row"] for record in await connection.fetch(query)]
        found["sequences"] = [
            tuple(record)
            for record in await connection.fetch(
                "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2"
            )
        ]
        found["schemas"] = [
            record["nspname"]
            for record in await connection.fetch("SELECT nspname FROM pg_namespace ORDER BY 1")
        ]
    found["files"] = _tree(rig.world.media_root)
    return found


def _tree(root: Path) -> list[tuple[str, int, str]]:
    return [
        (
            str(path.relative_to(root)),
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in sorted(root.rglob("*"))
    ]


def requests_of(manager: FakeRunnerManager) -> list[str]:
    """The requests that a manager got, with their methods."""
    return [f"{request.method} {request.path}" for request in manager.requests]


def state_of(answer: str) -> dict[str, object]:
    """What ``/api/status`` says."""
    state = json.loads(answer)
    assert isinstance(state, dict)
    return state
