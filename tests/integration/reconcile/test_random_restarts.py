"""Tasks are restarted and deleted in Pod, Pod submits some itself, and the daemon looks, in any order.

No run that a task goes on with is asked to stop; in the end no run goes on for nobody that was ever seen.
"""

import asyncio
import json
import os
import random
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from poddispatchd.app import features
from poddispatchd.domain.task import RunnerStatus, TaskPk
from poddispatchd.sandbox.fake_runner_manager import FakeRunnerManager
from poddispatchd.sandbox.pod.world import SampleVideo, add_video
from tests.integration.dispatch.scene import Daemon, Scene, Spec, scene
from tests.plugins.postgres import PodDatabase

_WALKS = 100 if os.environ.get("PODDISPATCHD_TEST_THOROUGH") else 3
_STEPS = 50
_MOST_TASKS = 6

_RESTART = (
    "UPDATE runner_manager_task SET status = 'pending', task_id = NULL, runner_manager_id = NULL,"
    " rank = NULL, script_output = NULL, date_added = now() WHERE id = $1"
)
_DELETE = "DELETE FROM runner_manager_task WHERE id = $1"


class _Walk:
    """One of them."""

    def __init__(self, pod: Scene, daemon: Daemon, videos: list[SampleVideo], seed: int) -> None:
        self._pod = pod
        self._daemon = daemon
        self._videos = videos
        self._random = random.Random(seed)
        self._watcher = features.reconciler(daemon.parts)
        self._stops = features.stops(daemon.parts)
        self._seen: set[str] = set()
        self.log: list[str] = []

    async def go(self) -> None:
        steps: tuple[Callable[[], Awaitable[None]], ...] = (
            self._add,
            self._restart_or_delete,
            self._submit,
            self._look,
            self._stop,
            self._at_once,
            self._end,
            self._submit_as_pod,
        )
        for _ in range(_STEPS):
            step = self._random.choice(steps)
            self.log.append(step.__name__)
            await step()
            self._seen |= await self._ids("sighting") | await self._ids("submission")

    async def end(self) -> set[str]:
        """Let everything come to rest; the runs that were seen and go on for nobody."""
        for _ in range(3):
            self._daemon.clock.advance(700)
            await self._daemon.settle()
            await self._look()
            await self._stop()
        going = {str(pk) for pk, run in self._fake.tasks.items() if run.status is RunnerStatus.RUNNING}
        return going & self._seen - await self._ids("public.runner_manager_task")

    @property
    def _fake(self) -> FakeRunnerManager:
        return self._pod.fakes["first"]

    async def _ids(self, table: str, where: str = "true") -> set[str]:
        name = table if "." in table else f"poddispatchd.{table}"
        found = await self._pod.connection.fetch(
            f"SELECT task_id FROM {name} WHERE task_id <> '' AND {where}"
        )
        return {row["task_id"] for row in found}

    async def _any_task(self) -> "asyncpg.Record | None":
        rows = await self._pod.connection.fetch(
            "SELECT id, video_id FROM runner_manager_task WHERE video_id = ANY ($1) ORDER BY id",
            [video.id for video in self._videos],
        )
        return self._random.choice(rows) if rows else None

    # --- steps ---

    async def _add(self) -> None:
        if len(await self._pod.connection.fetch("SELECT FROM runner_manager_task")) <= _MOST_TASKS:
            await self._pod.encoding_of(self._random.choice(self._videos))

    async def _restart_or_delete(self) -> None:
        if (row := await self._any_task()) is not None:
            change = _RESTART if self._random.random() < 0.6 else _DELETE
            self.log.append(f"{change[:6]} {row['id']}")
            await self._pod.connection.execute(change, row["id"])

    async def _submit(self) -> None:
        self._daemon.clock.advance(15)
        await self._daemon.settle()

    async def _look(self) -> None:
        self._daemon.clock.advance(400)
        await self._watcher.step()
        await self._watcher.until_idle()

    async def _stop(self) -> None:
        await self._pod.connection.execute("UPDATE poddispatchd.unwanted_run SET next_request_at = now()")
        wanted = await self._ids("public.runner_manager_task", "status IN ('pending', 'running')")
        before = len(self._fake.requests)
        await self._stops.step()
        paths = [request.path for request in self._fake.requests[before:]]
        asked = {path.rpartition("/")[2] for path in paths if "/task/stop/" in path}
        assert not asked & wanted, self.log
        for task_id, record in list(self._fake.tasks.items()):
            if task_id in asked:
                await record.finished.wait()

    async def _at_once(self) -> None:
        await self._pod.connection.execute("UPDATE poddispatchd.unwanted_run SET next_request_at = now()")
        self._daemon.clock.advance(self._random.choice([15, 400]))
        await asyncio.gather(
            self._restart_or_delete(), self._stops.step(), self._daemon.settle(), self._watcher.step()
        )
        await self._watcher.until_idle()

    async def _end(self) -> None:
        going = [pk for pk, record in self._fake.tasks.items() if record.status is RunnerStatus.RUNNING]
        if not going:
            return
        task_id = self._random.choice(going)
        await self._fake.finish(task_id)
        for row in await self._pod.connection.fetch(
            "SELECT id FROM runner_manager_task WHERE task_id = $1", task_id
        ):
            await self._pod.end(TaskPk(row["id"]))

    async def _submit_as_pod(self) -> None:
        """The bytes of Pod are those of our first attempt: its manager may give a run back that goes on."""
        row, bodies = await self._any_task(), await self._bodies()
        if row is None or row["video_id"] not in bodies:
            return
        self.log.append(str(row["id"]))
        await self._pod.connection.execute(_RESTART, row["id"])
        headers = {"Authorization": f"Bearer {self._fake.token}", "Content-Type": "application/json"}
        url = f"{self._fake.url.rstrip('/')}/task/execute"
        async with (
            aiohttp.ClientSession() as http,
            http.post(url, data=bodies[row["video_id"]], headers=headers) as answer,
        ):
            told = await answer.json() if answer.status == 200 else {}
        if "task_id" in told:
            await self._pod.start(TaskPk(row["id"]), "first", told["task_id"])

    async def _bodies(self) -> Mapping[int, bytes]:
        found = {}
        for row in await self._pod.connection.fetch(
            "SELECT body FROM poddispatchd.submission WHERE body <> ''"
        ):
            body = json.loads(row["body"])
            body["notify_url"] = body["notify_url"].partition("?")[0]
            found[body["parameters"]["video_id"]] = json.dumps(body).encode()
        return found


@pytest.mark.parametrize("seed", range(_WALKS))
async def test_no_run_is_stopped_that_a_task_goes_on_with_and_none_goes_on_for_nobody(
    pod_database: PodDatabase, media_root: Path, seed: int
) -> None:
    async with scene(pod_database, media_root, Spec("first", runners=4)) as pod:
        videos = [await add_video(pod.connection, pod.world, title=f"Lecture {n}") for n in range(2)]
        await pod.end(await pod.encoding())
        walk = _Walk(pod, await pod.daemon(), videos, seed)
        await walk.go()
        assert await walk.end() == set(), walk.log
        assert "failed" not in await pod.statuses(), walk.log
