"""Submissions whose answer was lost are repeated, but not to a manager that may not have read the first."""

from pathlib import Path

import pytest

from poddispatchd.dispatch.acceptance import Acceptance
from poddispatchd.errors import DatabaseUnavailableError
from poddispatchd.journal import submissions
from poddispatchd.sandbox.fake_runner_manager import AnswerFault, Endpoint, FaultKind
from tests.integration.dispatch.scene import scene
from tests.plugins.postgres import PodDatabase


async def test_nothing_is_repeated_to_a_manager_that_does_not_answer(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """A frozen manager found the request and its repetition in its queue, and ran both."""
    async with scene(pod_database, media_root) as pod:
        [pk] = await pod.encodings(1)
        fake = pod.fakes["first"]
        fake.faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.DROP_ANSWER))
        fake.faults.inject(Endpoint.STATUS, AnswerFault(kind=FaultKind.DROP), times=None)
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


async def test_an_answer_that_could_not_be_stored_is_stored_later_and_not_asked_for_again(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database was away just then: the task had ended when it was back, and was done a second time."""
    async with scene(pod_database, media_root) as pod:
        [pk] = await pod.encodings(1)
        daemon = await pod.daemon()

        async def away(*_: object, **__: object) -> None:
            raise DatabaseUnavailableError("gone")

        with monkeypatch.context() as patch:
            patch.setattr(Acceptance, "store", away)
            await daemon.dispatcher.step()
            await daemon.dispatcher.drain()
        [record] = pod.fakes["first"].tasks.values()
        await pod.fakes["first"].finish(record.task_id)
        await daemon.settle()
        assert pod.posts("first") == 1
        assert (await pod.row(pk))["task_id"] == record.task_id
        assert await submissions.open_submissions(pod.connection) == []
