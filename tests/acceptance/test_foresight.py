"""When tasks are expected to begin and end, told by a running daemon and by the commands."""

import asyncio
import json
import re
import signal
from email import message_from_bytes
from email.policy import default
from typing import cast

from aiosmtpd.smtp import SMTP, Envelope

from poddispatchd.domain.task import TaskType
from poddispatchd.sandbox.fake_runner_manager import Behaviour, RunOutcome
from poddispatchd.sandbox.fake_runner_manager.faults import AnswerFault, FaultKind
from tests.acceptance.process import ANNOUNCED_WITHIN, Process
from tests.acceptance.rig import Rig

_PAST = """
    INSERT INTO poddispatchd.ended_run
           (task_pk, task_type, status, runner_manager_id, priority, waited, ran, source_seconds, ended_at)
    SELECT 1000 + n, 'encoding', 'completed', $1, 1, 5, 600 + n, -5, now() - make_interval(secs => n * 620)
      FROM generate_series(1, 60) AS n
"""
"""One runner that encoded for ten minutes each time, and told durations below zero."""


async def _full_manager_with_a_past(rig: Rig) -> Process:
    assert (await rig.run("db", "init")).status == 0
    await rig.execute(_PAST, rig.world.managers[0].id)
    rig.manager.faults.inject("execute", AnswerFault(kind=FaultKind.STATUS, status=503), times=None)
    daemon = await rig.start()
    rig.set("ops", listen=rig.ops.removeprefix("http://"))
    await rig.add(TaskType.ENCODING, TaskType.ENCODING, TaskType.TRANSCRIPTION)
    await rig.execute("UPDATE video_video SET duration = -5")
    await daemon.event("runner_manager.full")
    return daemon


async def test_what_waits_is_told_when_it_will_be_done_everywhere(rig: Rig) -> None:
    await _full_manager_with_a_past(rig)
    first, second, transcription = sorted(await rig.statuses())

    listed = {row["id"]: row for row in json.loads((await rig.run("tasks", "list", "--json")).out)}
    shown = (await rig.run("tasks", "show", str(second))).out
    state = json.loads((await rig.get("/api/status"))[1])
    page = (await rig.get("/status"))[1]
    metrics = (await rig.get("/metrics"))[1]
    status = (await rig.run("status")).out

    assert re.search(
        r"^expected        begins in 1\d min to \d\d min, ends in 2\d min to \d\d min$", shown, re.MULTILINE
    )
    assert listed[first]["expected_end"]["low"] < listed[second]["expected_end"]["low"]
    # No transcription has ever ended: nothing is known, and nothing is made up.
    assert (listed[transcription]["expected_begin"], listed[transcription]["expected_end"]) == (None, None)
    expected = state["expected"]
    assert set(expected["ends"]) == {str(first), str(second)}
    assert set(expected["drained"]) == {"encoding"}
    assert '<th scope="col">begins</th><th scope="col">ends</th>' in page
    assert re.search(r'<td class="nowrap">in 1\d min to \d\d min</td>', page)
    drain = dict(
        re.findall(r'poddispatchd_expected_drain_seconds\{bound="low",type="(\w+)"\} (\S+)', metrics)
    )
    assert 1200 < float(drain["encoding"]) < 1500
    assert (drain["transcription"], drain["studio"]) == ("NaN", "0.0")
    assert "Expected to be done, in eight of ten cases: encoding in 2" in status


async def test_nothing_is_expected_to_begin_while_nobody_schedules(rig: Rig) -> None:
    """`tasks list` said "begins at once" of what no daemon submitted."""
    daemon = await _full_manager_with_a_past(rig)
    assert "Expected: begins" in (await rig.run("tasks", "list")).out

    daemon.signal(signal.SIGTERM)
    await daemon.ended()

    assert "Expected" not in (await rig.run("tasks", "list")).out


async def test_a_queue_without_a_past_is_unknown_and_says_so(rig: Rig) -> None:
    rig.manager.faults.inject("execute", AnswerFault(kind=FaultKind.STATUS, status=503), times=None)
    daemon = await rig.start()
    rig.set("ops", listen=rig.ops.removeprefix("http://"))
    [task] = await rig.add(TaskType.ENCODING)
    await daemon.event("runner_manager.full")

    assert "\nexpected        unknown\n" in (await rig.run("tasks", "show", str(task))).out
    assert "Expected" not in (await rig.run("tasks", "list")).out
    state = cast("dict[str, dict[str, object]]", json.loads((await rig.get("/api/status"))[1]))
    assert state["expected"]["drained"] == {}


async def test_what_ended_is_learnt_from(rig: Rig) -> None:
    await rig.start()
    await rig.add(*[TaskType.ENCODING] * 3)

    async def kept() -> int:
        [row] = await rig.fetch("SELECT count(*) AS n FROM poddispatchd.ended_run WHERE status = 'completed'")
        return cast("int", row["n"])

    async with asyncio.timeout(ANNOUNCED_WITHIN):
        while await kept() < 3:
            await rig.look()
    assert (await rig.fetch("SELECT sum(completed) AS n FROM poddispatchd.day_of_tasks"))[0]["n"] == 3
    report = json.loads((await rig.run("report", "--format", "json")).out)
    assert [(item["type"], item["completed"], item["failed"]) for item in report["types"]] == [
        ("encoding", 3, 0)
    ]
    assert [item["name"] for item in report["managers"]] == ["encoders"]
    assert "3 tasks completed, 0 failed." in (await rig.run("report")).out


async def test_failures_of_one_reason_are_reviewed_together_on_a_running_daemon(rig: Rig) -> None:
    daemon = await rig.start()
    rig.set("ops", listen=rig.ops.removeprefix("http://"))
    tasks = [
        await _failed_on_the_manager(rig, f"Script gave up after {seconds} seconds") for seconds in (60, 3600)
    ]
    await daemon.events("task.failed", 2)

    [group] = json.loads((await rig.run("failures", "list", "--json")).out)
    [told] = json.loads((await rig.get("/api/status"))[1])["failures"]
    page = (await rig.get("/status"))[1]
    assert (group["reason"], group["tasks"]) == ("Script gave up after N seconds", 2)
    assert (told["group"], told["count"], sorted(told["tasks"])) == (group["group"], 2, sorted(tasks))
    assert f'<td class="nowrap">{group["group"]}</td>' in page

    rig.manager.faults.script = None
    restarted = await rig.run("failures", "restart", group["group"], "--yes")

    assert restarted.out.count("It waits again, last in the queue.") == 2
    async with asyncio.timeout(ANNOUNCED_WITHIN):
        while set((await rig.statuses()).values()) != {"completed"}:
            await rig.look()
    assert json.loads((await rig.run("failures", "list", "--json")).out) == []


async def _failed_on_the_manager(rig: Rig, words: str) -> int:
    rig.manager.faults.script = lambda _: Behaviour(outcome=RunOutcome.FAILED, error=words)
    [task] = await rig.add(TaskType.ENCODING)
    async with asyncio.timeout(ANNOUNCED_WITHIN):
        while (await rig.statuses())[task] != "failed":
            await rig.look()
    return task


class _Mailbox:
    """What an SMTP server has taken."""

    def __init__(self) -> None:
        self.taken: asyncio.Queue[bytes] = asyncio.Queue()

    async def handle_DATA(self, _server: object, _session: object, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd calls it so
        content = envelope.content
        assert isinstance(content, bytes)
        self.taken.put_nowait(content)
        return "250 OK"


async def test_a_mailed_report_is_sent_by_the_daemon(rig: Rig) -> None:
    mailbox = _Mailbox()
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(mailbox, enable_SMTPUTF8=False), "127.0.0.1", 0
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        rig.set(
            "mail",
            enabled=True,
            host="127.0.0.1",
            port=port,
            from_email="pod@example.org",
            admins=["ops@example.org"],
        )
        daemon = await rig.start()

        assert (
            await rig.run("report", "--mail")
        ).out == "It waits in the queue of deliveries, for ops@example.org.\n"

        async with asyncio.timeout(ANNOUNCED_WITHIN):
            mail = await mailbox.taken.get()
        await daemon.event("notice.sent")
    parsed = message_from_bytes(mail, policy=default)
    body, page = parsed.get_body(("plain",)), parsed.get_body(("html",))
    assert body is not None
    assert page is not None
    assert "0 tasks completed, 0 failed." in body.get_content()
    assert '<h2 id="owners">Busiest owners</h2>' in page.get_content()
