"""A small Pod of our own: database and media tree, seeded for each test that asks for it."""

from pathlib import Path

import pytest

from poddispatchd.domain.secret import SecretStr
from poddispatchd.sandbox.pod.seed import ManagerSpec, seed_world
from poddispatchd.sandbox.pod.world import World
from tests.plugins.postgres import PodDatabase


@pytest.fixture
def media_root(tmp_path: Path) -> Path:
    """An empty folder that is the test's MEDIA_ROOT."""
    folder = tmp_path / "media"
    folder.mkdir()
    return folder


@pytest.fixture
def manager_specs() -> tuple[ManagerSpec, ...]:
    """The runner managers of ``world``; a test module overrides this fixture to have others."""
    return (
        ManagerSpec("first", "http://127.0.0.1:9/first/", SecretStr("token-of-first")),
        ManagerSpec("second", "http://127.0.0.1:9/second", SecretStr("token-of-second")),
    )


@pytest.fixture
async def world(pod_database: PodDatabase, media_root: Path, manager_specs: tuple[ManagerSpec, ...]) -> World:
    """The small world, in ``pod_database`` and ``media_root``, without any task."""
    async with pod_database.connection() as connection:
        return await seed_world(connection, media_root, variant=pod_database.variant, managers=manager_specs)
