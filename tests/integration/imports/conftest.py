"""What the tests of kills share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase


@pytest.fixture
async def ready(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    """A Pod whose daemon has not been started yet, and a runner manager."""
    async with bench(pod_database, media_root) as made:
        yield made
