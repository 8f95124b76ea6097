"""A runner manager whose row somebody deletes in Pod's administration while it is given a task."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from poddispatchd.domain.manager import RunnerManager
from poddispatchd.journal.submissions import SubmissionState
from poddispatchd.observability.events import Event
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.records import Accepted
from tests.integration.dispatch.scene import Scene, Spec, scene
from tests.integration.journal.writing import until_one_waits
from tests.plugins.postgres import PodDatabase

_DELETE = "DELETE FROM runner_manager WHERE id = $1"


async def _delete(pod: Scene) -> None:
    """Its row is gone before the id is stored."""
    async with pod.database.connection() as connection:
        await connection.execute(_DELETE, pod.ids["first"])


class _SlowDeletion:
    """Its row goes while the id is stored: PostgreSQL looks for it when the statement ends, and waits."""

    def __init__(self) -> None:
        self.deleting: asyncio.Task[None] | None = None

    async def __call__(self, pod: Scene) -> None:
        deleted = asyncio.Event()

        async def delete() -> None:
            async with pod.database.connection() as connection, connection.transaction():
                await connection.execute(_DELETE, pod.ids["first"])
                deleted.set()
                await until_one_waits(pod.database)

        self.deleting = asyncio.create_task(delete())
        await deleted.wait()


@pytest.mark.parametrize("delete", [_delete, _SlowDeletion()], ids=["before", "meanwhile"])
async def test_the_task_goes_to_another_one_and_the_run_is_stopped(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch, delete: "_SlowDeletion"
) -> None:
    """It was told as an error that nobody had foreseen, and its runner worked for nobody."""
    execute = RunnerClient.execute

    async def deleted_meanwhile(client: RunnerClient, manager: RunnerManager, body: bytes) -> Accepted:
        accepted = await execute(client, manager, body)
        if manager.name == "first":
            await delete(pod)
        return accepted

    monkeypatch.setattr(RunnerClient, "execute", deleted_meanwhile)
    async with scene(pod_database, media_root, Spec("first", 1), Spec("other", 2)) as pod:
        [pk] = await pod.encodings(1)
        daemon = await pod.daemon()
        with capture_logs() as logged:
            await daemon.settle()
            daemon.clock.advance(15)
            await daemon.settle()

        assert await pod.holders([pk]) == ["other"]
        states = [entry.state for entry in await pod.journal(pk)]
        assert states == [SubmissionState.ORPHANED, SubmissionState.ACCEPTED]
        assert [run.status for run in pod.fakes["first"].tasks.values()] == ["failed"]
        told = [entry["event"] for entry in logged]
        assert Event.SERVICE_CRASHED not in told
        assert told.count(Event.SUBMISSION_ORPHANED) == 1
