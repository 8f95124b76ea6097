"""What Pod's pages show once a manager has accepted a task, as Pod itself wrote it."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from poddispatchd.database.pool import Connection, Database
from poddispatchd.domain.payload import PayloadSettings, build_payload
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import SiteId, TaskPk
from poddispatchd.pod.capabilities import Capabilities, introspect
from poddispatchd.pod.managers import runner_managers
from poddispatchd.pod.sources import load_source, output_directory
from poddispatchd.pod.tasks import get_task
from poddispatchd.tasks.accepted_runs import shown_when_accepted, start_line
from tests.integration.pod.rows import opened
from tests.integration.pod.shown import show_accepted
from tests.plugins.shared_world import (
    RECORDED_RUNNER_BASE,
    SharedWorld,
    SharedWorldFactory,
    apply_case,
    localise,
)
from tests.shared import SHARED

_CASES: list[dict[str, Any]] = (
    [
        case
        for case in json.loads((SHARED / "vectors" / "payloads.json").read_bytes())["cases"]
        if case["task_type"] != "transcription"
        and "raw" in case["expect"]
        and not case.get("upstream_bug")
        # Pod quotes the manager's address as it was typed, and a cut with fractions that no runner can use.
        and not case["id"].startswith(("url-", "enc-cut-fraction"))
    ]
    if SHARED
    else []
)
_NOW = datetime(2026, 11, 23, 14, 40, 58, tzinfo=UTC)


@pytest.mark.parametrize("variant", ["podfile", "nopodfile"] if SHARED else [])
async def test_people_see_what_pod_shows_them(shared_world: SharedWorldFactory, variant: str) -> None:
    world = await shared_world(variant)
    cases = [case for case in _CASES if case["variant"] == variant]
    expected, seen = {}, {}
    async with opened(world.database) as database, world.database.connection() as connection:
        capabilities = await introspect(database)
        for case in cases:
            transaction = connection.transaction()
            await transaction.start()
            await apply_case(connection, world.media_root, case, RECORDED_RUNNER_BASE)
            await _accept(database, connection, capabilities, world, case)
            expected[case["id"]] = _recorded(case, world)
            seen[case["id"]] = await _shown(connection, case)
            await transaction.rollback()
    assert expected == seen
    assert len(cases) >= 6


async def _accept(
    database: Database,
    connection: Connection,
    capabilities: Capabilities,
    world: SharedWorld,
    case: Mapping[str, Any],
) -> None:
    task = await get_task(connection, TaskPk(case["task"]))
    [after] = case["expect"]["tasks_after"]
    managers = {manager.id: manager for manager in await runner_managers(database)}
    manager = managers[after["runner_manager_id"]]
    assert task is not None
    settings = case["settings"]
    source = await load_source(connection, capabilities, task)
    domain = await connection.fetchval("SELECT domain FROM django_site WHERE id = $1", manager.site_id)
    shown = shown_when_accepted(
        task,
        body=build_payload(
            source,
            Site(SiteId(manager.site_id), domain),
            PayloadSettings(
                version=settings["VERSION"],
                media_root=str(world.media_root),
                https=settings["SECURE_SSL_REDIRECT"],
                title_site=settings["TITLE_SITE"],
                title_etb=settings["TITLE_ETB"],
                media_url=settings["MEDIA_URL"],
                language=settings["LANGUAGE_CODE"],
            ),
        ).document(),
        url=manager.endpoint("task/execute"),
        output_directory=output_directory(world.media_root, source),
        start=start_line(_NOW),
    )
    await show_accepted(connection, shown)


def _recorded(case: Mapping[str, Any], world: SharedWorld) -> list[object]:
    shown: list[object] = []
    for change in case["expect"]["after"]["db_diff"]:
        values = change.get("row") or {column: new for column, (_, new) in change["changes"].items()}
        if change["table"] == "video_video":
            shown.append(("in progress", values["encoding_in_progress"]))
        elif change["table"] == "recorder_recording":
            shown.append(values["comment"])
        elif change["table"] == "video_encode_transcript_encodinglog":
            shown.append(values["log"])
        elif change["table"] == "video_encode_transcript_encodingstep":
            shown.append((values["num_step"], values["desc_step"]))
    # Pod has deleted the old encodings by now; ours stay until the new ones are there.
    kept = "Kept until the new files are there"
    told = [
        text.replace("\nDELETE PREVIOUS ENCODING VIDEO\n\n", f"Video: {kept}\n")
        .replace("DELETE PREVIOUS ENCODING AUDIO", f"Audio: {kept}")
        .replace("DELETE PREVIOUS PLAYLIST M3U8", f"Playlist: {kept}")
        .replace("{{CTIME}}", _NOW.ctime())
        if isinstance(text, str)
        else text
        for text in shown
    ]
    return sorted(
        (
            localise(text, world.media_root, RECORDED_RUNNER_BASE) if isinstance(text, str) else text
            for text in told
        ),
        key=repr,
    )


async def _shown(connection: Connection, case: Mapping[str, Any]) -> list[object]:
    [after] = case["expect"]["tasks_after"]
    film, room = after["video_id"], after["recording_id"]
    logs = await connection.fetch(
        "SELECT log FROM video_encode_transcript_encodinglog WHERE video_id = $1", film
    )
    steps = await connection.fetch(
        "SELECT num_step, desc_step FROM video_encode_transcript_encodingstep WHERE video_id = $1", film
    )
    marks = await connection.fetch(
        "SELECT 'in progress', encoding_in_progress FROM video_video WHERE id = $1", film
    )
    comments = await connection.fetch("SELECT comment FROM recorder_recording WHERE id = $1", room)
    return sorted(
        [
            *(row["log"] for row in logs),
            *(tuple(row) for row in (*steps, *marks)),
            *(row["comment"] for row in comments),
        ],
        key=repr,
    )
