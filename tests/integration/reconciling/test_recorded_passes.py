"""A full pass on recorded Pods: where Pod's own CRON run is right, the tasks end as they did there."""

import json
from collections.abc import Mapping

import pytest

from poddispatchd import once
from poddispatchd.config.model import Settings
from poddispatchd.sandbox.pod.schema import Variant
from poddispatchd.services import reconciler
from tests.plugins.shared_world import SharedWorldFactory
from tests.recorded.manager import recorded_manager
from tests.recorded.values import Json, mapping
from tests.shared import SHARED

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
    changed = mapping(case.get("settings") or {})
    async with recorded_manager(case.get("runner")) as (_, base):
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
    after = mapping(mapping(steps[0])["expect"])["tasks_after"]
    assert isinstance(after, list)
    recorded = {int(str(mapping(row)["id"])): str(mapping(row)["status"]) for row in after}
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
