"""What Pod itself does in a campaign: it adds rows, submits some of them, and stores a few of them badly."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import TypeAlias

import aiohttp
import asyncpg
from msgspec import structs

from chaos.timeline import Kind, Timeline
from poddispatchd.config.model import PodSettings
from poddispatchd.database.pool import Database
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.payload import build_payload
from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.task import RunnerTaskId, Task, TaskPk, TaskStatus, TaskType
from poddispatchd.pod import sources
from poddispatchd.pod.capabilities import Capabilities, introspect
from poddispatchd.sandbox.pod.world import (
    SampleRecording,
    SampleVideo,
    World,
    add_recording,
    add_task,
    add_video,
)

_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_WITHIN = 10.0
"""Seconds that Pod waits for the answer to its own submission."""


@dataclass(frozen=True, slots=True)
class _Wish:
    """What somebody asks for: one video or recording."""

    type: TaskType
    video: SampleVideo | None = None
    recording: SampleRecording | None = None


@dataclass(frozen=True, slots=True)
class _Accepted:
    manager: RunnerManager
    task_id: RunnerTaskId


def _row_of(wish: _Wish) -> Task:
    """The row of a wish before it is stored."""
    return Task(
        pk=TaskPk(0),
        type=wish.type,
        status=TaskStatus.PENDING,
        task_id=None,
        runner_manager_id=None,
        video_id=None if wish.video is None else wish.video.id,
        recording_id=None if wish.recording is None else wish.recording.id,
        date_added=datetime.now(UTC),
    )


class Pod:
    """Adds tasks as Pod does, most of them pending.

    Attributes:
        tasks: the primary keys of all rows that are known to be stored.
    """

    def __init__(
        self, world: World, settings: PodSettings, capabilities: Capabilities, timeline: Timeline, lot: Random
    ) -> None:
        self._world = world
        self._managers = list(world.managers)
        self._settings = settings
        self._capabilities = capabilities
        self._timeline = timeline
        self._lot = lot
        self.tasks: list[TaskPk] = []

    @classmethod
    async def at(cls, dsn: SecretStr, world: World, timeline: Timeline, lot: Random) -> "Pod":
        """The Pod of a database."""
        database = Database(dsn, pool_size=1)
        await database.open()
        try:
            capabilities = await introspect(database)
        finally:
            await database.close()
        settings = PodSettings(
            https=False, media_root=world.media_root, use_podfile=True, use_transcription=True
        )
        return cls(world, settings, capabilities, timeline, lot)

    async def add_tasks(self, connection: _Connection, count: int) -> None:
        """Add so many rows of all three types, from users of all classes.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: the disk or the database is down.
        """
        ways: dict[Callable[[_Connection], Awaitable[Sequence[TaskPk]]], int] = {
            self._plain: 76,
            self._two_rows: 8,
            self._submitted: 7,
            self._two_rows_one_id: 5,
            self._nowhere: 4,
        }
        wanted = len(self.tasks) + count
        while len(self.tasks) < wanted:
            way = self._lot.choices(list(ways), list(ways.values()))[0]
            self.tasks += await way(connection)

    async def change_token(self, connection: _Connection, index: int, token: str) -> None:
        """Store another token of a manager, as its administrator does.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: the database is down.
        """
        manager = self._managers[index]
        await connection.execute("UPDATE runner_manager SET token = $2 WHERE id = $1", manager.id, token)
        self._managers[index] = structs.replace(manager, token=SecretStr(token))

    # --- ways to store rows --------------------------------------------------------------------------------

    async def _plain(self, connection: _Connection) -> Sequence[TaskPk]:
        wish = await self._wish(connection)
        return [await self._row(connection, wish)]

    async def _two_rows(self, connection: _Connection) -> Sequence[TaskPk]:
        """Somebody clicks twice: the source is to be submitted once, and both rows end as that run does."""
        wish = await self._wish(connection)
        async with connection.transaction():
            rows = [await self._row(connection, wish) for _ in range(2)]
        self._timeline.moment(Kind.TWIN_ROWS, "Pod", f"tasks {rows}")
        return rows

    async def _submitted(self, connection: _Connection, copies: int = 1) -> Sequence[TaskPk]:
        """Pod's web process submits a row before anybody else sees it."""
        wish = await self._wish(connection)
        accepted = await self._submit(connection, wish)
        if accepted is None:
            return [await self._row(connection, wish) for _ in range(copies)]
        async with connection.transaction():
            rows = [
                await self._row(connection, wish, accepted, status=TaskStatus.RUNNING) for _ in range(copies)
            ]
        kind = Kind.POD_SUBMITS if copies == 1 else Kind.TWIN_IDS
        self._timeline.moment(kind, "Pod", f"tasks {rows}: {accepted.task_id}")
        return rows

    async def _two_rows_one_id(self, connection: _Connection) -> Sequence[TaskPk]:
        """Pod submits two rows of one source: the manager gives both the id of the one run."""
        return await self._submitted(connection, copies=2)

    async def _nowhere(self, connection: _Connection) -> Sequence[TaskPk]:
        """Pod's process ended between storing the status and storing the id."""
        wish = await self._wish(connection)
        row = await self._row(connection, wish, status=TaskStatus.RUNNING)
        self._timeline.moment(Kind.POD_NOWHERE, "Pod", f"task {row}")
        return [row]

    # --- parts of them -------------------------------------------------------------------------------------

    async def _wish(self, connection: _Connection) -> _Wish:
        number = len(self.tasks)
        owner = self._lot.choice(("student", "employee", "faculty", "priority"))
        match self._lot.randrange(6):
            case 0 | 1:
                title = f"Vidéo {number}"
                video = await add_video(connection, self._world, title=title, owner=owner, transcript="fr")
                return _Wish(TaskType.TRANSCRIPTION, video=video)
            case 2:
                recording = await add_recording(connection, self._world, title=f"Studio {number}")
                return _Wish(TaskType.STUDIO, recording=recording)
            case _:
                video = await add_video(connection, self._world, title=f"Vidéo {number}", owner=owner)
                return _Wish(TaskType.ENCODING, video=video)

    async def _row(
        self,
        connection: _Connection,
        wish: _Wish,
        accepted: _Accepted | None = None,
        *,
        status: TaskStatus = TaskStatus.PENDING,
    ) -> TaskPk:
        return await add_task(
            connection,
            wish.type,
            video=wish.video,
            recording=wish.recording,
            status=status,
            task_id=None if accepted is None else accepted.task_id,
            runner_manager=None if accepted is None else accepted.manager.id,
        )

    async def _submit(self, connection: _Connection, wish: _Wish) -> _Accepted | None:
        """Post the very bytes that a row of this wish would give; None when nobody takes them.

        A post whose answer is lost stays a run that no row knows of: then there is no row either, as when
        Pod's process ends in between.

        Raises:
            OSError: the answer is lost.
        """
        manager = self._lot.choice(self._managers)
        source = await sources.load_source(connection, self._capabilities, _row_of(wish))
        body = build_payload(source, self._world.site, sources.payload_settings(self._settings)).to_bytes()
        headers = {
            "Authorization": f"Bearer {manager.token.get_secret_value()}",
            "Content-Type": "application/json",
        }
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_WITHIN)) as session,
                session.post(manager.endpoint("task/execute"), data=body, headers=headers) as answer,
            ):
                if answer.status != 200:
                    return None
                told = await answer.json()
                return _Accepted(manager, RunnerTaskId(told["task_id"]))
        except aiohttp.ClientConnectorError:
            return None
        except (aiohttp.ClientError, ValueError, TimeoutError) as error:
            raise OSError(f"Pod lost an answer: {error!r}") from error
