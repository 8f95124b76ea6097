"""A runner manager and its runners, in this process."""

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

from aiohttp import web

from poddispatchd.domain.task import RunnerTaskId
from poddispatchd.sandbox.fake_runner_manager.callbacks import ConnectTo
from poddispatchd.sandbox.fake_runner_manager.clock import ManagerClock, ScaledClock
from poddispatchd.sandbox.fake_runner_manager.faults import Behaviour, Faults, RunOutcome
from poddispatchd.sandbox.fake_runner_manager.files import Mode
from poddispatchd.sandbox.fake_runner_manager.lifecycle import Lifecycle
from poddispatchd.sandbox.fake_runner_manager.records import AcceptedTask, Received, Runner, TaskRecord
from poddispatchd.sandbox.fake_runner_manager.routes import HealthRoute
from poddispatchd.sandbox.fake_runner_manager.settings import FakeManagerSettings
from poddispatchd.sandbox.fake_runner_manager.store import Store
from poddispatchd.sandbox.fake_runner_manager.tasks import TaskRoutes
from poddispatchd.sandbox.fake_runner_manager.web import Api

KEEP_ALIVE = 2.0
"""Real seconds after which the manager closes an idle connection."""

_LARGEST_BODY = 64 * 2**20


class FakeRunnerManager:
    """A runner manager for tests, the demo and benchmarks; use it with ``async with``.

    Args:
        token: the bearer token it takes; further ones in ``more_tokens``.
        runners: its runner instances; by default two that take every type of task.
        host: the address it listens on.
        port: the port it listens on; 0: any free one, kept over restarts.
        time_scale: real seconds that one of its seconds lasts.
        clock: its time; by default real time, scaled.
        task_seconds: how long a task runs, in its seconds; None: until :meth:`finish` is called.
        mode: ``"proxy"`` or ``"shared"``, see :class:`Mode`.
        health: ``"api"`` or ``"manager"``, see :class:`Health`.
        connect_to: ``"host:port"`` of a notify_url to the ``"127.0.0.1:port"`` that really listens. The
            mapping may be changed while the manager runs.
        faults: the switches; see :class:`Faults`.
        strict: tasks fail as real runners fail them, on unknown parameters for example.
        keep_alive: real seconds an idle connection stays open.
        retention_days: days of the manager after which a task record is gone.

    The other arguments are those of :class:`Settings`.
    """

    def __init__(
        self,
        *,
        token: str = "sandbox-token",  # noqa: S107 - a token of a throw-away server
        more_tokens: Iterable[str] = (),
        runners: Iterable[Runner] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        time_scale: float = 1.0,
        clock: ManagerClock | None = None,
        task_seconds: float | None = None,
        mode: Mode | str = Mode.PROXY,
        health: HealthRoute | str = HealthRoute.API,
        connect_to: Mapping[str, str] | None = None,
        faults: Faults | None = None,
        strict: bool = True,
        keep_alive: float = KEEP_ALIVE,
        retention_days: int = 60,
        version: str = "1.7.1",
        prefix: str = "",
        deduplicate: bool = True,
        can_stop: bool = True,
        rate_limit: int | None = None,
        notify_hosts: Iterable[str] = (),
        resolve_names: bool = False,
        allow_private_networks: bool = True,
        own_domains: Iterable[str] = (),
        other_share: float = 0.5,
    ) -> None:
        self.token = token
        self.clock = clock or ScaledClock(time_scale)
        self.faults = faults or Faults()
        self.connect_to = connect_to if connect_to is not None else {}
        self.runners = list(runners) if runners is not None else [Runner(), Runner()]
        self._settings = FakeManagerSettings(
            tokens=frozenset({token, *more_tokens}),
            mode=Mode(mode),
            health=HealthRoute(health),
            version=version,
            prefix=prefix.rstrip("/"),
            deduplicate=deduplicate,
            can_stop=can_stop,
            rate_limit=rate_limit,
            notify_hosts=tuple(notify_hosts),
            resolve_names=resolve_names,
            allow_private_networks=allow_private_networks,
            own_domains=tuple(own_domains),
            other_share=other_share,
        )
        self._store = Store(self.clock, self.runners, self.faults, retention_days=retention_days)
        self._resolver = ConnectTo(self.connect_to, resolve_others=resolve_names)
        self._lifecycle = Lifecycle(self._store, self._resolver, task_seconds=task_seconds, strict=strict)
        self._host = host
        self._port = port
        self._keep_alive = keep_alive
        self._server: web.AppRunner | None = None

    def take_only(self, *tokens: str) -> None:
        """From now on these are its AUTHORIZED_TOKENS, as after a change and a restart."""
        self._settings.tokens = frozenset(tokens)

    # --- what a test looks at -------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where the manager listens, path prefix included, without a closing slash."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}{self._settings.prefix}"

    @property
    def port(self) -> int:
        """The port it listens on, 0 before it ever did."""
        return self._port

    @property
    def requests(self) -> list[Received]:
        """Every request received, in order, whatever became of it."""
        return self._store.requests

    @property
    def submissions(self) -> list[AcceptedTask]:
        """The accepted submissions that made a task, in order."""
        return self._store.submissions

    @property
    def tasks(self) -> dict[RunnerTaskId, TaskRecord]:
        """The stored tasks by id, oldest first."""
        return self._store.tasks

    async def wait_for(self, predicate: Callable[[], bool], timeout: float = 10.0) -> None:  # noqa: ASYNC109 - real seconds, as a test waits
        """Wait until the predicate holds; asked again at every request and every change of a task.

        Raises:
            TimeoutError: it did not within ``timeout`` real seconds.
        """
        await self._store.wait_for(predicate, timeout)

    # --- what a test does to tasks and runners --------------------------------------------------------

    async def finish(
        self,
        task_id: str,
        status: str = "completed",
        *,
        error: str | None = None,
        script_output: str | None = None,
        behaviour: Behaviour | None = None,
    ) -> None:
        """End a task now, even one that ended before; returns when the first callback was answered.

        Args:
            task_id: which one.
            status: ``completed``, ``failed`` or ``timeout``.
            error: the runner's words.
            script_output: the log text.
            behaviour: everything at once instead, its duration and dispatch ignored.

        Raises:
            KeyError: there is no such task.
        """
        wanted = behaviour or Behaviour(outcome=RunOutcome(status), error=error, script_output=script_output)
        await self._lifecycle.finish(self._store.tasks[RunnerTaskId(task_id)], wanted)

    def rerun(self, task_id: str, behaviour: Behaviour | None = None) -> None:
        """Restart a task that ended, as an administrator can: ``running`` again with another ``run_id``.

        Raises:
            KeyError: there is no such task.
        """
        self._lifecycle.rerun(self._store.tasks[RunnerTaskId(task_id)], behaviour or Behaviour())

    def forget(self, task_id: str) -> None:
        """Delete a task, as an administrator can: 404 from then on.

        Raises:
            KeyError: there is no such task.
        """
        del self._store.tasks[RunnerTaskId(task_id)]
        self._store.changed()

    def purge_result(self, task_id: str) -> None:
        """Take away a task's files, as the runner's own retention does; the record stays.

        Raises:
            KeyError: there is no such task.
        """
        self._store.tasks[RunnerTaskId(task_id)].files = None

    async def kill_runner(self, runner: Runner) -> None:
        """A runner dies; its task stays ``running``, and it leaves the list after 60 s of the manager."""
        await self._lifecycle.kill(runner)

    def revive_runner(self, runner: Runner, behaviour: Behaviour | None = None) -> None:
        """A dead runner starts again and goes on with its task; by default it completes it."""
        self._lifecycle.revive(runner, behaviour or Behaviour())

    # --- up and down ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen; records of an earlier run are still there.

        Raises:
            OSError: the port is taken.
        """
        tasks = TaskRoutes(self._store, self._lifecycle, self._resolver, self._settings)
        application = web.Application(client_max_size=_LARGEST_BODY)
        application.router.add_route("*", "/{path:.*}", Api(self._store, tasks, self._settings).handle)
        server = web.AppRunner(
            application, access_log=None, keepalive_timeout=self._keep_alive, shutdown_timeout=0.05
        )
        await server.setup()
        try:
            await web.TCPSite(server, self._host, self._port).start()
        except OSError:
            await server.cleanup()
            raise
        self._port = int(server.addresses[0][1])
        self._server = server
        self._lifecycle.up()

    async def stop(self) -> None:
        """Stop listening: connections are refused, pending retries of callbacks are lost, runners go on."""
        await self._lifecycle.down()
        if self._server is not None:
            await self._server.cleanup()
            self._server = None

    async def restart(self) -> None:
        """Stop and start again on the same port."""
        await self.stop()
        await self.start()

    async def close(self) -> None:
        """End everything."""
        await self.stop()
        await self._lifecycle.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
