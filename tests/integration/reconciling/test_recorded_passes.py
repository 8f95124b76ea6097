"""A full pass on recorded Pods: where Pod's own CRON run is right, the tasks end as they did there."""

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

import pytest
from aiohttp import web

from poddispatchd import once
from poddispatchd.config.model import Settings
from poddispatchd.sandbox.pod.schema import Variant
from poddispatchd.services import reconciler
from tests.plugins.shared_world import SharedWorldFactory, blob
from tests.shared import SHARED

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

BETTER: Mapping[str, Mapping[int, str]] = {
    # Failed without a word or output: the order never reached its runner, and goes out again.
    "old-encoding-failed": {9001: "running"},
    "old-transcription-failed": {9001: "running"},
    # A record is a record with any 2xx.
    "answer-202": {9001: "completed"},
    "old-transcription-timeout": {9001: "timeout"},
    "inactive-encoding-completed": {9001: "completed"},
    "inactive-studio-completed": {9001: "completed"},
    "young-transcription-completed": {9001: "completed"},
    "old-studio-completed": {9001: "completed"},
    "old-studio-warning": {9001: "completed"},
    "old-studio-pending": {9001: "running"},
}
"""What is right where the recorded Pod is not: every type and manager is asked, whatever the task's age."""


def cases() -> list[dict[str, Json]]:
    if SHARED is None:
        return []
    found = json.loads((SHARED / "vectors" / "reconcile.json").read_text())["cases"]
    return [case for case in found if not case.get("upstream_bug") or case["id"] in BETTER]


def as_mapping(value: Json) -> dict[str, Json]:
    assert isinstance(value, dict)
    return value


class RecordedManager:
    """Answers as the recording says; what is not recorded is 404, and submissions are accepted."""

    def __init__(self, runner: Mapping[str, Json]) -> None:
        self._runner = runner
        self._accepted = 0
        self.requests: list[tuple[str, str]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        _, prefix, *rest = request.path.split("/", 4)
        known = as_mapping(self._runner.get(prefix) or {})
        match rest:
            case ["task", "execute"]:
                self._accepted += 1
                return web.json_response({"task_id": f"{prefix}-{self._accepted}", "status": "running"})
            case ["task", "status", task_id]:
                return self._answer(request, as_mapping(known.get("status") or {}).get(task_id))
            case ["task", "result", path]:
                task_id, _, name = path.partition("/file/")
                result = as_mapping(as_mapping(known.get("results") or {}).get(task_id) or {})
                if not name:
                    return self._answer(request, result.get("manifest"))
                return self._answer(request, as_mapping(result.get("files") or {}).get(name))
        return web.json_response({"detail": "Not Found"}, status=404)

    def _answer(self, request: web.Request, answer: Json) -> web.StreamResponse:
        if isinstance(answer, list):
            answer = answer[-1]
        if answer is None:
            return web.json_response({"detail": "Task not found"}, status=404)
        answer = as_mapping(answer)
        if answer.get("close") or answer.get("timeout"):
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        status = answer.get("status", 200)
        assert isinstance(status, int)
        if "json" in answer:
            return web.json_response(answer["json"], status=status)
        if "b64" in answer:
            return web.Response(body=base64.b64decode(str(answer["b64"])), status=status)
        if "blob" in answer:
            return web.Response(body=blob(str(answer["blob"])), status=status)
        text = answer.get("raw", answer.get("text", ""))
        kind = str(answer.get("ctype") or ("application/json" if "raw" in answer else "text/plain"))
        return web.Response(text=str(text), status=status, content_type=kind.partition(";")[0])


@asynccontextmanager
async def recorded_manager(case: Mapping[str, Json]) -> AsyncIterator[tuple[RecordedManager, str]]:
    manager = RecordedManager(as_mapping(case.get("runner") or {}))
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", manager.handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield manager, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def retention(value: Json) -> int:
    """RM_TASKS_DELETED_AFTER_DAYS as a person would carry it over; what Pod takes for never is 0."""
    try:
        return max(int(str(value)), 0)
    except ValueError:
        return 0


@pytest.mark.parametrize("case", [pytest.param(case, id=str(case["id"])) for case in cases()])
async def test_a_pass_ends_as_pods_does(
    case: dict[str, Json], shared_world: SharedWorldFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (once, reconciler):
        monkeypatch.setattr(module, "SECOND_LOOK", 0.01)
    world = await shared_world(Variant(str(case["variant"])))
    changed = as_mapping(case.get("settings") or {})
    async with recorded_manager(case) as (_, base):
        await world.apply(case, base)
        settings = Settings.model_validate(
            {
                "database": {"dsn": world.database.dsn.get_secret_value()},
                "pod": {
                    "https": False,
                    "media_root": str(world.media_root),
                    "use_podfile": case["variant"] == "podfile",
                    "use_transcription": bool(changed.get("USE_TRANSCRIPTION")),
                    "time_zone": "UTC",
                },
                "runners": {"request_timeout": "2s"},
                "imports": {"keep_free": "1B"},
                "dispatch": {"grace": "0s"},
                "retention": {"completed_days": retention(changed.get("RM_TASKS_DELETED_AFTER_DAYS"))},
            }
        )
        result = await once.run_once(settings)
    assert result.scheduled
    steps = case["steps"]
    assert isinstance(steps, list)
    after = as_mapping(as_mapping(steps[0])["expect"])["tasks_after"]
    assert isinstance(after, list)
    recorded = {int(str(as_mapping(row)["id"])): str(as_mapping(row)["status"]) for row in after}
    expected = BETTER.get(str(case["id"]), recorded)
    if str(case["id"]).startswith("purge"):
        # One row has Pod's status "warning" and names nobody: here it does not stay so.
        expected = {pk: status for pk, status in expected.items() if status != "warning"}
    async with world.database.connection() as connection:
        rows = await connection.fetch("SELECT id, status FROM runner_manager_task WHERE id > 9000")
    found = {row["id"]: row["status"] for row in rows}
    assert {pk: found.get(pk) for pk in expected} == expected
    if str(case["id"]).startswith("purge"):
        assert found.keys() == recorded.keys()
