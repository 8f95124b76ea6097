"""Answers that go wrong on demand, as a client sees them."""

import asyncio
import socket
import sys
from pathlib import Path

import aiohttp
import pytest

from poddispatchd.sandbox.fake_runner_manager import AnswerFault, Behaviour, FakeRunnerManager, FaultKind
from tests.integration.sandbox.fake_runner_manager.support import TOKEN, Client, running

_LOST = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)


async def _completed(client: Client) -> str:
    task_id = await client.accepted(notify_url="")
    await client.manager.finish(task_id, behaviour=Behaviour())
    return task_id


async def test_a_lost_answer_leaves_an_accepted_task_that_the_same_payload_finds_again() -> None:
    manager = FakeRunnerManager(token=TOKEN, time_scale=0.001)
    manager.faults.inject("execute", AnswerFault(kind=FaultKind.LOSE_ANSWER, seconds=1))
    async with running(manager) as client:
        with pytest.raises(_LOST):
            await client.execute()
        assert await client.accepted() == next(iter(manager.tasks))
        assert len(manager.tasks) == 1


async def test_a_dropped_or_hanging_submission_did_nothing() -> None:
    manager = FakeRunnerManager(token=TOKEN)
    manager.faults.inject("execute", AnswerFault(kind=FaultKind.DROP))
    manager.faults.inject("execute", AnswerFault(kind=FaultKind.HANG))
    async with running(manager) as client:
        with pytest.raises(_LOST):
            await client.execute()
        hanging = asyncio.create_task(client.execute())
        await manager.wait_for(lambda: len(manager.requests) == 2)
        hanging.cancel()
        assert manager.tasks == {}
        assert [request.path for request in manager.requests] == ["/task/execute"] * 2


@pytest.mark.parametrize("mode", ["proxy", "shared"])
@pytest.mark.parametrize("kind", [FaultKind.CUT, FaultKind.WRONG_LENGTH])
async def test_a_broken_transfer_is_noticed_by_any_client(mode: str, kind: FaultKind) -> None:
    manager = FakeRunnerManager(token=TOKEN, mode=mode)
    async with running(manager) as client:
        task_id = await _completed(client)
        path = f"/task/result/{task_id}/file/360p_0001-x.ts"
        manager.faults.inject("file", AnswerFault(kind=kind))
        with pytest.raises(_LOST):
            await client.get(path)
        assert (await client.get(path)).status == 200, "the fault was for one request"


async def test_a_body_that_nothing_ends_looks_whole_to_any_client() -> None:
    manager = FakeRunnerManager(token=TOKEN)
    async with running(manager) as client:
        path = f"/task/result/{await _completed(client)}/file/360p_0001-x.mp4"
        right = (await client.get(path)).body
        manager.faults.inject("file", AnswerFault(kind=FaultKind.UNENDED, length=1000))
        cut = await client.get(path)
        assert (cut.status, cut.body) == (200, right[:1000])
        assert not cut.headers.keys() & {"content-length", "transfer-encoding"}


async def test_a_page_a_short_file_and_other_bytes_look_like_success() -> None:
    manager = FakeRunnerManager(token=TOKEN)
    async with running(manager) as client:
        path = f"/task/result/{await _completed(client)}/file/360p_0001-x.ts"
        right = (await client.get(path)).body
        manager.faults.inject("file", AnswerFault(kind=FaultKind.HTML))
        page = await client.get(path)
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        manager.faults.inject("file", AnswerFault(kind=FaultKind.SHORT, length=10))
        assert (await client.get(path)).body == right[:10]
        manager.faults.inject("file", AnswerFault(kind=FaultKind.CORRUPT))
        wrong = (await client.get(path)).body
        assert wrong != right
        assert len(wrong) == len(right)


async def test_a_status_is_refused_in_the_words_of_the_manager_until_cleared() -> None:
    manager = FakeRunnerManager(token=TOKEN)
    async with running(manager) as client:
        manager.faults.inject("execute", AnswerFault(kind=FaultKind.STATUS, status=500), times=None)
        for _ in range(3):
            reply = await client.execute()
            assert (reply.status, reply.body, reply.json) == (500, b"Internal Server Error", None)
        manager.faults.clear("execute")
        manager.faults.inject("execute", AnswerFault(kind=FaultKind.STATUS, status=503))
        assert (await client.execute()).detail == "No runners available"
        assert (await client.execute()).status == 200


async def test_a_fault_can_be_for_one_file_only() -> None:
    manager = FakeRunnerManager(token=TOKEN)
    async with running(manager) as client:
        task_id = await _completed(client)
        fault = AnswerFault(kind=FaultKind.STATUS, status=404, match="overview.vtt")
        manager.faults.inject("file", fault, times=None)
        assert (await client.get(f"/task/result/{task_id}/file/overview.png")).status == 200
        assert (await client.get(f"/task/result/{task_id}/file/overview.vtt")).status == 404


async def test_an_idle_connection_is_closed() -> None:
    manager = FakeRunnerManager(token=TOKEN, keep_alive=0.05)
    async with manager:
        reader, writer = await asyncio.open_connection("127.0.0.1", manager.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: manager.test\r\n\r\n")
        assert await reader.readuntil(b"\r\n") == b"HTTP/1.1 200 OK\r\n"
        await asyncio.wait_for(reader.read(), timeout=10)
        assert reader.at_eof()
        writer.close()


async def test_a_stopped_manager_refuses_connections_and_comes_back_on_its_port() -> None:
    manager = FakeRunnerManager(token=TOKEN)
    async with running(manager) as client:
        task_id = await client.accepted()
        await manager.stop()
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.status(task_id)
        await manager.start()
        assert (await client.status(task_id))["status"] == "running"


async def test_the_command_serves_until_it_is_told_to_stop() -> None:
    command = [sys.executable, "-m", "poddispatchd.sandbox.fake_runner_manager", "--port", "0"]
    options = ["--runner", "1xencoding", "--health", "manager", "--fault", "root=status:500*1"]
    process = await asyncio.create_subprocess_exec(
        *command, *options, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[4]
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), timeout=30)).decode()
        url = line.removeprefix("Listening on ").strip()
        async with aiohttp.ClientSession() as session:
            statuses = []
            for _ in range(2):
                async with session.get(f"{url}/") as answer:
                    statuses.append(answer.status)
        assert statuses == [500, 200]
    finally:
        process.terminate()
        assert await process.wait() == 0


async def test_a_taken_port_is_an_error_and_leaves_nothing_behind() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="address already in use"):
            await FakeRunnerManager(port=taken.getsockname()[1]).start()
