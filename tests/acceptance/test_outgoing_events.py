"""Events that a running daemon sends to an endpoint, and the command that tries it."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import cast

import pytest

from poddispatchd.domain.task import TaskType
from poddispatchd.sandbox.fake_runner_manager import Behaviour, RunOutcome
from tests.acceptance.process import Process
from tests.acceptance.rig import Rig
from tests.integration.notify.test_outgoing_events import Endpoint, listening

_SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"


@pytest.fixture
async def endpoint(rig: Rig) -> AsyncIterator[Endpoint]:
    """An endpoint that the configuration names; neither its address nor the secret may be seen anywhere."""
    async with listening() as one:
        rig.set("events", url=one.url, secret=_SECRET, debounce="1s")
        yield one
        for process in rig.processes:
            await process.kill()
    said = rig.everything_said()
    assert "s3cr3t-path" not in said
    assert _SECRET not in said


async def test_a_failure_and_a_manager_that_dies_are_told_by_a_running_daemon(
    rig: Rig, endpoint: Endpoint
) -> None:
    rig.manager.faults.script = lambda _: Behaviour(
        outcome=RunOutcome.FAILED, error="no such file: /srv/media/jean.dupont.mp4"
    )
    daemon = await rig.start()
    [task] = await rig.add(TaskType.ENCODING)
    await daemon.event("notice.sent", channel="event", task=task)

    [event] = endpoint.events
    data = cast("Mapping[str, object]", event["data"])
    assert (event["type"], data["task"], data["reason"]) == ("task.failed", task, "no such file: PATH")
    assert b"dupont" not in endpoint.got[0][1]
    assert endpoint.got[0][0]["webhook-signature"].startswith("v1,")

    await rig.manager.stop()
    await rig.add(TaskType.ENCODING)
    await daemon.event("runner_manager.down")
    await daemon.events("notice.sent", 2)

    assert endpoint.types == ["task.failed", "runner_manager.down"]
    metrics = (await rig.get("/metrics"))[1]
    assert re.search(r'poddispatchd_events_total\{outcome="sent"\} 2\.0', metrics)


async def test_an_endpoint_that_is_gone_keeps_no_task_waiting(rig: Rig, endpoint: Endpoint) -> None:
    rig.set("events", url="http://127.0.0.1:1/s3cr3t-path")
    daemon = await rig.start()
    outcomes = iter([Behaviour(outcome=RunOutcome.FAILED, error="It went wrong."), Behaviour()])
    rig.manager.faults.script = lambda _: next(outcomes)
    failed, done = await rig.add(TaskType.ENCODING, TaskType.ENCODING)
    await daemon.event("notice.retried", channel="event")
    await daemon.event("task.ended", status="completed")
    assert sorted((await rig.statuses()).values()) == ["completed", "failed"]
    assert {failed, done} == set(await rig.statuses())
    queues = json.loads((await rig.run("queues", "list", "--json")).out)
    assert endpoint.got == []
    assert "deliveries" in json.dumps(queues)


async def test_the_command_tries_the_endpoint_and_prints_what_it_answers(
    rig: Rig, endpoint: Endpoint
) -> None:
    endpoint.answer = b"thank \x1b[2Jyou\npassword=hunter2222"

    taken = await rig.run("events", "test")

    assert (taken.status, taken.err) == (0, "")
    assert taken.out == "127.0.0.1 answers 200.\n  thank \\x1b[2Jyou\n  password=***\n"
    assert endpoint.types == ["test"]
    endpoint.status = 410
    refused = await rig.run("events", "test")
    assert (refused.status, refused.err) == (1, "127.0.0.1 answers 410.\n")
    assert "events: Events are posted to 127.0.0.1 (http)." in (await rig.run("check")).out


async def test_without_anybody_to_tell_the_command_says_what_to_set(rig: Rig) -> None:
    outcome = await rig.run("events", "test")

    assert outcome.status == 2
    assert "set events.url or events.command" in outcome.err


async def test_a_short_secret_or_two_ways_at_once_are_refused_at_the_start(rig: Rig) -> None:
    rig.set("events", url="ftp://pod.example.org/", secret="too short", command=["curl"])

    outcome = await rig.run("events", "test")

    assert outcome.status == 2
    for words in ("events.url: write an address", "choose one", "events.secret: write", "its absolute path"):
        assert words in outcome.err
    assert "too short" not in outcome.err


async def test_nothing_is_told_in_the_shadow(rig: Rig, endpoint: Endpoint) -> None:
    assert (await rig.run("db", "init")).status == 0
    await rig.execute(
        "INSERT INTO poddispatchd.delivery (channel, task_pk, content) VALUES ('event', 0, '{}')"
    )
    process = await Process.start("run", "--dry-run", "-c", str(rig.config))
    rig.processes.append(process)
    await process.event("daemon.ready")

    assert endpoint.got == []
    [row] = await rig.fetch("SELECT state, attempts FROM poddispatchd.delivery")
    assert (row["state"], row["attempts"]) == ("open", 0)
