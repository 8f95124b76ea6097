"""A Pod, its runner manager and the daemon's configuration: everything around the process under test."""

import asyncio
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import aiohttp
import yaml

from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.sandbox.fake_runner_manager import FakeRunnerManager
from poddispatchd.sandbox.pod.world import World, add_recording, add_task, add_video
from tests.acceptance.process import ANNOUNCED_WITHIN, Outcome, Process, command
from tests.plugins.postgres import PodDatabase

TOKEN = "acceptance-token-of-the-manager"

SHORT_TERMS = {
    "poddispatchd.runtime.leadership.LEASE": 2.0,
    "poddispatchd.runtime.leadership._RENEW_EVERY": 0.5,
    "poddispatchd.runtime.leadership._STANDBY_EVERY": 1.0,
}
"""Constants of daemons that are killed where nothing is said of when the next one schedules."""

Tree = dict[str, dict[str, object]]


@dataclass(slots=True)
class Rig:
    """What a test uses; ``witnessed`` collects all that any process or page has said."""

    directory: Path
    database: PodDatabase
    world: World
    manager: FakeRunnerManager
    tree: Tree
    processes: list[Process] = field(default_factory=list)
    witnessed: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    ops: str = ""
    webhook: str = ""

    @property
    def config(self) -> Path:
        """The configuration file, written as ``tree`` says now."""
        path = self.directory / "config.yaml"
        path.write_text(yaml.safe_dump(self.tree), encoding="utf-8")
        path.chmod(0o600)
        return path

    def set(self, section: str, **values: object) -> None:
        """Change settings; they count from the next time that ``config`` is read."""
        self.tree.setdefault(section, {}).update(values)

    def use(self, dsn: SecretStr | str) -> None:
        """Another address of the database."""
        self.set("database", dsn=dsn.get_secret_value() if isinstance(dsn, SecretStr) else dsn)

    async def start(
        self,
        *,
        env: Mapping[str, str] | None = None,
        constants: Mapping[str, float] | None = None,
        ready: bool = True,
        fresh: bool = False,
    ) -> Process:
        """Start the daemon, in an interpreter of its own if it is to be ``fresh``; wait until it is ready."""
        process = await Process.start(
            *("run", "-c", str(self.config)), env=env, constants=constants, fresh=fresh
        )
        self.processes.append(process)
        if ready:
            await self.is_ready(process)
        return process

    async def is_ready(self, process: Process) -> None:
        """Wait until the daemon is ready, and let the manager call it."""
        entry = await process.event("daemon.ready")
        self.ops, self.webhook = f"http://{entry['ops']}", f"http://{entry['webhook']}"
        self.manager.connect_to["pod.example.org:80"] = str(entry["webhook"])  # type: ignore[index]  # a dict

    async def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> Outcome:
        """A command on this configuration."""
        outcome = await command("-c", str(self.config), *arguments, env=env)
        self.witnessed.append(outcome.text)
        return outcome

    async def get(self, path: str, base: str | None = None) -> tuple[int, str]:
        """What a page of the daemon answers."""
        async with (
            aiohttp.ClientSession() as session,
            session.get((base or self.ops) + path, timeout=aiohttp.ClientTimeout(total=10)) as answer,
        ):
            text = await answer.text()
            self.witnessed.append(text)
            return answer.status, text

    async def look(self) -> None:
        """Have the daemon look, as whoever asks for its metrics does, and leave it a moment: between two
        looks at what nobody announces, the processor is for whoever does it.
        """
        await self.get("/metrics")
        await asyncio.sleep(0.05)

    async def until_paused(self) -> None:
        """Wait until the daemon knows of the pause of its runner manager: it is told as it comes to it."""
        async with asyncio.timeout(ANNOUNCED_WITHIN):
            while not json.loads((await self.get("/api/status"))[1])["managers"][0]["paused"]:
                await self.look()

    async def add(self, *kinds: TaskType) -> list[TaskPk]:
        """Tasks as Pod makes them, each with a source of its own."""
        added = []
        async with self.database.connection() as connection:
            for kind in kinds:
                # Of its own, too: by it ``imported_once`` tells the video of a recording.
                title = f"{kind.value} {next(self._numbers)}"
                match kind:
                    case TaskType.ENCODING:
                        video = await add_video(connection, self.world, title=title)
                        added.append(await add_task(connection, kind, video=video))
                    case TaskType.TRANSCRIPTION:
                        video = await add_video(connection, self.world, title=title, transcript="fr")
                        added.append(await add_task(connection, kind, video=video))
                    case TaskType.STUDIO:
                        recording = await add_recording(connection, self.world, title=title)
                        added.append(await add_task(connection, kind, recording=recording))
        return added

    async def statuses(self) -> dict[TaskPk, str]:
        """How every task is."""
        rows = await self.fetch("SELECT id, status FROM runner_manager_task ORDER BY id")
        return {TaskPk(cast("int", row["id"])): str(row["status"]) for row in rows}

    async def fetch(self, query: str, *values: object) -> list[Mapping[str, object]]:
        """Rows of the database."""
        async with self.database.connection() as connection:
            return [dict(row) for row in await connection.fetch(query, *values)]

    async def execute(self, statement: str, *values: object) -> None:
        """Change the database."""
        async with self.database.connection() as connection:
            await connection.execute(statement, *values)

    async def imported_once(self) -> None:
        """Assert that every task is completed, and that no result was brought in twice."""
        assert set((await self.statuses()).values()) == {"completed"}
        done = await self.fetch(
            "SELECT task.id, count(import.id) FILTER (WHERE import.state = 'done') AS imports"
            " FROM runner_manager_task AS task LEFT JOIN poddispatchd.import ON import.task_pk = task.id"
            " GROUP BY task.id"
        )
        assert {row["imports"] for row in done} == {1}
        per_video = await self.fetch(
            "SELECT task.type,"
            " (SELECT count(*) FROM video_encode_transcript_encodingvideo WHERE video_id = video.id)"
            " AS films,"
            " (SELECT count(*) FROM video_encode_transcript_encodingaudio WHERE video_id = video.id)"
            " AS sounds,"
            " (SELECT count(*) FROM video_encode_transcript_playlistvideo WHERE video_id = video.id)"
            " AS lists,"
            " (SELECT count(*) FROM completion_track WHERE video_id = video.id) AS tracks"
            " FROM runner_manager_task AS task JOIN video_video AS video ON video.id = task.video_id"
        )
        found = {(row["type"], row["films"], row["sounds"], row["lists"], row["tracks"]) for row in per_video}
        assert found == {("encoding", 4, 1, 3, 0), ("transcription", 0, 0, 0, 1)}
        studios = await self.fetch(
            "SELECT recording.title, count(video.id) AS videos FROM recorder_recording AS recording"
            " LEFT JOIN video_video AS video ON video.title = recording.title GROUP BY recording.id"
        )
        assert {row["videos"] for row in studios} == {1}

    def everything_said(self) -> str:
        """All output of all processes, and all pages."""
        return "\n".join([*self.witnessed, *(process.text for process in self.processes)])
