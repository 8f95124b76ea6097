"""Submissions whose answer was lost are repeated, but not to a manager that may not have read the first."""

from pathlib import Path

from poddispatchd.journal import submissions
from poddispatchd.sandbox.fake_runner_manager import Endpoint, Fault, FaultKind
from tests.integration.dispatch.scene import scene
from tests.plugins.postgres import PodDatabase


async def test_nothing_is_repeated_to_a_manager_that_does_not_answer(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """A frozen manager found the request and its repetition in its queue, and ran both."""
    async with scene(pod_database, media_root) as pod:
        [pk] = await pod.encodings(1)
        fake = pod.fakes["first"]
        fake.faults.inject(Endpoint.EXECUTE, Fault(kind=FaultKind.DROP_ANSWER))
        fake.faults.inject(Endpoint.STATUS, Fault(kind=FaultKind.DROP), times=None)
        daemon = await pod.daemon()
        for _ in range(4):
            await daemon.settle()
            daemon.clock.advance(30)
            await daemon.probe()
        assert pod.posts("first") == 1
        assert len(await submissions.open_submissions(pod.connection)) == 1
        fake.faults.clear()
        for _ in range(3):
            daemon.clock.advance(70)
            await daemon.probe()
            await daemon.settle()
        assert pod.posts("first") == 2
        [record] = fake.tasks.values()
        assert (await pod.row(pk))["task_id"] == record.task_id
        assert await submissions.open_submissions(pod.connection) == []
