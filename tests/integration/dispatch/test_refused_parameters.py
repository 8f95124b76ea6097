"""Runners before 1.5.0 fail a transcription over ``source_language``: it is submitted again without it."""

from datetime import timedelta
from pathlib import Path

import pytest

from poddispatchd.domain.lifecycle import Decision, Retries
from poddispatchd.domain.payload import refused_parameters
from poddispatchd.domain.task import RunnerStatus, TaskPk, TaskType
from poddispatchd.pod.tasks import task_of
from poddispatchd.tasks.run_report import ReportOrigin, RunReport
from poddispatchd.tasks.transitions import apply_report
from tests.integration.dispatch.scene import Daemon, Scene, Spec, scene
from tests.plugins.postgres import PodDatabase

_WORDS = "Invalid parameters for task type: transcription (invalid fields: source_language)"
_ONCE = Retries(max_attempts=1, first_wait=0.0, random=lambda: 0.0)


async def _end(pod: Scene, pk: TaskPk, status: RunnerStatus, error: str | None = None) -> Decision:
    """What a callback says about the run of a task."""
    row = await pod.row(pk)
    await pod.fakes["first"].finish(row["task_id"])
    report = RunReport(status, error, origin=ReportOrigin.CALLBACK)
    async with pod.connection.transaction():
        return await apply_report(pod.connection, task_of(row), report, retries=_ONCE)


def _sent(pod: Scene) -> list[bool]:
    return ["source_language" in entry.parameters for entry in pod.fakes["first"].submissions]


async def _settle(daemon: Daemon) -> None:
    daemon.clock.advance(11)  # managers are read again
    await daemon.settle()


async def test_a_run_that_failed_over_it_is_submitted_again_without_it_and_the_manager_is_remembered(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("first", runners=9)) as pod:
        pk = await pod.transcription()
        daemon = await pod.daemon()
        await daemon.settle()
        assert await _end(pod, pk, RunnerStatus.FAILED, _WORDS) is Decision.RETRY
        # At once, though managers are read again in a while only.
        await daemon.settle()
        assert _sent(pod) == [True, False]
        assert await pod.status(pk) == "running"

        await pod.transcription()
        await _settle(daemon)
        assert _sent(pod) == [True, False, False]

        # After days its runners may be others.
        await pod.connection.execute(
            "UPDATE poddispatchd.refused_parameter SET refused_at = refused_at - $1::interval",
            timedelta(days=8),
        )
        await pod.transcription()
        await _settle(daemon)
        assert _sent(pod)[-1]


async def test_it_is_left_out_once_and_a_second_failure_is_final(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("first", runners=9)) as pod:
        pk = await pod.transcription()
        daemon = await pod.daemon()
        await daemon.settle()
        await _end(pod, pk, RunnerStatus.FAILED, _WORDS)
        await daemon.settle()
        assert await _end(pod, pk, RunnerStatus.FAILED, _WORDS) is Decision.FAIL


async def test_a_later_success_with_it_makes_the_manager_forgotten(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("first", runners=9)) as pod:
        first, second = await pod.transcription(), await pod.transcription()
        daemon = await pod.daemon()
        await daemon.settle()
        await _end(pod, first, RunnerStatus.FAILED, _WORDS)
        await _end(pod, second, RunnerStatus.COMPLETED)
        assert await pod.connection.fetchval("SELECT count(*) FROM poddispatchd.refused_parameter") == 0
        await _settle(daemon)
        assert _sent(pod) == [True, True, True]


async def test_a_run_of_pods_own_submission_that_failed_over_it_is_submitted_again(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("first", runners=9)) as pod:
        pk = await pod.transcription()
        await pod.start(pk, "first", "an-id-of-pod")
        row = await pod.row(pk)
        report = RunReport(RunnerStatus.FAILED, _WORDS, origin=ReportOrigin.CALLBACK)
        async with (await pod.daemon()).parts.database.transaction() as connection:
            assert await apply_report(connection, task_of(row), report, retries=_ONCE) is Decision.RETRY
        await (await pod.successor()).settle()
        assert _sent(pod) == [False]


@pytest.mark.parametrize(
    ("error", "names"),
    [
        (_WORDS, {"source_language"}),
        ("… (invalid fields: source_language, other)", set()),
        ("Transcription failed", set()),
        (None, set()),
    ],
)
def test_what_can_be_left_out_is_told_by_the_runners_words(error: str | None, names: set[str]) -> None:
    assert refused_parameters(error, TaskType.TRANSCRIPTION) == names
    assert refused_parameters(error, TaskType.ENCODING) == set()
