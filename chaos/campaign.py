"""One campaign: fill the queue, break things, let it settle, ask the oracle."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeAlias

import asyncpg

from chaos import effects, files
from chaos.effects import Effect
from chaos.evidence import Evidence, gather
from chaos.oracle import judge
from chaos.postgres import UNREACHABLE
from chaos.processes import OUR_SOURCE, Command, daemon_command
from chaos.recovery import QUIET_AFTER, Recovery, late, recoveries
from chaos.sabotage import KINDS, Saboteur
from chaos.stage import Stage, Tempo, stage
from chaos.timeline import Kind
from chaos.violation import Violation

_DRILL = 90.0
"""Seconds over which the tasks of one round of drills are added: about as long as it takes."""

_ROLLING = 20.0
"""Seconds between the upgrades of two daemons."""

_TIDYING = 90.0
"""Seconds that new daemons have to tidy up after the crashes of the old ones: files that could not be deleted
while Pod's tables were another's are looked at again after 60."""


Watch: TypeAlias = Callable[[Stage], AbstractAsyncContextManager[object]]
"""Looks on from the side."""


def _unwatched(_: Stage) -> AbstractAsyncContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do.

    ``minutes`` bounds the time in which faults are caused, ``settle`` the seconds after it in which
    everything must have come to its end. ``pace`` stretches the pauses between faults, ``brevity`` their
    length; ``kinds`` are those that are caused, and their shares. Before all that, each of the faults whose
    recovery has a name is caused ``drills`` times with nothing else beside it. ``pooler`` is what a PgBouncer
    before the database pools (``session`` or ``transaction``); None: there is none. With a ``file_server``
    the media tree is served by a process that can stand still. With an ``older`` tree the daemons are of
    that release at first, and are upgraded in the middle. ``second_look`` are the seconds until failed tasks
    are asked about again: ten times the daemons' interval, and some. ``feeding`` is the share of the time of
    faults over which tasks are added: the last ones need some of it, too.
    """

    tasks: int
    seed: int
    minutes: float
    settle: float = 420.0
    pace: float = 1.0
    brevity: float = 1.0
    drills: int = 0
    pooler: str | None = None
    file_server: bool = False
    older: Path | None = None
    kinds: Mapping[Kind, int] = field(default_factory=lambda: KINDS)
    tempo: Tempo = field(default_factory=Tempo)
    second_look: float = 25.0
    feeding: float = 0.8


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it."""

    plan: Plan
    violations: list[Violation]
    effects: list[Effect]
    spoilt: Mapping[str, int]
    ends: Mapping[str, int]
    recoveries: list[Recovery]
    callbacks: Mapping[int, int]
    seconds: float
    settled_in: float
    notes: list[str]
    impossible: Sequence[Kind] = ()


async def run(
    plan: Plan,
    directory: Path,
    *,
    tell: bool = False,
    command: Command = daemon_command,
    watched: Watch = _unwatched,
) -> Result:
    """Carry out a campaign in a directory, where all logs and histories stay.

    ``command`` is how the daemons are started; ``watched`` looks on while things break.
    """
    begun = time.monotonic()
    async with stage(
        directory,
        tasks=plan.tasks,
        seed=plan.seed,
        tempo=plan.tempo,
        pooler=plan.pooler,
        file_server=plan.file_server,
        older=plan.older,
        command=command,
    ) as scene:
        campaign = _Campaign(scene, plan, tell=tell)
        async with watched(scene):
            await campaign.break_things()
        settled_in = await campaign.settle()
        scene.timeline.save(directory / "timeline.json")
        evidence = await gather(scene)
        violations = judge(evidence)
        violations += [
            Violation("sabotage", f"a fault could not be caused: {one!r}") for one in campaign.failures
        ]
        recovered = recoveries(evidence, scene.relay.swallowed)
        settings = f"poll and reconcile every {plan.tempo.interval}, after {plan.tempo.running_after}"
        return Result(
            plan=plan,
            violations=violations + late(recovered),
            effects=effects.effects(evidence),
            spoilt=effects.spoilt_answers(evidence),
            ends=Counter(f"{row.type} {row.status}" for row in evidence.rows.values()),
            recoveries=recovered,
            callbacks=dict(scene.relay.answers),
            seconds=time.monotonic() - begun,
            settled_in=settled_in,
            notes=[
                *effects.notes(evidence),
                f"daemons: {settings}",
            ],
            impossible=scene.disk.impossible,
        )


class _Campaign:
    def __init__(self, scene: Stage, plan: Plan, *, tell: bool) -> None:
        self._scene = scene
        self._plan = plan
        self._tell = tell
        self.failures: list[BaseException] = []

    async def break_things(self) -> None:
        """Feed the queue and cause faults until all is added and done, or the time is over."""
        plan = self._plan
        saboteur = Saboteur(
            self._scene,
            Random(f"{plan.seed} faults"),
            pace=plan.pace,
            brevity=plan.brevity,
            kinds=plan.kinds,
        )
        drilled = plan.tasks // 4 if plan.drills else 0
        with self._fed(0, drilled, seconds=_DRILL * plan.drills):
            for kind in saboteur.drilled * plan.drills:
                await saboteur.cause(kind)
                await asyncio.sleep(QUIET_AFTER + 1)
        enough = asyncio.Event()
        breaking = asyncio.create_task(saboteur.run(enough))
        with self._fed(drilled, plan.tasks, seconds=plan.feeding * 60 * plan.minutes):
            if plan.older is None:
                await asyncio.sleep(60 * plan.minutes)
            else:
                await asyncio.sleep(30 * plan.minutes)
                await self._upgrade()
                await asyncio.sleep(30 * plan.minutes)
        enough.set()
        await breaking
        self.failures = saboteur.failures

    async def _upgrade(self) -> None:
        """Replace the daemons by this release, one after the other.

        The first one migrates the schema; the other one notices that, hands over and ends by itself. Whoever
        is started from now on is of this release.
        """
        for daemon in self._scene.daemons:
            daemon.source = OUR_SOURCE
            daemon.may_end()
        for daemon in self._scene.daemons:
            async with daemon.busy:
                with self._scene.timeline.incident(Kind.UPGRADE, daemon.name) as incident:
                    incident.happened = daemon.has_ended or await daemon.terminate() == 0
                    await daemon.start()
            # Both releases are at work.
            await asyncio.sleep(_ROLLING)

    @contextmanager
    def _fed(self, begin: int, end: int, *, seconds: float) -> Iterator[None]:
        """Tasks are added, evenly over so many seconds, while the block lasts."""
        feeding = asyncio.create_task(self._keep_fed(begin, end, seconds))
        try:
            yield
        finally:
            feeding.cancel()

    async def _keep_fed(self, begin: int, end: int, seconds: float) -> None:
        started, told = time.monotonic(), 0.0
        while True:
            spent = time.monotonic() - started
            share = min(1.0, spent / seconds) if seconds else 1.0
            await self._feed(begin + round(share * (end - begin)))
            if self._tell and time.monotonic() - told > 10:
                told = time.monotonic()
                tasks = len(self._scene.pod.tasks)
                print(f"breaking things  {tasks} tasks  {await self._counts()}", flush=True)
            await asyncio.sleep(1.0)

    async def settle(self) -> float:
        """No more faults; the seconds until everything is done, at most those of the plan."""
        scene = self._scene
        scene.relay.calm_down()
        await self._feed(self._plan.tasks)
        for manager in scene.managers:
            await manager.order(do="calm")
            for index in range(manager.runners):
                await manager.order(do="revive_runner", index=index)
        begun, told = time.monotonic(), 0.0
        while time.monotonic() - begun < self._plan.settle:
            await asyncio.sleep(1.0)
            counts = await self._counts()
            is_over = counts and not counts.keys() & {"pending", "running"} and not await self._open_rows()
            if is_over and ("failed" not in counts or time.monotonic() - begun > self._plan.second_look):
                break
            if self._tell and time.monotonic() - told > 10:
                told = time.monotonic()
                print(f"settling for {told - begun:5.0f} s  {counts}  {await self._open_rows()}", flush=True)
        settled_in = time.monotonic() - begun
        await self._tidy_up()
        return settled_in

    async def _tidy_up(self) -> None:
        """New daemons: what crashes left on the disk is tidied up by their first round."""
        daemons = self._scene.daemons
        await asyncio.gather(*(daemon.terminate() for daemon in daemons))
        await asyncio.gather(*(daemon.start() for daemon in daemons))
        await asyncio.gather(*(daemon.ready() for daemon in daemons))
        begun = time.monotonic()
        await self._scene.relay.shut()
        while time.monotonic() - begun < _TIDYING:
            evidence = await gather(self._scene)
            if not evidence.open_rows and not await asyncio.to_thread(_is_untidy, evidence):
                break
            await asyncio.sleep(1.0)
        await asyncio.gather(*(daemon.terminate() for daemon in daemons))

    async def _feed(self, wanted: int) -> None:
        """Add what is missing to so many tasks."""
        while len(self._scene.pod.tasks) < wanted:
            try:
                connection = await self._scene.connect()
                try:
                    # Sources are written: the campaign itself must not meet a disk that hangs or is hidden.
                    async with self._scene.disk.busy:
                        await self._scene.pod.add_tasks(connection, wanted - len(self._scene.pod.tasks))
                finally:
                    connection.terminate()
            except UNREACHABLE:
                # Whatever was added is known.
                await asyncio.sleep(1.0)

    async def _counts(self) -> dict[str, int]:
        rows = await self._fetch("SELECT status, count(*) AS n FROM runner_manager_task GROUP BY status")
        return {row["status"]: row["n"] for row in rows}

    async def _open_rows(self) -> dict[str, int]:
        rows = await self._fetch(
            "SELECT 'submission' AS what, count(*) AS n FROM poddispatchd.submission WHERE state = 'open'"
            " UNION ALL SELECT 'callback', count(*) FROM poddispatchd.callback WHERE state = 'open'"
            " UNION ALL SELECT 'import', count(*) FROM poddispatchd.import WHERE state = 'open'"
        )
        return {row["what"]: row["n"] for row in rows if row["n"]}

    async def _fetch(self, query: str) -> list[asyncpg.Record]:
        try:
            connection = await self._scene.connect()
        except UNREACHABLE:
            return []
        try:
            return await connection.fetch(query)
        except UNREACHABLE:
            return []
        finally:
            connection.terminate()


def _is_untidy(evidence: Evidence) -> bool:
    return any(files.orphans(evidence))
