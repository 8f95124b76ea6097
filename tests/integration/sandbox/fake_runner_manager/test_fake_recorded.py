"""The fake answers as real managers did: recorded requests are sent again, byte for byte where it matters."""

import asyncio
import gzip
import http.client
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import pytest

from poddispatchd.domain.task import RunnerTaskId
from poddispatchd.sandbox.fake_runner_manager import Behaviour, FakeRunnerManager
from tests.integration.sandbox.fake_runner_manager.support import Client, running
from tests.shared import SHARED

_TOKEN = "LAB-TOKEN-POD"
_CONNECT_TO = {"pod.test:8090": "127.0.0.1:9"}
_IDLE = re.compile(
    r"root$|root-no-token|health-|api-(version|runners-idle|tasks-empty)|task-list-empty|version-x-api|"
    r"execute-(422|wrong-token|missing-token|empty|basic|token-in-lower|no-content-type|text-plain|get-405|"
    r"trailing-slash|url-|unknown-task_type|empty-task_type|success)|runners-missing-token|"
    r"(status|result|result-file|stop)-(unknown|odd|wrong|missing)|unknown-route"
)
_HEADERS = (
    "content-range",
    "accept-ranges",
    "content-disposition",
    "transfer-encoding",
    "allow",
    "x-task-id",
)
_SAMPLE_NAMES = {"720p_full-hd.mp4", "info_video.json"}
_NAMES = (
    "with space.txt",
    "été accentué.txt",
    "sub dir/deep/x.txt",
    "sub.txt",
    "a+b.txt",
    "a#b.txt",
    "a%20b.txt",
    "a?b.txt",
    'quote"q.txt',
    "comma,semi;.txt",
    "été,1.vtt",
    "big.bin",
    "360p_video_ete_(2)_avec_espaces.mp4",
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One recorded request and what a real manager answered."""

    name: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: object
    status: int
    answer_headers: Mapping[str, str]
    answer: object


def _recorded() -> list[Exchange]:
    if SHARED is None:
        return []
    path = SHARED / "contract" / "traces" / "esup-runner-exchanges.jsonl.gz"
    if not path.is_file():
        return []
    exchanges: list[Exchange] = []
    with gzip.open(path, "rt") as lines:
        for line in lines:
            entry = json.loads(line)
            request, response = entry.get("request") or {}, entry.get("response") or {}
            if "status" not in response or "path" not in request:
                continue
            exchanges.append(
                Exchange(
                    entry["name"],
                    request["method"],
                    request["path"],
                    request["headers"],
                    request["body"],
                    response["status"],
                    dict(response["headers"]),
                    response.get("body"),
                )
            )
    return exchanges


_ALL = _recorded()


def _named(pattern: str) -> list[object]:
    found = [exchange for exchange in _ALL if re.match(pattern, exchange.name)]
    return [pytest.param(exchange, id=exchange.name) for exchange in found]


def _send(port: int, exchange: Exchange, path: str) -> tuple[int, dict[str, str], bytes]:
    """The request as it was recorded: no client may tidy its path or its headers."""
    body = exchange.body
    sent = b"" if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.putrequest(exchange.method, path, skip_accept_encoding=True)
        for name, value in exchange.headers.items():
            if name.lower() not in ("host", "content-length", "accept-encoding", "connection"):
                connection.putheader(name, value)
        if sent:
            connection.putheader("Content-Length", str(len(sent)))
        connection.endheaders(sent)
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, answer.read()
    finally:
        connection.close()


def _shape(value: object) -> object:
    """What of a JSON answer must be equal: keys, and the words of errors; not ids, dates and echoed input."""
    if isinstance(value, list):
        return [_shape(entry) for entry in value[:1]]
    if not isinstance(value, dict):
        return type(value).__name__
    words = ("detail", "error", "status", "msg", "loc", "health_check", "message")
    return {
        key: entry if key in words and isinstance(entry, str) else _shape(entry)
        for key, entry in value.items()
        if key != "input"
    }


def _assert_like(exchange: Exchange, status: int, body: bytes) -> None:
    assert status == exchange.status
    if isinstance(exchange.answer, dict):
        assert _shape(json.loads(body)) == _shape(exchange.answer)


@pytest.mark.parametrize("exchange", _named(_IDLE.pattern))
async def test_an_idle_manager_answers_as_recorded(exchange: Exchange) -> None:
    manager = FakeRunnerManager(token=_TOKEN, connect_to=_CONNECT_TO)
    async with manager:
        status, headers, body = await asyncio.to_thread(_send, manager.port, exchange, exchange.path)
        _assert_like(exchange, status, body)
        for name in ("www-authenticate", "allow", "content-type"):
            assert headers.get(name) == exchange.answer_headers.get(name) or status == 307


@pytest.mark.parametrize("exchange", _named(r"rootpath-(GET|execute)"))
async def test_a_manager_with_a_path_prefix_answers_as_recorded(exchange: Exchange) -> None:
    manager = FakeRunnerManager(token=_TOKEN, prefix="/manager", connect_to=_CONNECT_TO)
    async with manager:
        status, _, body = await asyncio.to_thread(_send, manager.port, exchange, exchange.path)
        _assert_like(exchange, status, body)


@pytest.mark.parametrize("exchange", _named(r"v1\.7\.1-(root|health|api-health|version|runners)$"))
async def test_an_older_manager_answers_as_recorded(exchange: Exchange) -> None:
    manager = FakeRunnerManager(token=_TOKEN, health="manager")
    async with manager:
        status, _, body = await asyncio.to_thread(_send, manager.port, exchange, exchange.path)
        _assert_like(exchange, status, body)


@pytest.mark.parametrize(
    "exchange", _named(r"file-(proxy|shared)-(?!manifest$|big|head|no-token|wrong).*|file-\w+-head")
)
async def test_files_are_served_as_recorded(exchange: Exchange) -> None:
    mode = "shared" if exchange.name.startswith("file-shared") else "proxy"
    manager = FakeRunnerManager(token=_TOKEN, mode=mode, connect_to=_CONNECT_TO)
    async with running(manager) as client:
        extra: dict[str, bytes | None] = {name: f"content of {name}".encode() for name in _NAMES}
        extra["720p_full-hd.mp4"] = bytes(1_577_580)
        client.headers = {"Authorization": f"Bearer {_TOKEN}"}
        task_id = await client.accepted(source_url="http://pod.test/full-hd.mp4", notify_url="")
        await manager.finish(task_id, behaviour=Behaviour(files=extra))
        failed = exchange.name.endswith("failed-task-file")
        if failed:
            await manager.finish(task_id, "failed")
        path = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", task_id, exchange.path)
        status, headers, body = await asyncio.to_thread(_send, manager.port, exchange, path)
        _assert_like(exchange, status, body)
        recorded = dict(exchange.answer_headers)
        if "x-task-id" in recorded:
            recorded["x-task-id"] = task_id
        assert {name: headers.get(name) for name in _HEADERS} == {
            name: recorded.get(name) for name in _HEADERS
        }
        assert ("content-length" in headers) == ("content-length" in recorded)
        assert ("etag" in headers) == ("etag" in recorded)
        if isinstance(exchange.answer, str) and exchange.answer.startswith("content of "):
            assert body.decode() == exchange.answer


async def _ends(client: Client, task_id: str, name: str) -> None:
    """Bring a task into the state that was recorded under this name."""
    manager = client.manager
    match name:
        case "status-running":
            pass
        case "status-timeout":
            await manager.finish(task_id, "timeout")
        case "status-failed-fail-not-media":
            await manager.finish(task_id, "failed")
        case "status-after-stop":
            await client.ask("POST", f"/task/stop/{task_id}")
            await manager.wait_for(manager.tasks[RunnerTaskId(task_id)].finished.is_set)
        case _:
            await manager.finish(task_id)


_RECORDS = (
    "status-running",
    "status-completed",
    "status-notify-connection-refused",
    "status-timeout",
    "status-failed-fail-not-media",
    "status-after-stop",
)


@pytest.mark.parametrize("exchange", _named(f"({'|'.join(_RECORDS)})$"))
async def test_a_record_has_the_recorded_fields_and_words(exchange: Exchange) -> None:
    recorded = cast("dict[str, object]", exchange.answer)
    manager = FakeRunnerManager(token=_TOKEN)
    async with running(manager) as client:
        client.headers = {"Authorization": f"Bearer {_TOKEN}"}
        refused = exchange.name == "status-notify-connection-refused"
        notify_url = recorded["notify_url"] if refused else ""
        task_id = await client.accepted(notify_url=notify_url)
        await _ends(client, task_id, exchange.name)
        shown = await client.status(task_id)
        assert list(shown) == list(recorded)
        assert shown["status"] == recorded["status"]
        assert _without_numbers(shown["error"]) == _without_numbers(recorded["error"])
        for name in ("created_at", "updated_at", "run_id", "task_id"):
            assert len(str(shown[name])) == len(str(recorded[name]))


def _without_numbers(text: object) -> str:
    """Limits are configured: the seconds of a timeout may differ."""
    return re.sub(r"after \d+", "after N", str(text))
