"""One campaign: fill the queue, break things, let it settle, ask the oracle."""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import asyncpg

from chaos.faults import Saboteur
from chaos.oracle import Oracle, Violation
from chaos.recovery import Recovery, recoveries
from chaos.setting import Stage, stage

_CHUNK = 20
_WAITING = 60
"""Pending tasks that are kept in the queue while there are more to add."""

_SECOND_LOOK = 25.0
"""Seconds until failed tasks are asked about again: ten times the daemons' interval, and some."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do.

    ``minutes`` bounds the time in which faults are caused, ``settle`` the seconds after it in which
    everything must have come to its end. ``pace`` stretches the pauses between faults.
    """

    tasks: int
    seed: int
    minutes: float
    settle: float = 420.0
    pace: float = 1.0


@dataclass(slots=True)
class Result:
    """What came of it."""

    plan: Plan
    violations: list[Violation]
    faults: dict[str, int]
    ends: dict[str, int]
    recoveries: list[Recovery]
    callbacks: dict[int, int]
    seconds: float
    settled_in: float
    notes: list[str] = field(default_factory=list)


async def run(plan: Plan, directory: Path, *, tell: bool = False) -> Result:
    """Carry out a campaign in a directory, where all logs and histories stay."""
    begun = time.monotonic()
    async with stage(directory, tasks=plan.tasks, seed=plan.seed) as scene:
        campaign = _Campaign(scene, plan, tell=tell)
        await campaign.break_things()
        settled_in = await campaign.settle()
        scene.timeline.save(directory / "timeline.json")
        oracle = Oracle(scene)
        violations = await oracle.judge()
        violations += [
            Violation("sabotage", f"a fault could not be caused: {one!r}") for one in campaign.failures
        ]
        return Result(
            plan=plan,
            violations=violations,
            faults={str(kind): count for kind, count in sorted(scene.timeline.counts().items())},
            ends=oracle.ends,
            recoveries=recoveries(scene, oracle.logs, oracle.completed_at),
            callbacks=dict(scene.relay.answers),
            seconds=time.monotonic() - begun,
            settled_in=settled_in,
            notes=oracle.notes,
        )


class _Campaign:
    def __init__(self, scene: Stage, plan: Plan, *, tell: bool) -> None:
        self._scene = scene
        self._plan = plan
        self._tell = tell
        self._tasks_lot = Random(f"{plan.seed} tasks")
        self.failures: list[BaseException] = []

    async def break_things(self) -> None:
        """Feed the queue and cause faults until all is added and done, or the time is over."""
        saboteur = Saboteur(self._scene, Random(f"{self._plan.seed} faults"), pace=self._plan.pace)
        await self._feed(min(self._plan.tasks, 2 * _CHUNK))
        enough = asyncio.Event()
        breaking = asyncio.create_task(saboteur.run(enough))
        deadline = time.monotonic() + 60 * self._plan.minutes
        told = 0.0
        while time.monotonic() < deadline:
            await asyncio.sleep(1.0)
            counts = await self._counts()
            missing = self._plan.tasks - len(self._scene.tasks)
            if missing and counts.get("pending", _WAITING) < _WAITING:
                await self._feed(min(missing, _CHUNK))
            if not missing and counts and not counts.keys() & {"pending", "running"}:
                break
            if self._tell and time.monotonic() - told > 10:
                told = time.monotonic()
                print(f"{deadline - told:5.0f} s left  {len(self._scene.tasks)} tasks  {counts}", flush=True)
        enough.set()
        await breaking
        self.failures = saboteur.failures

    async def settle(self) -> float:
        """No more faults; the seconds until everything is done, at most those of the plan."""
        scene = self._scene
        scene.relay.calm_down()
        await self._feed(self._plan.tasks - len(scene.tasks))
        for manager in scene.managers:
            await manager.order(do="calm")
            for index in range(manager.runners):
                await manager.order(do="revive_runner", index=index)
        begun, told = time.monotonic(), 0.0
        while time.monotonic() - begun < self._plan.settle:
            await asyncio.sleep(1.0)
            counts = await self._counts()
            is_over = counts and not counts.keys() & {"pending", "running"} and not await self._open_rows()
            if is_over and ("failed" not in counts or time.monotonic() - begun > _SECOND_LOOK):
                break
            if self._tell and time.monotonic() - told > 10:
                told = time.monotonic()
                print(f"settling for {told - begun:5.0f} s  {counts}  {await self._open_rows()}", flush=True)
        settled_in = time.monotonic() - begun
        # What crashes left on the disk is tidied up by the first round of a new daemon.
        for daemon in scene.daemons:
            await daemon.terminate()
        for daemon in scene.daemons:
            await daemon.start()
        await asyncio.sleep(8.0)
        for daemon in scene.daemons:
            await daemon.terminate()
        return settled_in

    async def _feed(self, count: int) -> None:
        for _ in range(5):
            try:
                missing = min(count, self._plan.tasks - len(self._scene.tasks))
                await self._scene.add_tasks(missing, self._tasks_lot)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                # The database is down on purpose, or the disk is full; whatever was added is known.
                await asyncio.sleep(1.0)
            else:
                return

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
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            return []
        try:
            return await connection.fetch(query)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            return []
        finally:
            connection.terminate()
