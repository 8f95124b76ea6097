"""A shadow among others."""

from pathlib import Path

from poddispatchd.shadow.session import SHADOW_TERM
from tests.integration.dispatch.scene import scene
from tests.integration.shadow.watcher import watching
from tests.plugins.postgres import PodDatabase


async def test_neither_another_shadow_nor_a_daemon_is_kept_from_its_work(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as here:
        await here.encoding()
        async with watching(here) as one, watching(here) as other:
            for shadow in (one, other):
                await shadow.look()
                assert shadow.jobs.stats.state().decisions["submit"] == 1
                assert shadow.parts.session.term == SHADOW_TERM
            daemon = await here.daemon()
            assert daemon.parts.session.term == SHADOW_TERM + 1
