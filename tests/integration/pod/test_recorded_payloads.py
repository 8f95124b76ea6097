"""Payloads as Pod itself sent them, from the same database rows."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from poddispatchd.database.pool import Connection
from poddispatchd.domain.payload import PayloadSettings, build_payload
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import SiteId, TaskPk
from poddispatchd.errors import UnsubmittableError
from poddispatchd.pod.capabilities import Capabilities, introspect
from poddispatchd.pod.sources import load_source
from poddispatchd.pod.tasks import get_task
from tests.integration.pod.rows import opened
from tests.plugins.shared_world import RECORDED_RUNNER_BASE, SharedWorldFactory, apply_case
from tests.shared import SHARED

_CASES: list[dict[str, Any]] = (
    json.loads((SHARED / "vectors" / "payloads.json").read_bytes())["cases"] if SHARED else []
)
_REFUSED = "refused"

# No payload is recorded, for a reason that lies with the managers.
_ABOUT_MANAGERS = {"no-manager", "token-nonlatin"}


@pytest.mark.parametrize("variant", ["podfile", "nopodfile"] if SHARED else [])
async def test_payloads_are_those_of_pod_byte_for_byte(
    shared_world: SharedWorldFactory, variant: str
) -> None:
    world = await shared_world(variant)
    expected: dict[str, str] = {}
    built: dict[str, str] = {}
    async with opened(world.database) as database, world.database.connection() as connection:
        capabilities = await introspect(database)
        for case in _CASES:
            if case["variant"] != variant or case["id"] in _ABOUT_MANAGERS:
                continue
            transaction = connection.transaction()
            await transaction.start()
            await apply_case(connection, world.media_root, case, RECORDED_RUNNER_BASE)
            raw = case["expect"].get("raw") or _REFUSED
            expected[case["id"]] = _BETTER[case["id"]](raw) if case["id"] in _BETTER else raw
            built[case["id"]] = await _build(connection, capabilities, case, str(world.media_root))
            await transaction.rollback()
    assert expected == built
    assert len(built) >= 10


async def _build(
    connection: Connection, capabilities: Capabilities, case: Mapping[str, Any], media_root: str
) -> str:
    task = await get_task(connection, TaskPk(case["task"]))
    assert task is not None
    settings = case["settings"]
    # Pod uses its current site for every task, or the one that --site names.
    current = await connection.fetchrow(
        "SELECT id, domain FROM django_site WHERE id = $1 AND $2::text IS NULL OR domain = $2",
        settings["SITE_ID"],
        case["stimulus"][0].get("site"),
    )
    assert current is not None
    try:
        payload = build_payload(
            await load_source(connection, capabilities, task),
            Site(SiteId(current["id"]), current["domain"]),
            PayloadSettings(
                version=settings["VERSION"],
                media_root=media_root,
                https=settings["SECURE_SSL_REDIRECT"],
                title_site=settings["TITLE_SITE"],
                title_etb=settings["TITLE_ETB"],
                media_url=settings["MEDIA_URL"],
                language=settings["LANGUAGE_CODE"],
                transcription_type=settings["TRANSCRIPTION_TYPE"],
                transcription_normalize=settings["TRANSCRIPTION_NORMALIZE"],
            ),
        )
    except UnsubmittableError:
        return _REFUSED
    return payload.to_bytes().decode("ascii")


def _with_dressing(raw: str, dressing: Mapping[str, str]) -> str:
    return _with_parameter(raw, "dressing", json.dumps(dressing))


def _with_parameter(raw: str, name: str, value: str) -> str:
    return raw.replace('"video_id"', f'{json.dumps(name)}: {json.dumps(value)}, "video_id"')


# Where Pod's bytes come from a defect, what is sent instead.
_BETTER: Mapping[str, Callable[[str], str]] = {
    "enc-title-all-null-langs": lambda raw: raw.removesuffix("}}") + ', "video_title": "Raw"}}',
    "enc-file-percent-hash": lambda raw: raw.replace("100% #1?x=y.mp4", "100%25 %231%3Fx=y.mp4"),
    "enc-empty-video-field": lambda _raw: _REFUSED,
    "enc-cut-fraction": lambda raw: raw.replace("00:00:01.500000", "00:00:01").replace(
        "00:00:10.250000", "00:00:10"
    ),
    "enc-cut-two": lambda _raw: _with_parameter(
        _plain_student_payload(),
        "cut",
        json.dumps({"start": "00:00:03", "end": "00:00:04", "initial_duration": "b"}),
    ),
    "enc-dressed-two": lambda raw: _with_dressing(
        raw,
        {
            "opening_credits": "0005-generique-debut",
            "opening_credits_video": _opening_url(raw),
            "opening_credits_video_duration": "7",
        },
    ),
    "enc-media-url": lambda raw: raw.replace("/media/", "/podmedia/"),
    "tr-media-url-abs": lambda raw: raw.replace("http://pod.localhost:8000https:", "https:"),
    "st-outside-media": lambda _raw: _REFUSED,
    "st-relative": lambda raw: raw.replace("../../oracle/pod/opencast-files", "opencast-files"),
}


def _plain_student_payload() -> str:
    raw: str = next(case["expect"]["raw"] for case in _CASES if case["id"] == "enc-student")
    return raw


def _opening_url(raw: str) -> str:
    dressed = next(case["expect"]["body"] for case in _CASES if case["id"] == "enc-dressed-all")
    url: str = json.loads(dressed["parameters"]["dressing"])["opening_credits_video"]
    return url
