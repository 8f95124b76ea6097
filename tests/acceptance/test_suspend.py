"""A machine that is suspended while its daemon submits a task, and goes on when another daemon schedules."""

import asyncio
import math
import signal
import subprocess
import time
from pathlib import Path

import pytest

from poddispatchd.domain.task import TaskType
from tests.acceptance.rig import SHORT_TERMS, Rig

_TERMS = {**SHORT_TERMS, "poddispatchd.runtime.leadership.LEASE": 4.0}
"""Long enough for what a daemon does after its machine goes on, if it takes its term for its own."""

_SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(1);
    RETURN NEW;
END $$
"""


@pytest.fixture(scope="session")
def suspended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("suspended") / "suspended.so"
    source = Path(__file__).with_name("suspended.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", made, source, "-ldl"], check=True, timeout=120)
    return made


async def test_it_knows_that_its_term_is_over_and_posts_nothing(
    rig: Rig, suspended: Path, tmp_path: Path
) -> None:
    """It took its term for its own, and had a task run that another daemon had long completed."""
    seconds = tmp_path / "seconds"
    seconds.write_text("0")
    await rig.execute(_SLOW)
    await rig.execute(
        "CREATE TRIGGER slow AFTER INSERT ON poddispatchd.submission FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    first = await rig.start(constants=_TERMS, env={"LD_PRELOAD": str(suspended), "SUSPENDED": str(seconds)})
    await first.event("leader.acquired")
    second = await rig.start(constants=_TERMS)

    [task] = await rig.add(TaskType.ENCODING)
    query = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    while not await rig.fetch(query):  # noqa: ASYNC110 - nobody announces it
        await asyncio.sleep(0.01)
    first.signal(signal.SIGSTOP)
    begun = time.monotonic()
    # Its intent is committed, and nothing posted: whoever schedules next posts it.
    await second.event("task.completed", task=task)
    seconds.write_text(str(math.ceil(time.monotonic() - begun)))
    first.signal(signal.SIGCONT)
    await first.event("leader.lost")

    assert len(rig.manager.submissions) == 1
