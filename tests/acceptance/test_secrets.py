"""After a run in which everything answered badly, no secret is anywhere but where Pod keeps it."""

from urllib.parse import urlsplit

import aiohttp
import pytest

from poddispatchd.domain.task import TaskType
from poddispatchd.sandbox.fake_runner_manager import (
    AcceptedTask,
    AnswerFault,
    Behaviour,
    Endpoint,
    FaultKind,
    RunOutcome,
)
from tests.acceptance.rig import TOKEN, Rig
from tests.integration.notify.bench import PASSWORD, USER, mail_settings, postbox

_VAPID = "private-key-of-web-push"
_WRONG = "a-token-that-nobody-has"
_HASH = "pbkdf2_sha256$hash-of-a-password"
_ENDPOINT = "https://push.invalid/address-of-a-browser"


def _fails(_: AcceptedTask) -> Behaviour:
    words = f"curl -H 'Authorization: Bearer {TOKEN}' failed"
    return Behaviour(outcome=RunOutcome.FAILED, error=words, script_output=words)


async def _journal(rig: Rig) -> str:
    """Every row of our schema, and what Pod shows of its tasks, as text."""
    tables = await rig.fetch(
        "SELECT quote_ident(nspname) || '.' || quote_ident(relname) AS name"
        " FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE nspname = 'poddispatchd' AND relkind = 'r'"
    )
    shown = (
        "SELECT script_output AS words FROM runner_manager_task",
        "SELECT log AS words FROM video_encode_transcript_encodinglog",
        "SELECT comment AS words FROM recorder_recording",
        *(f"SELECT item::text AS words FROM {table['name']} AS item" for table in tables),
        *(
            f"SELECT convert_from({column}, 'UTF8') AS words FROM poddispatchd.{table}"
            for table, column in (("submission", "body"),)
        ),
    )
    rows = [row for query in shown for row in await rig.fetch(query)]
    return "\n".join(str(row["words"]) for row in rows)


async def _called_with(rig: Rig, token: str) -> str:
    """All that a caller with this token is told."""
    body = {"task_id": "unknown", "status": "failed", "error_message": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{rig.webhook}/runner/notify_task_end/?token={token}",
            json=body,
            headers={"Authorization": f"Bearer {token}"},
        ) as answer,
    ):
        return f"{answer.headers} {await answer.text()}"


@pytest.mark.timeout(240)
async def test_no_secret_is_anywhere_after_a_run_in_which_everything_answered_badly(rig: Rig) -> None:
    database = urlsplit(rig.database.dsn.get_secret_value()).password
    assert database
    await rig.execute("UPDATE auth_user SET password = $1", _HASH)
    await rig.execute(
        "INSERT INTO webpush_subscriptioninfo (browser, endpoint, auth, p256dh, user_agent)"
        " VALUES ('Firefox', $1, 'a', 'p', '')",
        _ENDPOINT,
    )
    await rig.execute(
        "INSERT INTO webpush_pushinformation (subscription_id, user_id)"
        " SELECT subscription.id, auth_user.id FROM webpush_subscriptioninfo AS subscription, auth_user"
    )
    echo = {"detail": f"Authorization: Bearer {TOKEN} was not liked"}
    for endpoint in (Endpoint.EXECUTE, Endpoint.STATUS, Endpoint.RESULT, Endpoint.FILE):
        rig.manager.faults.inject(
            endpoint, AnswerFault(kind=FaultKind.STATUS, status=500, body=echo), times=2
        )
    async with postbox() as box:
        box.data_answers = [f"451 {PASSWORD} again later"]
        rig.tree["mail"] = mail_settings(box, username=USER, password=PASSWORD)
        rig.set("push", enabled=True, vapid_private_key=_VAPID, admin_email="admin@example.org")
        tasks = await rig.add(TaskType.ENCODING, TaskType.TRANSCRIPTION, TaskType.STUDIO)
        daemon = await rig.start(fresh=True)
        told = [await _called_with(rig, token) for token in (TOKEN, _WRONG)]
        for task in tasks:
            await daemon.event("task.completed", task=task)
        # The words of a failure go into Pod's row, and to the admins by mail.
        rig.manager.faults.script = _fails
        [failed] = await rig.add(TaskType.ENCODING)
        await daemon.event("task.failed", task=failed)
        for path in ("/metrics", "/status", "/api/status", "/health/live", "/health/ready", f"/?t={_WRONG}"):
            await rig.get(path)
        rig.set("ops", listen=rig.ops.removeprefix("http://"))
        for line in (
            "config show", "config show --json", "check --json", "tasks list --json", f"tasks show {failed}",
            "runners list", "runners test", "queues list", "status", "db grants someone",
            "db setup --print-sql",
        ):  # fmt: skip
            await rig.run(*line.split())
        told += [str(each.message) for each in box.received]

    told += [rig.everything_said(), daemon.command_line, await _journal(rig)]
    everything = "\n".join(told)
    found = [
        secret
        for secret in (TOKEN, _WRONG, PASSWORD, _VAPID, _HASH, _ENDPOINT, database)
        if secret in everything
    ]
    assert found == []
