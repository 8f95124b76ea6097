"""A Pod, fake runner managers, and the real dispatcher between them, moved by hand."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
from msgspec.structs import replace

from poddispatchd.app import features
from poddispatchd.app.composition import assembled, create_resources
from poddispatchd.app.parts import Parts
from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.database.pool import Connection
from poddispatchd.dispatch.dispatcher import Dispatcher
from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.task import ManagerId, TaskPk, TaskStatus, TaskType
from poddispatchd.journal import submissions
from poddispatchd.journal.submissions import Submission
from poddispatchd.managers.prober import Prober
from poddispatchd.pod.tasks import task_of
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.sandbox.fake_runner_manager import FakeRunnerManager, Runner
from poddispatchd.sandbox.fake_runner_manager.clock import ManagerClock
from poddispatchd.sandbox.pod.seed import ManagerSpec, add_manager
from poddispatchd.sandbox.pod.world import SampleVideo, World, add_recording, add_task, add_video
from tests.plugins.postgres import PodDatabase
from tests.plugins.world import planted

DOMAIN = "pod.example.org"

_numbers = itertools.count(1)
"""Daemons of one process have one name, but those of a scene are to be several."""


class HandClock(Clock):
    """Real time, which a test can push forward; chance is no chance."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._stopped_at: float | None = None

    def monotonic(self) -> float:
        real = super().monotonic() if self._stopped_at is None else self._stopped_at
        return real + self._ahead

    def stop(self) -> None:
        """Let time pass by ``advance`` only, however long a busy machine takes."""
        self._stopped_at = super().monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._ahead)

    def random(self) -> float:
        return 0.5

    def advance(self, seconds: float) -> None:
        self._ahead += seconds


@dataclass(frozen=True, slots=True)
class Spec:
    """A fake runner manager and its row in Pod; ``fake_clock`` is the manager's own time."""

    name: str
    priority: int = 1
    runners: int = 2
    types: frozenset[str] = frozenset(TaskType)
    is_active: bool = True
    site: str = "here"
    rate_limit: int | None = None
    fake_clock: ManagerClock | None = None


@dataclass(slots=True)
class Daemon:
    """What of a daemon dispatches."""

    parts: Parts
    dispatcher: Dispatcher
    prober: Prober
    clock: HandClock
    session: asyncio.Task[None]

    async def settle(self) -> None:
        """Look at the queue until nothing more can be submitted right now."""
        while True:
            await self.dispatcher.step()
            if not self.dispatcher.in_hand:
                return
            await self.dispatcher.drain()

    async def probe(self) -> None:
        await self.prober.step()
        await self.prober.until_idle()


@asynccontextmanager
async def running(
    settings: Settings,
    *,
    budget: int | None = None,
    clock: HandClock | None = None,
    single_pass: bool = False,
) -> AsyncIterator[Daemon]:
    """What of a daemon dispatches, with its session up."""
    clock = clock or HandClock()
    made = create_resources(settings, clock=clock)
    # A lease runs by real time, however far a test pushes its clock.
    session = DatabaseSession(
        made.database,
        instance=f"{made.instance} {next(_numbers)}",
        wakeups=made.wakeups,
        clock=Clock(),
        metrics=made.metrics,
    )
    async with assembled(replace(made, session=session)) as parts:
        holding = asyncio.create_task(parts.session.run())
        dispatcher = features.dispatcher(parts, budget=budget, single_pass=single_pass)
        prober = features.prober(parts)
        try:
            await parts.session.available()
            yield Daemon(parts, dispatcher, prober, clock, holding)
        finally:
            await dispatcher.stop(0)
            await prober.until_idle()
            holding.cancel()
            await asyncio.gather(holding, return_exceptions=True)


@dataclass(slots=True)
class Scene:
    """Everything around the dispatcher."""

    database: PodDatabase
    connection: "asyncpg.Connection[asyncpg.Record]"
    world: World
    media_root: Path
    fakes: Mapping[str, FakeRunnerManager]
    ids: Mapping[str, ManagerId]
    _stack: AsyncExitStack
    _daemons: list[Daemon] = field(default_factory=list)

    async def daemon(
        self, *, budget: int | None = None, single_pass: bool = False, **settings: object
    ) -> Daemon:
        """One more daemon on this database; it waits until its session is up."""
        daemon = await self._stack.enter_async_context(
            running(self.settings(**settings), budget=budget, single_pass=single_pass)
        )
        self._daemons.append(daemon)
        return daemon

    async def successor(self, *, single_pass: bool = False, **settings: object) -> Daemon:
        """Another daemon, which schedules after all others have ended."""
        for old in self._daemons:
            old.session.cancel()
            await asyncio.gather(old.session, return_exceptions=True)
        daemon = await self.daemon(budget=None, single_pass=single_pass, **settings)
        assert daemon.parts.session.term is not None
        return daemon

    async def expire_lease(self) -> None:
        """The scheduler's lease runs out: whoever asks first schedules."""
        await self.connection.execute("UPDATE poddispatchd.leader SET lease_expires_at = NULL")

    def settings(self, **sections: object) -> Settings:
        base: dict[str, object] = {
            "database": {"dsn": self.database.dsn.get_secret_value()},
            "pod": {"https": False, "media_root": str(self.media_root), "use_podfile": True},
            "dispatch": {"grace": 0},
            "runners": {"request_timeout": "5s"},
        }
        return Settings.read(base | sections)

    # --- rows ---------------------------------------------------------------------------------------------

    async def encoding(self, **video: object) -> TaskPk:
        """A pending encoding of a new video."""
        added = await add_video(self.connection, self.world, **video)  # type: ignore[arg-type]  # passed on
        return await add_task(self.connection, TaskType.ENCODING, video=added)

    async def encoding_of(self, video: SampleVideo) -> TaskPk:
        """A pending encoding of a video that is there."""
        return await add_task(self.connection, TaskType.ENCODING, video=video)

    async def encodings(self, count: int) -> list[TaskPk]:
        return [await self.encoding(title=f"Lecture {number}") for number in range(count)]

    async def transcription(self) -> TaskPk:
        added = await add_video(self.connection, self.world, transcript="fr")
        return await add_task(self.connection, TaskType.TRANSCRIPTION, video=added)

    async def studio(self) -> TaskPk:
        return await add_task(
            self.connection, TaskType.STUDIO, recording=await add_recording(self.connection, self.world)
        )

    async def row(self, pk: TaskPk) -> asyncpg.Record:
        found = await self.connection.fetchrow("SELECT * FROM runner_manager_task WHERE id = $1", pk)
        assert found is not None
        return found

    async def status(self, pk: TaskPk) -> str:
        return str((await self.row(pk))["status"])

    async def statuses(self) -> dict[str, int]:
        rows = await self.connection.fetch(
            "SELECT status, count(*) AS tasks FROM runner_manager_task GROUP BY status"
        )
        return {row["status"]: row["tasks"] for row in rows}

    async def holders(self, pks: Sequence[TaskPk]) -> list[str | None]:
        """The names of the managers that have these tasks."""
        names = {pk: name for name, pk in self.ids.items()}
        return [names.get((await self.row(pk))["runner_manager_id"]) for pk in pks]

    async def journal(self, pk: TaskPk) -> list[Submission]:
        return await submissions.of_task(self.connection, pk)

    async def start(self, pk: TaskPk, manager: str, task_id: str) -> None:
        """Pod's own web process submitted a task."""
        task = task_of(await self.row(pk))
        await self.connection.execute(
            "UPDATE runner_manager_task SET status = 'running', task_id = $2, runner_manager_id = $3"
            " WHERE id = $1",
            task.pk,
            task_id,
            self.ids[manager],
        )

    async def end(self, pk: TaskPk, status: TaskStatus = TaskStatus.COMPLETED) -> None:
        """A task is over in Pod, with its result if it is completed."""
        if status is TaskStatus.COMPLETED:
            await bring_in(self.connection, pk)
        await self.complete_by_hand(pk, status)

    async def complete_by_hand(self, pk: TaskPk, status: TaskStatus = TaskStatus.COMPLETED) -> None:
        """Somebody writes a status into a row."""
        await self.connection.execute(
            "UPDATE runner_manager_task SET status = $2 WHERE id = $1", pk, status.value
        )

    def posts(self, name: str) -> int:
        """How often a manager was asked to take a task."""
        return sum(request.path.endswith("/task/execute") for request in self.fakes[name].requests)


async def bring_in(connection: Connection, *tasks: TaskPk) -> None:
    """The journal knows that the results of these tasks' runs, or of all that run, are in Pod."""
    await connection.execute(
        "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, state, finished_at)"
        " SELECT id, runner_manager_id, task_id, 'done', now() FROM runner_manager_task"
        " WHERE (id = ANY ($1) OR ($1 = '{}' AND status = 'running')) AND task_id <> ''",
        list(tasks),
    )


@asynccontextmanager
async def scene(pod_database: PodDatabase, media_root: Path, *specs: Spec) -> AsyncIterator[Scene]:
    """A small Pod with these managers, all of them listening."""
    async with AsyncExitStack() as stack:
        world = await planted(pod_database, media_root)
        connection = await stack.enter_async_context(pod_database.connection())
        fakes: dict[str, FakeRunnerManager] = {}
        ids: dict[str, ManagerId] = {}
        for spec in specs or (Spec("first"),):
            runners = [Runner(types=spec.types) for _ in range(spec.runners)]
            fake = await stack.enter_async_context(
                FakeRunnerManager(
                    token=f"token-of-{spec.name}",
                    runners=runners,
                    rate_limit=spec.rate_limit,
                    clock=spec.fake_clock,
                )
            )
            row = await add_manager(
                connection,
                ManagerSpec(spec.name, fake.url, SecretStr(fake.token), spec.priority, spec.is_active),
                world.site if spec.site == "here" else world.other_site,
            )
            fakes[spec.name], ids[spec.name] = fake, row.id
        yield Scene(pod_database, connection, world, media_root, fakes, ids, stack)
