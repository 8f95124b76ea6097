"""Runner managers that a person adds or activates while tasks wait for one."""

from pathlib import Path

import pytest

from poddispatchd.journal import pauses
from tests.integration.dispatch.scene import Scene, Spec, scene
from tests.plugins.postgres import PodDatabase


async def _activate(pod: Scene, name: str) -> None:
    await pod.connection.execute("UPDATE runner_manager SET is_active = true WHERE id = $1", pod.ids[name])


@pytest.mark.parametrize("others", ["nobody", "of another site", "paused"])
async def test_a_manager_that_is_activated_gets_what_waits_for_it_with_the_next_look(
    pod_database: PodDatabase, media_root: Path, others: str
) -> None:
    """Nothing rings then, and for five minutes nobody looked."""
    specs = [Spec("new", is_active=False)]
    if others != "nobody":
        specs.append(Spec("other", site="there" if others == "of another site" else "here"))
    async with scene(pod_database, media_root, *specs) as pod:
        if others == "paused":
            await pauses.pause(pod.connection, pod.ids["other"])
        [pk] = await pod.encodings(1)
        daemon = await pod.daemon()
        for _ in range(3):
            daemon.clock.advance(30)
            await daemon.settle()
        await _activate(pod, "new")
        daemon.clock.advance(30)
        await daemon.settle()
        assert await pod.holders([pk]) == ["new"]


async def test_a_manager_that_is_resumed_gets_what_waits_for_it_with_the_next_look_also_where_nothing_rings(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """Through a pooler that pools transactions nobody hears of it: for five minutes nobody looked."""
    async with scene(pod_database, media_root) as pod:
        [manager] = pod.ids.values()
        await pauses.pause(pod.connection, manager)
        [pk] = await pod.encodings(1)
        daemon = await pod.daemon()
        for _ in range(3):
            daemon.clock.advance(30)
            await daemon.settle()
        assert await pod.status(pk) == "pending"
        await pauses.resume(pod.connection, manager)
        daemon.clock.advance(30)
        await daemon.settle()
        assert await pod.status(pk) == "running"


async def test_managers_are_not_read_again_while_one_of_them_waits_for_tasks(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("here"), Spec("there", site="there")) as pod:
        daemon = await pod.daemon()
        await daemon.settle()
        await daemon.settle()
        known = daemon.parts.registry.all()
        await pod.connection.execute("UPDATE runner_manager SET name = 'renamed'")
        for _ in range(3):
            daemon.clock.advance(30)
            await daemon.settle()
        assert daemon.parts.registry.all() == known
        daemon.clock.advance(300)
        await daemon.settle()
        assert daemon.parts.registry.all() != known
