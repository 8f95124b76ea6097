"""Whose task is whose: sites, and the time that Pod's own submission gets."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from poddispatchd.domain.task import TaskType
from poddispatchd.journal import scheduling
from poddispatchd.sandbox.pod.world import add_task, add_video, link
from tests.integration.dispatch.scene import DOMAIN, Spec, scene
from tests.plugins.postgres import PodDatabase

_BOTH = (Spec("here", runners=9), Spec("there", runners=9, site="there"))
_THERE = "other.example.org"


async def test_a_task_is_done_for_its_own_site(pod_database: PodDatabase, media_root: Path) -> None:
    async with scene(pod_database, media_root, *_BOTH) as pod:
        own = await pod.encoding(title="own")
        other = await pod.encoding(title="other", site=pod.world.other_site)
        both_video = await add_video(pod.connection, pod.world, title="both", site=pod.world.other_site)
        await link(pod.connection, "video_video_sites", video_id=both_video.id, site_id=pod.world.site.id)
        both = await add_task(pod.connection, TaskType.ENCODING, video=both_video)
        nowhere_video = await add_video(pod.connection, pod.world, title="nowhere")
        await pod.connection.execute("DELETE FROM video_video_sites WHERE video_id = $1", nowhere_video.id)
        nowhere = await add_task(pod.connection, TaskType.ENCODING, video=nowhere_video)

        await (await pod.daemon()).settle()

        assert await pod.holders([own, other, both, nowhere]) == ["here", "there", "here", "here"]
        [there] = pod.fakes["there"].submissions
        assert there.source_url.startswith(f"http://{_THERE}/media/")
        assert there.notify_url == f"http://{_THERE}/runner/notify_task_end/"
        assert all(
            entry.source_url.startswith(f"http://{DOMAIN}/") for entry in pod.fakes["here"].submissions
        )


async def test_only_the_sites_named_are_served(pod_database: PodDatabase, media_root: Path) -> None:
    async with scene(pod_database, media_root, *_BOTH) as pod:
        own = await pod.encoding(title="own")
        studio = await pod.studio()
        other = await pod.encoding(title="other", site=pod.world.other_site)
        daemon = await pod.daemon(dispatch={"grace": 0, "sites": [_THERE]})
        await daemon.settle()
        assert await pod.holders([own, studio, other]) == [None, None, "there"]


async def test_a_long_queue_of_one_site_does_not_hide_another_sites_tasks(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("here", runners=1), _BOTH[1]) as pod:
        await pod.encodings(50)
        other = await pod.encoding(title="other", site=pod.world.other_site)
        await (await pod.daemon()).settle()
        assert await pod.holders([other]) == ["there"]
        assert await pod.statuses() == {"running": 2, "pending": 49}


async def test_no_task_waits_behind_tasks_that_cannot_be_placed(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        duplicate = await add_video(pod.connection, pod.world, title="asked for very often")
        running = await add_task(pod.connection, TaskType.ENCODING, video=duplicate)
        await pod.start(running, "first", "an-id-of-pod")
        for _ in range(150):
            await add_task(pod.connection, TaskType.ENCODING, video=duplicate)
        behind = await pod.encoding(title="behind them")
        await (await pod.daemon()).settle()
        assert await pod.status(behind) == "running"
        assert (await pod.statuses())["pending"] == 150


async def test_a_site_added_while_the_daemon_runs_is_served(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        daemon = await pod.daemon()
        new = await pod.connection.fetchval(
            "INSERT INTO django_site (id, domain, name) VALUES (77, 'new.example.org', 'new') RETURNING id"
        )
        pk = await pod.encoding(title="new")
        await pod.connection.execute("UPDATE video_video_sites SET site_id = $1", new)
        await pod.connection.execute("UPDATE runner_manager SET site_id = $1", new)
        daemon.clock.advance(11)
        await daemon.settle()
        assert await pod.holders([pk]) == ["first"]


async def test_a_site_whose_domain_is_changed_in_pod_is_called_by_its_new_one(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """Runners were sent to the old domain for sources, and called it back, until a reload."""
    async with scene(pod_database, media_root) as pod:
        daemon = await pod.daemon()
        await daemon.settle()
        await pod.connection.execute(
            "UPDATE django_site SET domain = 'new.example.org' WHERE domain = $1", DOMAIN
        )
        await pod.encoding()
        daemon.clock.advance(11)
        await daemon.settle()

        [sent] = pod.fakes["first"].submissions
        assert sent.source_url.startswith("http://new.example.org/")
        assert sent.notify_url == "http://new.example.org/runner/notify_task_end/"


async def test_a_daemon_outlives_the_row_of_its_own_site(pod_database: PodDatabase, media_root: Path) -> None:
    async with scene(pod_database, media_root) as pod:
        daemon = await pod.daemon()
        await daemon.settle()
        await pod.connection.execute("SET session_replication_role = replica")
        await pod.connection.execute("DELETE FROM django_site WHERE domain = $1", DOMAIN)
        daemon.clock.advance(11)
        await daemon.settle()

        assert daemon.parts.sites.current.domain == DOMAIN


async def test_a_young_task_is_left_to_pod_for_a_while(pod_database: PodDatabase, media_root: Path) -> None:
    async with scene(pod_database, media_root, Spec("first", runners=9)) as pod:
        old = await pod.encoding(title="old")
        await pod.connection.execute(
            "UPDATE runner_manager_task SET date_added = $1", datetime.now(UTC) - timedelta(minutes=1)
        )
        young = await pod.encoding(title="young")
        made_by_us = await pod.encoding(title="made by us")
        daemon = await pod.daemon(dispatch={"grace": "30s"})
        await scheduling.add_own_tasks(pod.connection, [made_by_us])
        await daemon.settle()
        assert await pod.holders([old, young, made_by_us]) == ["first", None, "first"]
        assert made_by_us not in await scheduling.own_tasks(pod.connection, [made_by_us])
        await pod.connection.execute(
            "UPDATE runner_manager_task SET date_added = now() - interval '31 seconds' WHERE id = $1", young
        )
        await daemon.settle()
        assert await pod.holders([young]) == ["first"]


async def test_the_end_of_a_grace_and_of_a_wait_wakes_the_dispatcher(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """With a grace of 30 s tasks were submitted after 40 to 47 s: nobody looked when it ended."""
    async with scene(pod_database, media_root, Spec("first", runners=9)) as pod:
        daemon = await pod.daemon(dispatch={"grace": "30s", "poll_interval": "60s"})
        young = await pod.encoding(title="young")
        await pod.connection.execute(
            "UPDATE runner_manager_task SET date_added = now() - interval '28 seconds' WHERE id = $1", young
        )
        assert 1 < await daemon.dispatcher.step() < 3
        put_back = await pod.encoding(title="put back")
        added = (await pod.row(put_back))["date_added"]
        await scheduling.put_back(pod.connection, put_back, added, wait=1.5)
        daemon.parts.wakeups.dispatcher.ring()  # as whatever changes the queue does
        # Sooner than the grace of the other one ends, which has two seconds left.
        assert 0.5 < await daemon.dispatcher.step() <= 1.5
        # The grace that ends is the database's: a clock that runs ahead gains nothing.
        daemon.clock.advance(10)
        assert await daemon.dispatcher.step() < 3
        assert await pod.status(young) == "pending"


async def test_a_clock_that_is_wrong_makes_no_task_younger_or_older(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon on a machine ten minutes behind submitted nothing that was added in the last ten minutes."""
    async with scene(pod_database, media_root, Spec("first", runners=9)) as pod:
        old, young = await pod.encoding(title="old"), await pod.encoding(title="young")
        await pod.connection.execute(
            "UPDATE runner_manager_task SET date_added = now() - interval '1 minute' WHERE id = $1", old
        )
        daemon = await pod.daemon(dispatch={"grace": "30s"})
        for wrong in (timedelta(minutes=-10), timedelta(minutes=10)):
            monkeypatch.setattr(daemon.clock, "now", lambda wrong=wrong: datetime.now(UTC) + wrong)
            await daemon.settle()
            assert await pod.holders([old, young]) == ["first", None]


async def test_many_young_tasks_do_not_hide_an_old_one(pod_database: PodDatabase, media_root: Path) -> None:
    async with scene(pod_database, media_root) as pod:
        for number in range(45):
            await pod.encoding(title=f"young {number}", owner="priority")
        old = await pod.encoding(title="old", owner="student")
        await pod.connection.execute(
            "UPDATE runner_manager_task SET date_added = now() - interval '1 hour' WHERE id = $1", old
        )
        await (await pod.daemon(dispatch={"grace": "30s"})).settle()
        assert await pod.status(old) == "running"
