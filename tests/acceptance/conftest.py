from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from poddispatchd.domain.secret import SecretStr
from poddispatchd.sandbox.fake_runner_manager import FakeRunnerManager, Runner
from poddispatchd.sandbox.pod.seed import ManagerSpec
from tests.acceptance.gate import Gate
from tests.acceptance.notifications import Notifications
from tests.acceptance.rig import TOKEN, Rig
from tests.plugins.postgres import PodDatabase
from tests.plugins.postgres import database_with_journal as pod_database
from tests.plugins.world import planted

__all__ = ["pod_database"]


@pytest.fixture
async def rig(pod_database: PodDatabase, tmp_path: Path) -> AsyncIterator[Rig]:
    """A Pod with one runner manager of two runners; at its end, no secret may have been seen anywhere."""
    media_root = tmp_path / "media"
    manager = FakeRunnerManager(token=TOKEN, runners=[Runner(), Runner()], task_seconds=0.05, connect_to={})
    async with manager:
        world = await planted(
            pod_database, media_root, managers=[ManagerSpec("encoders", manager.url, SecretStr(TOKEN))]
        )
        rig = Rig(tmp_path, pod_database, world, manager, _settings(pod_database, media_root))
        yield rig
        for process in rig.processes:
            await process.kill()
    said = rig.everything_said()
    password = urlsplit(pod_database.dsn.get_secret_value()).password
    assert password
    for secret in (TOKEN, password):
        assert secret not in said


@pytest.fixture
async def gate(pod_database: PodDatabase) -> AsyncIterator[Gate]:
    """A shut gate in front of the database."""
    gate = Gate(pod_database.dsn)
    await gate.reserve()
    yield gate
    await gate.shut()


@pytest.fixture
def notifications() -> Iterator[Notifications]:
    """A service manager that listens."""
    notifications = Notifications.listen()
    with notifications.socket:
        yield notifications


def _settings(database: PodDatabase, media_root: Path) -> dict[str, dict[str, object]]:
    return {
        "database": {"dsn": database.dsn.get_secret_value()},
        "pod": {
            "https": False,
            "media_root": str(media_root),
            "use_podfile": True,
            "use_transcription": True,
        },
        "dispatch": {"poll_interval": "1s", "grace": 0},
        "reconcile": {"interval": "1s", "running_after": "2s"},
        "imports": {"keep_free": "1MiB"},
        "webhook": {"listen": "127.0.0.1:0"},
        "ops": {"listen": "127.0.0.1:0"},
        "log": {"format": "json", "level": "debug"},
    }
