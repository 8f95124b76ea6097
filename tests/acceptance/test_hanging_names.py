"""Runner managers whose name servers do not answer: to look a name up blocks, and cannot be ended."""

import signal
import subprocess
from pathlib import Path

import pytest

from poddispatchd.domain.task import TaskType
from tests.acceptance.rig import Rig

_MANY = 34
"""More than an event loop has threads of its own, on however many processors."""


@pytest.fixture(scope="session")
def names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("names") / "hanging_names.so"
    source = Path(__file__).with_name("hanging_names.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", made, source, "-ldl"], check=True, timeout=120)
    return made


async def test_they_hold_up_neither_the_others_nor_the_end(rig: Rig, names: Path) -> None:
    """Six of them, on two processors, and no name was looked up any more: no task was submitted anywhere."""
    await rig.execute("UPDATE runner_manager SET url = replace(url, '127.0.0.1', 'a.answered.example')")
    await rig.execute(
        "INSERT INTO runner_manager (name, priority, url, token, site_id, is_active)"
        " SELECT 'm' || n, priority - 1, 'http://m' || n || '.hanging.example', token, site_id, true"
        " FROM runner_manager, generate_series(1, $1::integer) AS n",
        _MANY,
    )
    tasks = await rig.add(*[TaskType.ENCODING] * 3)

    daemon = await rig.start(
        env={"LD_PRELOAD": str(names), "HANG_SECONDS": "3600"},
        constants={"poddispatchd.runner.transport.CONNECT_TIMEOUT": 0.3},
    )
    for task in tasks:
        await daemon.event("task.completed", task=task)
    page = (await rig.get("/api/status"))[1]
    daemon.signal(signal.SIGTERM)

    assert "the name servers do not tell the address of its host" in page
    assert await daemon.ended() == 0
