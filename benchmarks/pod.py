"""A Pod, fake runner managers and the dispatching half of a daemon, on servers of their own."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from pydantic import SecretStr

from poddispatchd.app import features
from poddispatchd.app.composition import assembled, create_resources
from poddispatchd.callbacks.receiver import CallbackReceiver
from poddispatchd.config.model import Settings
from poddispatchd.domain.task import TaskType
from poddispatchd.parts import Parts
from poddispatchd.pod import trigger
from poddispatchd.runtime.jobs import Loop
from poddispatchd.runtime.supervision import Pulse, Surroundings, run_job
from poddispatchd.runtime.wakeups import Wakeup
from poddispatchd.sandbox.fake_runner_manager import FakeRunnerManager, Runner
from poddispatchd.sandbox.pod.schema import Variant, create_schema
from poddispatchd.sandbox.pod.seed import ManagerSpec, seed_world
from poddispatchd.sandbox.pod.world import Video, World, add_task, add_video
from poddispatchd.sandbox.postgresql import PostgresServer
from poddispatchd.web.listener import listening
from poddispatchd.web.webhook import webhook_application

DOMAIN = "pod.example.org"

_CALLBACKS: dict[str, str] = {}
"""Where the fake managers find the webhook of the benchmark that runs."""


def manager(runners: int, token: str = "bench") -> FakeRunnerManager:
    """A fake manager whose callbacks reach the benchmark's webhook."""
    return FakeRunnerManager(token=token, runners=[Runner() for _ in range(runners)], connect_to=_CALLBACKS)


@dataclass(slots=True)
class Bench:
    """What a benchmark works with."""

    parts: Parts
    connection: "asyncpg.Connection[asyncpg.Record]"
    world: World
    _stack: AsyncExitStack

    async def videos(self, count: int) -> list[Video]:
        """So many videos with sources."""
        return [
            await add_video(self.connection, self.world, title=f"Lecture {number}") for number in range(count)
        ]

    async def submit(self, video: Video) -> int:
        """A task as Pod adds it."""
        return await add_task(self.connection, TaskType.ENCODING, video=video)

    async def fill(self, videos: Sequence[Video]) -> None:
        """Many tasks in one statement."""
        await self.connection.execute(
            "INSERT INTO runner_manager_task (type, status, date_added, video_id)"
            " SELECT 'encoding', 'pending', now(), unnest($1::bigint[])",
            [video.id for video in videos],
        )

    async def start(self) -> None:
        """Run the dispatcher, the prober and the webhook until the benchmark ends."""
        parts = self.parts
        reception = CallbackReceiver(parts.database, parts.registry, parts.wakeups, parts.clock)
        application = webhook_application(
            reception, parts.settings.webhook, metrics=parts.metrics, clock=parts.clock
        )
        address = await self._stack.enter_async_context(
            listening(application, parts.settings.webhook.listen, "webhook.listen")
        )
        _CALLBACKS[f"{DOMAIN}:80"] = str(address)
        dispatcher = features.dispatcher(parts)
        for name, step, wake in (
            ("dispatcher", dispatcher.step, parts.wakeups.dispatcher),
            ("prober", features.prober(parts).step, Wakeup()),
        ):
            job = asyncio.create_task(
                run_job(
                    Loop(name, step, wake),
                    Surroundings(parts.session, parts.clock, Pulse(parts.clock), parts.incidents),
                )
            )
            self._stack.push_async_callback(_end, job)
        self._stack.push_async_callback(dispatcher.stop, 0)


@asynccontextmanager
async def bench(
    *fakes: FakeRunnerManager, with_trigger: bool = True, patience: int = 30
) -> AsyncIterator[Bench]:
    """A Pod with these managers, all of priority 1; one that never starts is dead."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="poddispatchd-bench-")))
        server = stack.enter_context(PostgresServer())
        connection = await asyncpg.connect(await database(server))
        stack.push_async_callback(connection.close)
        world = await seed_world(
            connection,
            folder / "media",
            site_domain=DOMAIN,
            managers=[
                ManagerSpec(f"rm{number}", fake.url, SecretStr(fake.token))
                for number, fake in enumerate(fakes)
            ],
            videos=False,
        )
        settings = Settings.model_validate(
            {
                "database": {"dsn": server.dsn("pod").get_secret_value(), "pool_size": 10},
                "pod": {"https": False, "media_root": str(folder / "media"), "use_podfile": True},
                "dispatch": {"grace": 0},
                # The fake managers have no rate limit.
                "runners": {"request_timeout": f"{patience}s", "submissions_per_minute": 0},
                "webhook": {"listen": "127.0.0.1:0"},
            }
        )
        parts = await stack.enter_async_context(assembled(create_resources(settings)))
        if with_trigger:
            await trigger.install(parts.database)
        session = asyncio.create_task(parts.session.run())
        stack.push_async_callback(_end, session)
        await parts.session.available()
        yield Bench(parts, connection, world, stack)


async def database(server: PostgresServer) -> str:
    """A new database with Pod's tables; its address."""
    administration = await asyncpg.connect(server.dsn().get_secret_value())
    try:
        await administration.execute("CREATE DATABASE pod")
    finally:
        await administration.close()
    address = server.dsn("pod").get_secret_value()
    connection = await asyncpg.connect(address)
    try:
        await create_schema(connection, Variant.PODFILE)
    finally:
        await connection.close()
    return address


async def _end(job: "asyncio.Task[None]") -> None:
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
