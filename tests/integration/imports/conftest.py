"""What the tests of kills and of failing system calls share."""

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase
from tests.plugins.postgres import database_with_journal as pod_database

__all__ = ["pod_database"]


@pytest.fixture
async def ready(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    """A Pod whose daemon has not been started yet, and a runner manager."""
    async with bench(pod_database, media_root) as made:
        yield made


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is preloaded into a process whose system calls fail."""
    made = tmp_path_factory.mktemp("refusing") / "refusing.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-o", made, Path(__file__).with_name("refusing.c"), "-ldl"],
        check=True,
        timeout=120,
    )
    return made
