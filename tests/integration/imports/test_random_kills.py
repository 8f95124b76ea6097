"""Kills at random moments of imports; ``make kills`` makes 200 of them, the suite a few.

The seed is printed with a failure and can be given again: ``PODDISPATCHD_TEST_KILLS="200 seed 7"``.
"""

import os
from pathlib import Path
from random import Random

import pytest

from poddispatchd.domain.task import SUBMITTABLE, TaskType
from poddispatchd.sandbox.postgresql import PostgresServer
from tests.integration.imports.bench import Bench, state_of
from tests.integration.imports.test_crashes import copy, made_ready, restart, run_until, watchable

_WANTED, _, _SEED = os.environ.get("PODDISPATCHD_TEST_KILLS", "3 seed 1").partition(" seed ")
_PER_KIND = -(-int(_WANTED) // len(TaskType))
_NEVER = 10**9


@pytest.mark.slow
@pytest.mark.timeout(0 if _PER_KIND > 10 else 120)
@pytest.mark.parametrize("kind", SUBMITTABLE)
async def test_kills_at_random_moments_change_nothing_of_the_end(
    ready: Bench, postgres: PostgresServer, tmp_path: Path, kind: TaskType
) -> None:
    dice = Random(f"{_SEED} {kind}")
    task, _ = await made_ready(ready, kind)
    async with copy(ready, postgres, tmp_path / "undisturbed") as calm:
        status, output = await run_until(calm, f"call {_NEVER}")
        assert status == 0, output
        calls = int(output.split()[-1])
        await restart(calm)
        assert await calm.status(task) == "completed"
        expected = await state_of(calm.pod, calm.world.media_root)
    for number in range(_PER_KIND):
        at = dice.randint(1, calls)
        root = tmp_path / str(number)
        async with copy(ready, postgres, root) as hit:
            await run_until(hit, f"call {at}")
            story = f"seed {_SEED}, {kind}, killed at call {at} of {calls}"
            files = hit.files()
            assert all(files.get(path) for path in await watchable(hit)), story
            await restart(hit)
            assert await hit.status(task) == "completed", story
            assert await state_of(hit.pod, root) == expected, story
            assert hit.staged() == [], story
            for table in ("import_file", "obsolete_file"):
                assert await hit.value(f"SELECT count(*) FROM poddispatchd.{table}") == 0, story
