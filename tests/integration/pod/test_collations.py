"""Texts of Pod's with a collation that takes different ones for equal, in which PostgreSQL seeks no patterns.

It needs a server with ICU, as those of Debian are (``SANDBOX_POSTGRESQL_BIN``); that the statements are
written for it is seen without one (``tests/unit/pod/test_patterns.py``).
"""

from pathlib import Path

import asyncpg
import pytest

from poddispatchd.app import features
from poddispatchd.app.checks import run_checks
from poddispatchd.app.findings import CheckLevel
from poddispatchd.domain.task import SUBMITTABLE, TaskType
from poddispatchd.pod.task_list import TaskFilter, listed_tasks
from tests.integration.dispatch.scene import scene
from tests.integration.imports.bench import bench
from tests.plugins.postgres import PodDatabase

_TEXTS = """
SELECT format('ALTER TABLE %s ALTER COLUMN %I TYPE %s COLLATE insensitive', attrelid::regclass, attname,
              format_type(atttypid, atttypmod))
  FROM pg_attribute
  JOIN pg_class ON pg_class.oid = attrelid
 WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
   AND atttypid IN ('text'::regtype, 'varchar'::regtype)
"""


async def _make_insensitive(pod: PodDatabase) -> None:
    """Give every text of Pod's such a collation."""
    async with pod.connection() as owner:
        try:
            await owner.execute(
                "CREATE COLLATION insensitive"
                " (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
            )
        except asyncpg.FeatureNotSupportedError:
            pytest.skip("this PostgreSQL was built without ICU")
        for row in await owner.fetch(_TEXTS):
            await owner.execute(row[0])


@pytest.mark.parametrize("kind", SUBMITTABLE)
async def test_results_are_imported(pod_database: PodDatabase, media_root: Path, kind: TaskType) -> None:
    """Each waited for ever: LIKE was refused (0A000), and nothing said why."""
    async with bench(pod_database, media_root) as here:
        await _make_insensitive(here.pod)
        task = await here.ready(kind)
        if kind is TaskType.STUDIO:
            # The directory of its owner is read off an earlier video then.
            await here.video()
            owner = "(SELECT user_id FROM recorder_recording)"
            await here.execute(
                f"UPDATE authentication_owner SET hashkey = '' WHERE user_id = {owner};"
                f"UPDATE video_video SET owner_id = {owner}, video = 'videos/{'a' * 64}/earlier.mp4'"
            )
        await here.import_due()
        assert await here.status(task) == "completed"


async def test_tasks_are_submitted_ranked_and_checked(pod_database: PodDatabase, media_root: Path) -> None:
    async with scene(pod_database, media_root) as pod:
        await _make_insensitive(pod.database)
        await pod.encodings(3)
        daemon = await pod.daemon()
        await daemon.settle()
        await features.maintenance(daemon.parts).step()
        assert await pod.statuses() == {"running": 2, "pending": 1}
        assert not daemon.parts.incidents.active
        found = [finding async for finding in run_checks(daemon.parts.settings)]
    # The manager of a test is no public one, nor is the address of its Pod.
    strange = [each.words for each in found if each.severity is CheckLevel.PROBLEM and "0A000" in each.words]
    assert strange == []


async def test_tasks_are_found_by_any_part_of_a_title(pod_database: PodDatabase, media_root: Path) -> None:
    async with bench(pod_database, media_root) as here:
        task = await here.running(video=await here.video(title="Une journée d'Été"))
        await here.execute(
            "UPDATE runner_manager_task SET status = 'failed', script_output = 'Why\n---\nlast'"
        )
        await _make_insensitive(here.pod)
        [found] = await listed_tasks(here.parts.database, TaskFilter(search="JOURNée d'éTÉ"), limit=9)
        assert (found.pk, found.failure) == (task, "Why")
