"""The mail that a real Pod sent: the same senders, recipients and subjects, but where we do better."""

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

import pytest

from poddispatchd.app.parts import Parts
from poddispatchd.config.model import Settings
from poddispatchd.domain.task import SUBMITTABLE, ManagerId, RunnerStatus, RunnerTaskId, TaskPk, TaskType
from poddispatchd.journal import notices
from poddispatchd.notify import queue
from poddispatchd.notify.planner import Planner
from poddispatchd.notify.smtp import Envelope
from poddispatchd.pod import tasks
from poddispatchd.runtime.queue_tables import NOTICES
from poddispatchd.tasks.run_report import ReportOrigin, RunReport
from poddispatchd.tasks.transitions import apply_report, fail_task
from tests.integration.notify.bench import ONCE, daemon_parts, task_of
from tests.integration.pod.imports import vectors
from tests.integration.pod.imports.replay import replaying
from tests.plugins.shared_world import SharedWorld, SharedWorldFactory
from tests.shared import SHARED

Json: TypeAlias = dict[str, Any]
Sent: TypeAlias = list[tuple[str, list[str], list[str], str]]

FIXED: Json = (
    {} if SHARED is None else json.loads((SHARED / "pod-db" / "world.json").read_text())["fixed_settings"]
)

IN_PODS_LANGUAGE = ("enc-accept-language-en",)
"""Pod wrote in the language of whoever called; we write in its own."""

OTHER_COUNT: Mapping[str, tuple[int, str]] = {
    "matrix-completed-failed": (0, "a completed task is never reopened"),
    "repeat-failed": (1, "a repeated callback changes nothing"),
    "failed-then-timeout": (2, "a timeout is told as well"),
    "two-rows-same-manager": (2, "both rows of the id are ended, and each is told"),
}
"""How often admins are told where Pod tells them more, or less, often, and why."""

NOT_TOLD: Mapping[str, str] = {
    "file-empty": "the import is refused as a whole: a failure is told, and no completion",
    "info-encode-result-false": "the same",
    "info-missing-rendition-ts": "the same",
    "info-video-empty-list": "the same",
    "info-video-without-renditions": "the same",
}


def settings_of(world: SharedWorld, case: Json) -> Settings:
    """Our settings for a case's Pod, mail enabled."""
    pod = {**FIXED, **case["settings"], **(case.get("settings_changed") or {})}
    managers = [(name, [each] if isinstance(each, str) else each) for name, each in pod["MANAGERS"]]
    return Settings.read(
        {
            "database": {"dsn": world.database.dsn.get_secret_value(), "pool_size": 2},
            "pod": {
                "site_id": pod["SITE_ID"],
                "https": pod["SECURE_SSL_REDIRECT"],
                "media_root": str(world.media_root),
                "use_podfile": world.database.variant == "podfile",
                "language": pod["LANGUAGE_CODE"],
                "title_site": pod["TITLE_SITE"],
                "time_zone": "UTC",
            },
            "mail": {
                "enabled": True,
                "from_email": pod["DEFAULT_FROM_EMAIL"],
                "server_email": pod["SERVER_EMAIL"],
                "subject_prefix": pod["EMAIL_SUBJECT_PREFIX"],
                "admins": [address for _, address in pod["ADMINS"]],
                "managers": [each for _, addresses in managers for each in addresses],
                "use_establishment": pod["USE_ESTABLISHMENT_FIELD"],
                "establishment_managers": {
                    name: addresses for name, addresses in managers if name == name.lower()
                },
                "on_encoding_completion": pod["EMAIL_ON_ENCODING_COMPLETION"],
                "on_transcripting_completion": pod["EMAIL_ON_TRANSCRIPTING_COMPLETION"],
                "debug": pod["DEBUG"],
            },
        }
    )


def recorded_mails(expect: Json) -> Sent:
    """What Pod sent in one step, without Django's own mail about errors of its web process."""
    return [
        (mail["from"], mail["to"], mail.get("bcc") or [], mail["subject"])
        for mail in expect.get("mails", [])
        if not mail.get("django_error_mail")
    ]


async def our_mails(parts: Parts) -> Sent:
    """What follows from everything recorded so far, which is taken away."""
    found: Sent = []
    planner = Planner(
        parts.database,
        lambda: parts.catalogue.capabilities,
        lambda: parts.settings,
        lambda: parts.sites.current,
        parts.clock.now,
    )
    async with parts.database.connection() as connection:
        recorded = await NOTICES.claim(connection, "test", 1000)
    for leased in sorted(recorded, key=lambda each: int(str(each.lease.key))):
        notice = queue.QueuedEvent.of(leased)
        planned = await planner.deliveries(notice)
        async with parts.database.transaction() as connection:
            await queue.plan(connection, notice, ())
        mails = [Envelope.from_content(content).mail for _, content in planned]
        found += [(mail.sender, list(mail.to), list(mail.bcc), mail.subject) for mail in mails]
    return found


def imports() -> list[str]:
    """Every recorded import that Pod completed at its first attempt, and we complete too."""
    if SHARED is None:
        return []
    return [
        name
        for kind in SUBMITTABLE
        for name in vectors.cases(kind)
        if vectors.completed(vectors.steps(vectors.load(name))[0]) and name.partition("/")[0] not in NOT_TOLD
    ]


def cases_of(file: str) -> dict[str, Json]:
    """The cases of a file of vectors in which Pod sent mail, by ``case/variant``."""
    if SHARED is None:
        return {}
    cases: list[Json] = json.loads((SHARED / "vectors" / file).read_text())["cases"]
    return {
        f"{case['id']}/{case['variant']}": case
        for case in cases
        if any(recorded_mails(step["expect"]) for step in case.get("steps", []))
    }


WEBHOOK, RECONCILE = cases_of("webhook.json"), cases_of("reconcile.json")


@pytest.mark.parametrize("name", imports())
async def test_an_import_is_told_to_whom_pod_tells_it(shared_world: SharedWorldFactory, name: str) -> None:
    case: Json = vectors.load(name)
    if case["task_type"] == TaskType.STUDIO:
        async with replaying(shared_world, case) as replay:
            await replay.callback(case["stimulus"][0])
            await replay.settle()
        world = replay.world
    else:
        world = await shared_world(case["variant"])
        await world.apply(case)
    async with daemon_parts(settings_of(world, case)) as parts:
        task = await task_of(parts, TaskPk(vectors.TASK))
        if task.video_id is not None:
            async with parts.database.transaction() as connection:
                await notices.add_completed(connection, task, task.video_id)
        ours = await our_mails(parts)

    theirs = [mail for mail in recorded_mails(vectors.steps(case)[0]) if "Error Encoding" not in mail[3]]
    if name.partition("/")[0] in IN_PODS_LANGUAGE:
        theirs = [
            (*mail[:3], mail[3].replace("Encoding #2 completed", "Encodage du #2 est terminée"))
            for mail in theirs
        ]
    assert ours == theirs


@pytest.mark.parametrize("name", WEBHOOK)
async def test_a_reported_failure_is_told_to_whom_pod_tells_it(
    shared_world: SharedWorldFactory, name: str
) -> None:
    case = WEBHOOK[name]
    world = await shared_world(case["variant"])
    await world.apply(case)
    ours: Sent = []
    async with daemon_parts(settings_of(world, case)) as parts:
        for step in case["steps"]:
            await _report(parts, json.loads(step["request"]["body"]))
            ours += await our_mails(parts)

    theirs = [mail for step in case["steps"] for mail in recorded_mails(step["expect"])]
    count = OTHER_COUNT.get(name.partition("/")[0], (len(theirs), ""))[0]
    assert ours == theirs[:1] * count


async def _report(parts: Parts, body: Json) -> None:
    report = RunReport(
        RunnerStatus(body["status"]), str(body.get("error_message") or ""), origin=ReportOrigin.CALLBACK
    )
    async with parts.database.transaction() as connection:
        managers = await connection.fetch("SELECT id FROM runner_manager")
        known = await tasks.find_tasks(
            connection, tuple(ManagerId(row["id"]) for row in managers), RunnerTaskId(body["task_id"])
        )
        for task in known:
            await apply_report(connection, task, report, retries=ONCE)


@pytest.mark.parametrize("name", RECONCILE)
async def test_a_reconciled_task_is_told_to_whom_pod_tells_it(
    shared_world: SharedWorldFactory, name: str
) -> None:
    case = RECONCILE[name]
    world = await shared_world(case["variant"])
    await world.apply(case)
    theirs = [mail for step in case["steps"] for mail in recorded_mails(step["expect"])]
    completed = [
        TaskPk(entry["id"])
        for step in case["steps"]
        for entry in step["expect"].get("db_diff", [])
        if entry["table"] == "runner_manager_task"
        and entry["op"] == "update"
        and entry["changes"].get("status", [None, None])[1] == "completed"
    ]
    async with daemon_parts(settings_of(world, case)) as parts:
        for pk in completed:
            task = await task_of(parts, pk)
            assert task.video_id is not None
            async with parts.database.transaction() as connection:
                await notices.add_completed(connection, task, task.video_id)
        ours = await our_mails(parts)

    assert sorted(ours) == sorted(theirs)


@pytest.mark.parametrize("name", [] if SHARED is None else ["enc-missing-file"])
async def test_a_missing_source_is_told_as_pod_tells_it(shared_world: SharedWorldFactory, name: str) -> None:
    assert SHARED is not None
    cases: list[Json] = json.loads((SHARED / "vectors" / "payloads.json").read_text())["cases"]
    case = next(case for case in cases if case["id"] == name)
    world = await shared_world(case["variant"])
    await world.apply(case)
    async with daemon_parts(settings_of(world, case)) as parts:
        pk = await parts.database.fetchrow("SELECT id FROM runner_manager_task WHERE video_id = 16")
        assert pk is not None
        async with parts.database.transaction() as connection:
            assert await fail_task(connection, await task_of(parts, TaskPk(pk["id"])), "It is gone.")
        assert await our_mails(parts) == recorded_mails(case["expect"]["after"])
