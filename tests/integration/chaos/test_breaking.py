"""What the fault campaign breaks is really broken, and known to be."""

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from textwrap import dedent
from typing import TypeVar

import aiohttp
import pytest
from aiohttp import web

from chaos.disk import SmallDisk
from chaos.history import History
from chaos.manager_process import NotedFaults
from chaos.pod import Pod
from chaos.proxy import Proxy
from chaos.relay import Relay, poisoned
from chaos.timeline import Kind, Timeline
from poddispatchd.domain.secret import SecretStr
from poddispatchd.sandbox.fake_runner_manager import (
    AnswerFault,
    Endpoint,
    FakeRunnerManager,
    FaultKind,
    Runner,
)
from poddispatchd.sandbox.pod.seed import ManagerSpec, seed_world
from tests.plugins.postgres import PodDatabase

_ROOT = Path(__file__).parents[3]


def _count(timeline: Timeline, kind: Kind) -> int:
    return len(timeline.of(kind))


_T = TypeVar("_T")


class _Always(Random):
    """Draws one thing only."""

    def __init__(self, wanted: str) -> None:
        super().__init__(1)
        self._wanted = wanted

    def choices(self, population: Sequence[_T], *_: object, **__: object) -> list[_T]:  # type: ignore[override]  # a list is enough
        return [one for one in population if self._wanted in (one, getattr(one, "__name__", None))]


class _Webhook:
    """Stands for a daemon: keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.arrived = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        self.told.append((body["task_id"], body["status"]))
        self.arrived.set()
        return web.json_response({"status": "OK"})


async def _call(session: aiohttp.ClientSession, port: int, status: str) -> int:
    body = json.dumps({"task_id": "x", "status": status})
    async with session.post(f"http://127.0.0.1:{port}/runner/notify_task_end/", data=body) as answer:
        return answer.status


async def test_a_failure_is_held_back_until_the_success_after_it_has_arrived() -> None:
    webhook, timeline = _Webhook(), Timeline()
    application = web.Application()
    application.router.add_post("/runner/notify_task_end/", webhook.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    target = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with (
            Relay([target], timeline, _Always(Kind.CALLBACK_DELAYED)) as relay,
            aiohttp.ClientSession() as session,
        ):
            assert await _call(session, relay.port, "failed") == 200
            relay.calm_down()
            assert not webhook.told
            assert await _call(session, relay.port, "completed") == 200
            async with asyncio.timeout(5):
                while len(webhook.told) < 2:
                    webhook.arrived.clear()
                    await webhook.arrived.wait()
            assert webhook.told == [("x", "completed"), ("x", "failed")]
            async with asyncio.timeout(5):
                while not _count(timeline, Kind.CALLBACK_OVERTAKEN):  # noqa: ASYNC110 - the relay reads its answer
                    await asyncio.sleep(0.01)
            await relay.shut()
            assert await _call(session, relay.port, "completed") == 502
    finally:
        await runner.cleanup()


def test_a_poisoned_callback_is_another_body_for_the_same_manager() -> None:
    body = json.dumps({"task_id": "x", "status": "completed", "script_output": "fine"}).encode()
    made = {poisoned(body, Random(number)) for number in range(60)}
    assert body not in made
    assert any(b"\\u0000" in one for one in made)
    assert any(b"\\ud800" in one for one in made)
    assert any(one.startswith(b"[[") for one in made)
    assert body[:-1] in made


async def test_a_link_knows_whether_a_fault_met_anybody() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Proxy(server.sockets[0].getsockname()[1]) as proxy:
        proxy.stall()
        proxy.heal()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"whole")
        assert await reader.readexactly(5) == b"whole"
        assert proxy.hurt == 0
        proxy.cut()
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)
        assert proxy.hurt == 1
        writer.close()


def test_a_manager_writes_down_the_faults_that_were_met_and_no_others(tmp_path: Path) -> None:
    history = History(tmp_path / "history", "one")
    faults = NotedFaults(history)
    faults.inject(Endpoint.FILE, AnswerFault(kind=FaultKind.CUT, match=".ts"), times=1)
    faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.STATUS, status=429), times=1)
    assert faults.take(Endpoint.FILE, "/task/result/1/file/a.mp4") is None
    assert faults.take(Endpoint.FILE, "/task/result/1/file/a.ts") is not None
    assert faults.take(Endpoint.EXECUTE, "/task/execute") is not None
    assert faults.take(Endpoint.EXECUTE, "/task/execute") is None
    faults.slowness = 3.0
    slow = faults.take(Endpoint.STATUS, "/task/status/1")
    assert slow is not None
    assert slow.kind is FaultKind.SLOW
    faults.is_mute = True
    silent = faults.take(Endpoint.STATUS, "/task/status/1")
    assert silent is not None
    assert silent.kind is FaultKind.LOSE_ANSWER
    assert [
        (line["endpoint"], line["kind"], line["status"], line["manager"]) for line in history.others()
    ] == [
        ("file", "cut", None, "one"),
        ("execute", "status", 429, "one"),
        ("slow", "slow", None, "one"),
        ("mute", "lose-answer", None, "one"),
    ]


def test_a_full_disk_takes_not_a_byte(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path / "media", 2**20)
    try:
        assert not disk.is_full()
        if disk.is_real:  # else only the daemons' settings can pretend it
            disk.fill()
            assert disk.is_full()
            disk.empty()
            assert not disk.is_full()
    finally:
        disk.close()


async def test_a_frozen_disk_holds_writers_up_and_lets_them_go_on(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path / "media", 8 * 2**20)
    try:
        if not disk.can_freeze:
            assert Kind.MEDIA_HUNG in disk.impossible
            return
        freezing = asyncio.create_task(disk.freeze(1.0))
        writer, written = disk.directory / "written", 0
        while not freezing.done():
            assert await asyncio.to_thread(writer.write_bytes, b"x") == 1
            written += 1
        assert await freezing
        began = asyncio.get_running_loop().time()
        writer.write_bytes(b"x")
        assert asyncio.get_running_loop().time() - began < 0.5
        assert disk.impossible == (Kind.MEDIA_STOPPED,)
    finally:
        disk.close()


async def test_a_served_tree_stands_still_with_its_server_and_goes_on(tmp_path: Path) -> None:
    try:
        disk = SmallDisk(tmp_path / "media", 8 * 2**20, wants_server=True)
    except RuntimeError as missing:
        assert "bindfs" in str(missing)  # noqa: PT017 - where there is none, it says so
        return
    try:
        if not disk.is_real:
            assert Kind.MEDIA_STOPPED in disk.impossible
            return
        written = disk.directory / "written"
        written.write_bytes(b"x")
        loop = asyncio.get_running_loop()
        began = loop.time()
        stopping = asyncio.create_task(disk.stop(1.0))
        await asyncio.sleep(0.1)
        assert await asyncio.to_thread(written.stat)
        assert loop.time() - began >= 1.0
        assert await stopping
        disk.fill()
        assert disk.is_full()
        disk.empty()
        assert [path.name for path in disk.directory.iterdir()] == ["written"]
    finally:
        disk.close()
    assert not (disk.directory / "written").exists()


def test_a_disk_that_gets_no_file_server_is_not_left_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def serve(below: Path, _directory: Path) -> None:
        assert below.is_mount()
        raise RuntimeError("no FUSE")

    monkeypatch.setattr("chaos.disk._serve", serve)
    with suppress(RuntimeError):  # where it is no real one, it wants no server
        SmallDisk(tmp_path / "media", 8 * 2**20, wants_server=True)
    assert not (tmp_path / "media.disk").is_mount()


async def test_a_disk_is_not_left_mounted_by_a_campaign_that_is_killed(tmp_path: Path) -> None:
    lines = f"""
        import pathlib, time
        from chaos.disk import SmallDisk
        print(SmallDisk(pathlib.Path({str(tmp_path / "media")!r}), {8 * 2**20}).is_real, flush=True)
        time.sleep(600)
    """
    campaign = await asyncio.create_subprocess_exec(
        sys.executable, "-c", dedent(lines), cwd=_ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert campaign.stdout is not None
    is_real = (await campaign.stdout.readline()).strip() == b"True"
    assert (tmp_path / "media").is_mount() == is_real
    campaign.kill()
    await campaign.wait()
    async with asyncio.timeout(20):
        while (tmp_path / "media").is_mount():  # noqa: ASYNC110 - nobody tells when it is unmounted
            await asyncio.sleep(0.01)


def test_a_hidden_directory_is_empty_and_whole_again_afterwards(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path / "media", 8 * 2**20)
    try:
        (disk.directory / "videos").mkdir()
        (disk.directory / "videos" / "a.mp4").write_bytes(b"film")
        if not disk.is_real:
            assert Kind.MEDIA_EMPTY in disk.impossible
            return
        assert disk.hide("videos")
        assert list((disk.directory / "videos").iterdir()) == []
        (disk.directory / "videos" / "lost.mp4").write_bytes(b"film")
        assert disk.show("videos") == ["lost.mp4"]
        assert [path.name for path in (disk.directory / "videos").iterdir()] == ["a.mp4"]
    finally:
        disk.close()


@pytest.mark.parametrize(
    ("way", "kind", "rows"),
    [
        ("_two_rows", Kind.TWIN_ROWS, [("pending", False)] * 2),
        ("_submitted", Kind.POD_SUBMITS, [("running", True)]),
        ("_two_rows_one_id", Kind.TWIN_IDS, [("running", True)] * 2),
        ("_nowhere", Kind.POD_NOWHERE, [("running", False)]),
    ],
)
async def test_pod_stores_rows_in_every_way(
    pod_database: PodDatabase, media_root: Path, way: str, kind: Kind, rows: list[tuple[str, bool]]
) -> None:
    timeline = Timeline()
    notify = {"pod.example.org:80": "127.0.0.1:9"}
    async with (
        FakeRunnerManager(runners=[Runner()], connect_to=notify) as fake,
        pod_database.connection() as connection,
    ):
        world = await seed_world(
            connection,
            media_root,
            variant=pod_database.variant,
            site_domain="pod.example.org",
            managers=[ManagerSpec("one", fake.url, SecretStr(fake.token))],
        )
        pod = await Pod.at(pod_database.dsn, world, timeline, _Always(way))
        await pod.add_tasks(connection, 1)
        found = await connection.fetch("SELECT id, status, task_id FROM runner_manager_task ORDER BY id")
        assert [(row["status"], row["task_id"] is not None) for row in found] == rows
        assert [row["id"] for row in found] == pod.tasks
        assert len({row["task_id"] for row in found}) == 1
        assert {row["task_id"] for row in found} - {None} == fake.tasks.keys()
        assert _count(timeline, kind) == 1
