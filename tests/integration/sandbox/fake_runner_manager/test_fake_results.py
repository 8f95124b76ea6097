"""The result endpoints in both modes, and what the results hold."""

import json
import re

import pytest

from poddispatchd.sandbox.fake_runner_manager import Behaviour, Crash, FakeRunnerManager, Runner
from tests.integration.sandbox.fake_runner_manager.support import TOKEN, Client, running


async def _completed(client: Client, behaviour: Behaviour | None = None, **changes: object) -> str:
    task_id = await client.accepted(notify_url="", **changes)
    await client.manager.finish(task_id, behaviour=behaviour or Behaviour())
    return task_id


async def test_there_is_no_result_before_the_end_after_a_failure_or_after_a_timeout() -> None:
    async with running(FakeRunnerManager(token=TOKEN)) as client:
        task_id = await client.accepted(notify_url="")
        for path in (f"/task/result/{task_id}", f"/task/result/{task_id}/file/info_video.json"):
            reply = await client.get(path)
            assert (reply.status, reply.detail) == (425, "Task not completed. Status: running")
        await client.manager.finish(task_id, "failed", error="No.")
        reply = await client.get(f"/task/result/{task_id}")
        assert (reply.status, reply.detail) == (400, "Task failed: No.")
        await client.manager.finish(task_id, "timeout")
        reply = await client.get(f"/task/result/{task_id}")
        assert (reply.status, reply.detail) == (425, "Task not completed. Status: timeout")


async def test_the_manager_as_a_proxy_sends_chunks_without_a_length_and_ignores_ranges() -> None:
    async with running(FakeRunnerManager(token=TOKEN)) as client:
        task_id = await _completed(client)
        whole = await client.get(f"/task/result/{task_id}/file/360p_0001-x.ts")
        part = await client.get(f"/task/result/{task_id}/file/360p_0001-x.ts", Range="bytes=0-9")
        for reply in (whole, part, await client.get(f"/task/result/{task_id}")):
            assert reply.status == 200
            assert reply.headers["transfer-encoding"] == "chunked"
            assert "content-length" not in reply.headers
            assert reply.headers["x-task-id"] == task_id
        assert part.body == whole.body


async def test_shared_storage_knows_lengths_and_ranges() -> None:
    async with running(FakeRunnerManager(token=TOKEN, mode="shared")) as client:
        task_id = await _completed(client)
        path = f"/task/result/{task_id}/file/360p_0001-x.ts"
        whole = await client.get(path)
        size = len(whole.body)
        assert int(whole.headers["content-length"]) == size
        assert whole.headers["accept-ranges"] == "bytes"
        for asked, expected, span in (
            ("bytes=10-19", whole.body[10:20], f"bytes 10-19/{size}"),
            (f"bytes={size - 5}-", whole.body[-5:], f"bytes {size - 5}-{size - 1}/{size}"),
            ("bytes=-7", whole.body[-7:], f"bytes {size - 7}-{size - 1}/{size}"),
        ):
            part = await client.get(path, Range=asked)
            assert (part.status, part.body) == (206, expected)
            assert part.headers["content-range"] == span
            assert part.headers["etag"] == whole.headers["etag"]
        beyond = await client.get(path, Range=f"bytes={size}-")
        assert (beyond.status, beyond.body) == (416, b"")
        assert beyond.headers["content-range"] == f"bytes */{size}"


async def test_a_name_with_parentheses_is_in_the_manifest_but_only_shared_storage_gives_it() -> None:
    source = "http://pod.test/media/vid%C3%A9o%20(2).mp4"
    for mode, expected in (("proxy", 404), ("shared", 200)):
        async with running(FakeRunnerManager(token=TOKEN, mode=mode)) as client:
            task_id = await _completed(client, source_url=source)
            names = (await client.get(f"/task/result/{task_id}")).fields["files"]
            assert isinstance(names, list)
            assert "360p_video_(2).mp4" in names
            reply = await client.get(f"/task/result/{task_id}/file/360p_video_%282%29.mp4")
            assert reply.status == expected


@pytest.mark.parametrize(
    ("task_type", "source"),
    [
        ("encoding", "http://pod.test/media/0001-x.mp4"),
        ("encoding", "http://pod.test/media/only.mp3"),
        ("studio", "http://pod.test/media/opencast-files/1.xml"),
        ("transcription", "http://pod.test/media/0001-x.mp4"),
    ],
)
async def test_a_result_is_whole_and_tells_what_was_submitted(task_type: str, source: str) -> None:
    async with running(FakeRunnerManager(token=TOKEN)) as client:
        task_id = await _completed(client, task_type=task_type, source_url=source)
        names = (await client.get(f"/task/result/{task_id}")).fields["files"]
        assert isinstance(names, list)
        files = {name: (await client.get(f"/task/result/{task_id}/file/{name}")).body for name in names}
        assert all(files.values())
        info = json.loads(files["info_video.json"])
        assert [info[key] for key in ("video_id", "video_slug", "video_title")] == ["1", "0001-x", "x"]
        assert json.loads(files["task_metadata.json"])["task_id"] == task_id
        listed = re.findall(r'"(?:\w+_)?filename": "([^"]+)"', files["info_video.json"].decode())
        assert set(listed) <= set(files)
        for name in (name for name in names if name.endswith(".m3u8")):
            playlist, stream = files[name].decode(), name.replace(".m3u8", ".ts")
            assert playlist.endswith("#EXT-X-ENDLIST\n")
            length, start = map(int, re.findall(r"BYTERANGE:(\d+)@(\d+)", playlist)[-1])
            assert f"\n{stream}\n" in playlist
            assert start + length == len(files[stream])


async def test_studio_has_the_film_that_pod_takes_as_the_source() -> None:
    async with running(FakeRunnerManager(token=TOKEN)) as client:
        task_id = await _completed(client, task_type="studio", source_url="http://pod.test/media/1.xml")
        record = client.manager.tasks[next(iter(client.manager.tasks))]
        assert record.task_id == task_id
        assert record.files is not None
        assert record.files["studio_base.mp4"][4:8] == b"ftyp"
        assert "720p_studio_base.m3u8" in record.files


async def test_a_crashed_runner_calls_a_partial_tree_completed() -> None:
    async with running(FakeRunnerManager(token=TOKEN)) as client:
        task_id = await _completed(client, Behaviour(crash=Crash.EARLY))
        names = (await client.get(f"/task/result/{task_id}")).fields["files"]
        assert set(names if isinstance(names, list) else []) == {
            "360p_0001-x.ts",
            "720p_0001-x.ts",
            "encoding.log",
            "info_video.json",
        }
        info = json.loads((await client.get(f"/task/result/{task_id}/file/info_video.json")).body)
        assert "encode_result" not in info


async def test_files_and_the_manifest_can_be_replaced() -> None:
    entries = [{"file_path": "info_video.json", "sha256": "0" * 64}]
    behaviour = Behaviour(files={"overview.vtt": None, "extra.txt": b"x"}, manifest=entries)
    async with running(FakeRunnerManager(token=TOKEN)) as client:
        task_id = await _completed(client, behaviour)
        assert (await client.get(f"/task/result/{task_id}")).fields["files"] == entries
        assert (await client.get(f"/task/result/{task_id}/file/overview.vtt")).status == 404
        assert (await client.get(f"/task/result/{task_id}/file/extra.txt")).body == b"x"


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("proxy", "Error fetching result from runner"),
        ("shared", "Result directory not found in shared storage"),
    ],
)
async def test_a_purged_result_is_a_404_while_the_task_is_still_completed(mode: str, words: str) -> None:
    async with running(FakeRunnerManager(token=TOKEN, mode=mode)) as client:
        task_id = await _completed(client)
        client.manager.purge_result(task_id)
        reply = await client.get(f"/task/result/{task_id}/file/info_video.json")
        assert (reply.status, reply.detail) == (404, words)
        assert (await client.status(task_id))["status"] == "completed"


async def test_a_proxy_needs_the_runner_alive_and_shared_storage_does_not() -> None:
    for mode, expected in (("proxy", 502), ("shared", 200)):
        runner = Runner()
        async with running(FakeRunnerManager(token=TOKEN, mode=mode, runners=[runner])) as client:
            task_id = await _completed(client)
            await client.manager.kill_runner(runner)
            assert (await client.get(f"/task/result/{task_id}")).status == expected
