"""A Pod, a fake runner manager and the parts of a daemon: what tests of imports and reconciling stand on."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from poddispatchd.app import features
from poddispatchd.app.composition import assembled, create_resources
from poddispatchd.app.parts import Parts
from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.task import Run, RunnerTaskId, TaskPk, TaskStatus, TaskType, VideoId
from poddispatchd.imports.importer import Importer
from poddispatchd.journal import imports
from poddispatchd.runtime import queue_tables
from poddispatchd.sandbox.fake_runner_manager import Behaviour, FakeRunnerManager, Mode, Runner
from poddispatchd.sandbox.pod.schema import SchemaVariant
from poddispatchd.sandbox.pod.seed import ManagerSpec
from poddispatchd.sandbox.pod.world import (
    SampleRecording,
    SampleVideo,
    World,
    add_encodings,
    add_recording,
    add_task,
    add_video,
)
from tests.plugins.postgres import PodDatabase
from tests.plugins.world import planted
from tests.tables import all_rows

TOKEN = "token-of-the-manager"

_TIMES = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d)?"), "<time>"),
    (re.compile(r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}"), "<ctime>"),
    (re.compile(r"(subtitle_[a-z]{2}_)\d{8}-\d{6}(_[A-Za-z0-9]{7})?"), r"\1<stamp>"),
    (re.compile(r'("timestamp": )"[^"]*"'), r"\1<time>"),
)
_VOLATILE = ("id", "thumbnail_id", "src_id", "folder_id", "userfolder_id", "tagulous_video_tags_id")
"""Columns with numbers of sequences, which a rolled back transaction uses up."""


class StillClock(Clock):
    """Waits last no time, and no wait is random; the monotonic clock is moved by hand."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return 1000.0 + self.ahead

    def random(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:  # noqa: ARG002 - no wait lasts any time
        await asyncio.sleep(0)


def settings_of(
    dsn: SecretStr, world_root: Path, variant: SchemaVariant, changes: Mapping[str, Mapping[str, object]]
) -> Settings:
    sections: dict[str, dict[str, object]] = {
        "database": {"dsn": dsn.get_secret_value(), "pool_size": 4},
        "pod": {
            "https": False,
            "media_root": str(world_root),
            "use_podfile": variant is SchemaVariant.PODFILE,
            "use_transcription": True,
        },
        "dispatch": {"grace": 0},
        "imports": {"keep_free": "1B"},
        "runners": {"request_timeout": "5s"},
    }
    for section, values in changes.items():
        sections.setdefault(section, {}).update(values)
    return Settings.read(sections)


async def release_dead(here: "Bench") -> None:
    """What every daemon does first."""
    async with here.parts.database.connection() as connection:
        await queue_tables.release_dead(connection)


@dataclass(slots=True)
class Bench:
    """One daemon's parts, without its loops."""

    pod: PodDatabase
    world: World
    fake: FakeRunnerManager
    parts: Parts
    clock: StillClock
    changes: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    # --- tasks -------------------------------------------------------------------------------------------

    async def video(
        self, *, encoded: bool = False, transcript: str = "", title: str = "Un cours"
    ) -> SampleVideo:
        async with self.pod.connection() as connection:
            video = await add_video(connection, self.world, title=title, transcript=transcript)
            if encoded:
                await add_encodings(connection, self.world, video)
        return video

    async def recording(self) -> SampleRecording:
        async with self.pod.connection() as connection:
            return await add_recording(connection, self.world, recorder="full")

    async def running(
        self,
        kind: TaskType = TaskType.ENCODING,
        *,
        video: SampleVideo | None = None,
        recording: SampleRecording | None = None,
        status: TaskStatus = TaskStatus.RUNNING,
    ) -> TaskPk:
        """A task that runs on the manager and in Pod, as if Pod had submitted it."""
        if kind is TaskType.STUDIO:
            recording = recording or await self.recording()
            path = str(recording.source_file.relative_to(self.world.media_root))
        else:
            video = video or await self.video()
            path = video.path
        body = {
            "etab_name": "University / Pod",
            "app_name": "Esup-Pod",
            "app_version": "4.3.0",
            "task_type": kind.value,
            "source_url": f"http://pod.example.org/media/{path}",
            "notify_url": "",
            "parameters": {
                **({"rendition": "{}"} if kind is not TaskType.TRANSCRIPTION else {"language": "fr"}),
                **({} if video is None else {"video_id": video.id}),
            },
        }
        manager = self.world.managers[0]
        accepted = await self.parts.client.execute(manager, json.dumps(body).encode())
        async with self.pod.connection() as connection:
            return await add_task(
                connection,
                kind,
                video=video,
                recording=recording,
                status=status,
                task_id=accepted.task_id,
                runner_manager=manager.id,
            )

    async def ready(
        self,
        kind: TaskType = TaskType.ENCODING,
        behaviour: Behaviour | None = None,
        *,
        video: SampleVideo | None = None,
        recording: SampleRecording | None = None,
    ) -> TaskPk:
        """A task that has ended on the manager, and whose import is open."""
        task = await self.running(kind, video=video, recording=recording)
        await self.end(task, behaviour)
        await self.open_import(task)
        return task

    async def submitted_by_us(self, task: TaskPk, **body: object) -> None:
        """It was this daemon that asked for its run, and not Pod's web process."""
        await self.execute(
            "INSERT INTO poddispatchd.submission (task_pk, task_type, runner_manager_id, attempt, body,"
            " state, task_id, settled_at, date_added)"
            " SELECT id, type, runner_manager_id, 1, $2, 'accepted', task_id, now(), date_added"
            " FROM runner_manager_task WHERE id = $1",
            *(task, json.dumps(body).encode()),
        )

    async def end(self, task: TaskPk, behaviour: Behaviour | None = None) -> None:
        await self.fake.finish(str(await self.of(task, "task_id")), behaviour=behaviour or Behaviour())

    async def open_import(self, task: TaskPk) -> None:
        async with self.parts.database.connection() as connection:
            run = Run(self.world.managers[0].id, RunnerTaskId(str(await self.of(task, "task_id"))))
            assert await imports.open_import(connection, task, run)

    # --- what is there -----------------------------------------------------------------------------------

    async def value(self, query: str, *arguments: object) -> Any:  # noqa: ANN401 - whatever the column holds
        async with self.pod.connection() as connection:
            return await connection.fetchval(query, *arguments)

    async def execute(self, query: str, *arguments: object) -> None:
        async with self.pod.connection() as connection:
            await connection.execute(query, *arguments)

    async def of(self, task: TaskPk, column: str) -> Any:  # noqa: ANN401 - whatever the column holds
        return await self.value(f"SELECT {column} FROM runner_manager_task WHERE id = $1", task)

    async def status(self, task: TaskPk) -> str:
        return str(await self.of(task, "status"))

    async def words(self, task: TaskPk) -> str:
        return await self.of(task, "script_output") or ""

    async def imports_of(self, task: TaskPk) -> list[tuple[str, int, str | None]]:
        async with self.pod.connection() as connection:
            rows = await connection.fetch(
                "SELECT state, attempts, last_error FROM poddispatchd.import WHERE task_pk = $1 ORDER BY id",
                task,
            )
        return [tuple(row) for row in rows]

    async def step_of(self, video: VideoId) -> tuple[int, str]:
        async with self.pod.connection() as connection:
            row = await connection.fetchrow(
                "SELECT num_step, desc_step FROM video_encode_transcript_encodingstep WHERE video_id = $1",
                video,
            )
        assert row is not None
        return row["num_step"], row["desc_step"]

    def files(self) -> dict[str, bytes]:
        return tree_of(self.world.media_root)

    def staged(self) -> list[str]:
        return [name for name in self.files() if "poddispatchd" in name or name.startswith("tasks/")]

    # --- importing ---------------------------------------------------------------------------------------

    async def import_due(self, importer: Importer | None = None) -> Importer:
        """Import what is due now, to its end; what is to be tried again waits."""
        importer = importer or features.importer(self.parts)
        await importer.step()
        await idle(importer)
        await importer.step()  # gives back what a lost database ended
        await idle(importer)
        return importer

    async def import_again(self) -> None:
        """Import what waits for another attempt."""
        await self.execute("UPDATE poddispatchd.import SET next_attempt_at = now() WHERE state = 'open'")
        await self.import_due()

    @asynccontextmanager
    async def another(self, name: str = "elsewhere:1:1") -> AsyncIterator["Bench"]:
        """A second daemon on the same database and media tree."""
        async with daemon_parts(self.parts.settings, self.clock) as parts:
            parts.instance = name
            yield replace(self, parts=parts)


async def idle(importer: Importer) -> None:
    async def nothing_runs() -> bool:
        return not importer.running

    await until(nothing_runs)


async def until(condition: Callable[[], Awaitable[object]], seconds: float = 60) -> None:
    """Wait for something that nobody announces."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - the state of a database, a file or a process
            await asyncio.sleep(0.01)


def schedule(parts: Parts, term: int | None) -> None:
    """Let these parts be the scheduler's, in some term, or another daemon's: nobody holds the lease here."""
    parts.session.leadership._term, parts.session.leadership._ends_at = term, float("inf")


@asynccontextmanager
async def daemon_parts(settings: Settings, clock: Clock) -> AsyncIterator[Parts]:
    async with assembled(create_resources(settings, clock=clock)) as parts:
        schedule(parts, 1)
        yield parts


@asynccontextmanager
async def bench(
    pod: PodDatabase,
    media_root: Path,
    *,
    mode: Mode = Mode.PROXY,
    changes: Mapping[str, Mapping[str, object]] | None = None,
) -> AsyncIterator[Bench]:
    clock = StillClock()
    changes = changes or {}
    async with AsyncExitStack() as stack:
        runners = [Runner() for _ in range(8)]
        fake = await stack.enter_async_context(
            FakeRunnerManager(token=TOKEN, mode=mode, runners=runners, strict=False)
        )
        world = await planted(pod, media_root, managers=[ManagerSpec("only", fake.url, SecretStr(TOKEN))])
        settings = settings_of(pod.dsn, media_root, pod.variant, changes)
        parts = await stack.enter_async_context(daemon_parts(settings, clock))
        yield Bench(pod, world, fake, parts, clock, changes)


# --- whole states ----------------------------------------------------------------------------------------


def tree_of(root: Path) -> dict[str, bytes]:
    """Every file below a directory, Pod's lock files left out."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".runner_task_locks" not in path.parts
    }


def settled(text: str, root: Path) -> str:
    """A text without what differs between two equal runs."""
    text = text.replace(str(root), "<root>")
    for pattern, word in _TIMES:
        text = pattern.sub(word, text)
    return text


async def state_of(pod: PodDatabase, root: Path) -> dict[str, object]:
    """Pod's whole state: the rows of all its tables and the media tree, without numbers and times."""
    state: dict[str, object] = {}
    async with pod.connection() as connection:
        for table, rows in (await all_rows(connection)).items():
            for row in rows:
                for column in _VOLATILE:
                    row.pop(column, None)
            state[table] = sorted(settled(json.dumps(row, sort_keys=True), root) for row in rows)
    for name, content in tree_of(root).items():
        text = settled(content.decode("latin-1"), root) if name.endswith((".log", ".json")) else content
        state[f"file {settled(name, root)}"] = text
    state["directories"] = await asyncio.to_thread(_directories, root)
    return state


def _directories(root: Path) -> list[str]:
    return sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_dir() and path.name not in (".runner_task_locks", "tasks")
    )
