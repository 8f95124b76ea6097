"""The client against the sandbox's runner manager, which is held to recordings of the real one."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from poddispatchd.clock import Clock
from poddispatchd.domain.manifest import wanted
from poddispatchd.domain.task import RunnerStatus, RunnerTaskId, TaskType
from poddispatchd.errors import (
    AnswerLostError,
    PayloadRefusedError,
    ResultGoneError,
    ResultNotReadyError,
    RunnerManagerBusyError,
    RunnerManagerFullError,
    RunnerManagerMisconfiguredError,
    RunnerManagerUnavailableError,
    RunnerTaskUnknownError,
    UnusableAnswerError,
)
from poddispatchd.pod.media.staging import StagingStorage
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.download_limits import DownloadLimits
from poddispatchd.runner.file_download import RemoteResult
from poddispatchd.runner.records import StopOutcome
from poddispatchd.runner.result_download import DownloadedFile, ResultDownloader
from poddispatchd.sandbox.fake_runner_manager import (
    AnswerFault,
    Behaviour,
    FakeRunnerManager,
    FaultKind,
    Mode,
    Runner,
)
from tests.unit.runner.managers import TOKEN, manager

SOURCE = "http://pod.example.org/media/videos/0001-x.mp4"


def payload(**changes: object) -> bytes:
    body: dict[str, object] = {
        "etab_name": "University name / Pod",
        "app_name": "Esup-Pod",
        "app_version": "4.3.0",
        "task_type": "encoding",
        "source_url": SOURCE,
        "notify_url": "",
        "parameters": {},
    }
    return json.dumps({**body, **changes}).encode()


@pytest.fixture
async def fake() -> AsyncIterator[FakeRunnerManager]:
    async with FakeRunnerManager(token=TOKEN) as running:
        yield running


async def fetch(
    client: RunnerClient, fake: FakeRunnerManager, task_id: RunnerTaskId, into: Path
) -> tuple[DownloadedFile, ...]:
    asked = manager(fake.url)
    manifest = await client.manifest(asked, task_id)
    return await ResultDownloader(client, Clock(), lambda _: None).download(
        RemoteResult(asked, task_id),
        wanted(manifest, TaskType.ENCODING),
        StagingStorage(MediaTree(into.parent).path(into.name)),
        limits=DownloadLimits(max_size=2**30, keep_free=0, backoff_base=0.0, backoff_cap=0.0),
        mode=0o644,
    )


async def finished(client: RunnerClient, fake: FakeRunnerManager, status: str = "completed") -> RunnerTaskId:
    taken = await client.execute(manager(fake.url), payload())
    await fake.finish(taken.task_id, status)
    return taken.task_id


async def test_a_task_from_submission_to_its_end(client: RunnerClient, fake: FakeRunnerManager) -> None:
    asked = manager(fake.url)

    taken = await client.execute(asked, payload(parameters={"video_id": "1"}))
    running = await client.status(asked, taken.task_id)
    with pytest.raises(ResultNotReadyError, match="running"):
        await client.manifest(asked, taken.task_id)
    await fake.finish(taken.task_id)
    ended = await client.status(asked, taken.task_id)

    assert taken.status == "running"
    assert (running.status, ended.status) == (RunnerStatus.RUNNING, RunnerStatus.COMPLETED)
    assert (ended.task_type, ended.source_url) == ("encoding", SOURCE)
    assert ended.parameters == {"video_id": "1"}


async def test_the_same_bytes_posted_again_recover_a_lost_id(
    client: RunnerClient, fake: FakeRunnerManager
) -> None:
    fake.faults.inject("execute", AnswerFault(kind=FaultKind.DROP_ANSWER))

    with pytest.raises(AnswerLostError):
        await client.execute(manager(fake.url), payload())
    taken = await client.execute(manager(fake.url), payload())

    assert list(fake.tasks) == [taken.task_id]


async def test_a_manager_whose_runners_are_busy_is_full(
    client: RunnerClient, fake: FakeRunnerManager
) -> None:
    for number in range(len(fake.runners)):
        await client.execute(manager(fake.url), payload(source_url=f"http://pod.example.org/{number}.mp4"))

    with pytest.raises(RunnerManagerFullError, match="No runners available"):
        await client.execute(manager(fake.url), payload())


async def test_a_wrong_token_is_a_misconfiguration_everywhere(
    client: RunnerClient, fake: FakeRunnerManager
) -> None:
    asked = manager(fake.url, token="wrong")

    for question in (
        client.execute(asked, payload()),
        client.status(asked, RunnerTaskId("x")),
        client.manifest(asked, RunnerTaskId("x")),
        client.stop(asked, RunnerTaskId("x")),
        client.health(asked),
        client.runners(asked),
    ):
        with pytest.raises(RunnerManagerMisconfiguredError, match="token"):
            await question


async def test_a_wrong_path_is_a_misconfiguration_and_no_unknown_task(
    client: RunnerClient, fake: FakeRunnerManager
) -> None:
    with pytest.raises(RunnerManagerMisconfiguredError):
        await client.status(manager(f"{fake.url}/elsewhere"), RunnerTaskId("x"))
    with pytest.raises(RunnerTaskUnknownError):
        await client.status(manager(fake.url), RunnerTaskId("x"))


async def test_a_private_source_address_is_refused_in_words(
    client: RunnerClient, fake: FakeRunnerManager
) -> None:
    with pytest.raises(PayloadRefusedError, match="source_url"):
        await client.execute(manager(fake.url), payload(source_url="http://10.0.0.5/a.mp4"))


async def test_a_limited_rate_is_no_fault(client: RunnerClient) -> None:
    async with FakeRunnerManager(token=TOKEN, rate_limit=1) as fake:
        await client.runners(manager(fake.url))
        with pytest.raises(RunnerManagerBusyError):
            await client.runners(manager(fake.url))


@pytest.mark.parametrize(
    ("health", "prefix", "path"),
    [("api", "", "api/health"), ("manager", "", "manager/health"), ("api", "/manager", "api/health")],
)
async def test_the_health_of_every_generation_is_found(
    client: RunnerClient, health: str, prefix: str, path: str
) -> None:
    async with FakeRunnerManager(token=TOKEN, health=health, prefix=prefix, runners=[Runner()]) as fake:
        found = await client.health(manager(fake.url))

    assert (found.healthy, found.path, found.runners, found.tasks) == (True, path, 1, 0)


async def test_runners_are_listed(client: RunnerClient, fake: FakeRunnerManager) -> None:
    listed = await client.runners(manager(fake.url))

    assert [runner.online for runner in listed] == [True, True]


async def test_a_running_task_can_be_stopped_once(client: RunnerClient, fake: FakeRunnerManager) -> None:
    asked = manager(fake.url)
    taken = await client.execute(asked, payload())

    assert await client.stop(asked, taken.task_id) is StopOutcome.REQUESTED
    await fake.wait_for(lambda: fake.tasks[taken.task_id].status != "running")
    assert await client.stop(asked, taken.task_id) is StopOutcome.NOT_RUNNING
    assert await client.stop(asked, RunnerTaskId("x")) is StopOutcome.UNKNOWN


async def test_a_task_that_fetches_its_source_cannot_be_stopped_yet(
    client: RunnerClient, fake: FakeRunnerManager
) -> None:
    fake.faults.behaviours.append(Behaviour(unstoppable=True))
    taken = await client.execute(manager(fake.url), payload())

    assert await client.stop(manager(fake.url), taken.task_id) is StopOutcome.NOT_YET


async def test_an_old_manager_cannot_stop(client: RunnerClient) -> None:
    async with FakeRunnerManager(token=TOKEN, can_stop=False) as fake:
        taken = await client.execute(manager(fake.url), payload())

        assert await client.stop(manager(fake.url), taken.task_id) is StopOutcome.UNSUPPORTED


@pytest.mark.parametrize("mode", list(Mode))
async def test_a_whole_result_is_fetched_byte_for_byte(
    client: RunnerClient, tmp_path: Path, mode: Mode
) -> None:
    async with FakeRunnerManager(token=TOKEN, mode=mode) as fake:
        task_id = await finished(client, fake)
        files = await fetch(client, fake, task_id, tmp_path / "result")
        held = fake.tasks[task_id].files

    assert held
    assert {file.path: (tmp_path / "result" / file.path).read_bytes() for file in files} == held
    assert "info_video.json" in held


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize(
    "fault",
    [
        AnswerFault(kind=FaultKind.DROP),
        AnswerFault(kind=FaultKind.CUT, length=500, match=".ts"),
        AnswerFault(kind=FaultKind.STATUS, status=502),
        AnswerFault(kind=FaultKind.WRONG_LENGTH, length=10),
    ],
)
async def test_a_broken_transfer_ends_in_the_right_bytes(
    client: RunnerClient, tmp_path: Path, mode: Mode, fault: AnswerFault
) -> None:
    async with FakeRunnerManager(token=TOKEN, mode=mode) as fake:
        fake.faults.inject("file", fault, times=2)
        task_id = await finished(client, fake)
        files = await fetch(client, fake, task_id, tmp_path / "result")
        held = fake.tasks[task_id].files

    assert {file.path: (tmp_path / "result" / file.path).read_bytes() for file in files} == held


async def test_a_page_in_place_of_the_manifest_is_unusable(
    client: RunnerClient, fake: FakeRunnerManager
) -> None:
    task_id = await finished(client, fake)
    fake.faults.inject("result", AnswerFault(kind=FaultKind.HTML))

    with pytest.raises(UnusableAnswerError, match="web page"):
        await client.manifest(manager(fake.url), task_id)


async def test_a_purged_result_is_gone(client: RunnerClient, fake: FakeRunnerManager, tmp_path: Path) -> None:
    task_id = await finished(client, fake)
    fake.purge_result(task_id)

    with pytest.raises(ResultGoneError):
        await fetch(client, fake, task_id, tmp_path / "result")


@pytest.mark.parametrize("status", ["failed", "timeout"])
async def test_a_task_that_did_not_succeed_has_no_result(
    client: RunnerClient, fake: FakeRunnerManager, status: str
) -> None:
    task_id = await finished(client, fake, status)

    with pytest.raises(ResultNotReadyError):
        await client.manifest(manager(fake.url), task_id)


async def test_a_manager_that_is_down_is_unavailable(client: RunnerClient) -> None:
    async with FakeRunnerManager(token=TOKEN) as fake:
        asked = manager(fake.url)
    with pytest.raises(RunnerManagerUnavailableError):
        await client.status(asked, RunnerTaskId("x"))
