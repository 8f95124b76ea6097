"""``run --dry-run``: a week beside Pod's CRON before the switch, in a few seconds."""

import signal
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.sandbox.pod.world import add_task, add_video
from tests.acceptance.gate import Gate
from tests.acceptance.notifications import Notifications
from tests.acceptance.pods_cron import PodsCron, everything_in, requests_of, state_of
from tests.acceptance.process import Process
from tests.acceptance.rig import Rig
from tests.plugins import postgres

pod_database = postgres.pod_database
"""A Pod on which no daemon has ever run."""


@pytest.fixture
async def visitor(rig: Rig) -> AsyncIterator[None]:
    """A role that may read Pod's tables and nothing else; ``db init`` was never run."""
    role = f"{rig.database.name}_visitor"
    password = "password-of-the-visitor"
    await rig.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
    await rig.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    split = urlsplit(rig.database.dsn.get_secret_value())
    rig.use(f"postgresql://{role}:{password}@{split.hostname}:{split.port}{split.path}")
    rig.set("dispatch", poll_interval="200ms")
    rig.set("reconcile", interval="300ms", running_after="0s")
    rig.set("shadow", cron_interval="1s")
    yield
    await rig.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


async def start(rig: Rig, **options: str) -> Process:
    process = await Process.start("run", "--dry-run", "-c", str(rig.config), env=options)
    rig.processes.append(process)
    ready = await process.event("daemon.ready")
    rig.ops = f"http://{ready['ops']}"
    assert "webhook" not in ready
    return process


async def encoding_of(rig: Rig, owner: str, *, rank: int = 1) -> TaskPk:
    async with rig.database.connection() as connection:
        video = await add_video(connection, rig.world, title=f"Lecture of a {owner}", owner=owner)
        return await add_task(connection, TaskType.ENCODING, video=video, rank=rank)


async def test_a_shadow_tells_what_it_would_do_and_changes_nothing(
    rig: Rig, visitor: None, notifications: Notifications
) -> None:
    cron = PodsCron(rig)
    student, employee = await encoding_of(rig, "student", rank=2), await encoding_of(rig, "employee")
    untouched = await everything_in(rig)
    daemon = await start(rig, NOTIFY_SOCKET=notifications.address)

    # Both of the manager's runners are free: in the order of the queue, both tasks would be there by now.
    first = await daemon.event("shadow.expected", task=employee, decision="submit")
    second = await daemon.event("shadow.expected", task=student, decision="submit")
    assert [(entry["runner_manager"], entry["rank"]) for entry in (first, second)] == [
        ("encoders", 1),
        ("encoders", 2),
    ]
    # The CRON submits the second one first, and leaves the first one for longer than it may.
    assert await everything_in(rig) == untouched
    task_id = await cron.submit(student)
    untouched = await everything_in(rig)
    passed = await daemon.event("shadow.differed", task=student, difference="out_of_order")
    assert str(passed["reason"]).endswith(f"stood before it: {employee}.")
    await daemon.event("shadow.agreed", task=student, agreement="same", in_pod="encoders")
    late = await daemon.event("shadow.differed", task=employee, difference="left_pending")
    assert "s ago to encoders" in str(late["reason"])

    # The manager has a result that Pod has not fetched; then Pod does.
    assert await everything_in(rig) == untouched
    await rig.manager.finish(task_id)
    await daemon.event("shadow.expected", task=student, decision="import")
    assert await everything_in(rig) == untouched
    await cron.end(student, "completed")
    untouched = await everything_in(rig)
    await daemon.event("shadow.agreed", task=student, decision="import")

    state = state_of((await rig.get("/api/status"))[1])
    page, metrics = (await rig.get("/status"))[1], (await rig.get("/metrics"))[1]
    daemon.signal(signal.SIGTERM)
    assert await daemon.ended() == 0
    total = await daemon.event("shadow.summed_up")

    assert await everything_in(rig) == untouched
    asked = [request for request in requests_of(rig.manager) if request != "POST /task/execute"]
    assert len(asked) == len(requests_of(rig.manager)) - 1
    assert {request.split(" ")[0] for request in asked} == {"GET"}
    assert {request.rpartition("/")[0] for request in asked} == {"GET /api", "GET /task/status"}
    assert total["decisions"] == "submit 2, import 1"
    assert total["differences"] == "out of order 1, left pending 1"
    assert (state["leader"], state["term"], state["problems"]) == (False, None, [])
    assert "shadow: decides beside Pod" in page
    assert 'poddispatchd_shadow_differences_total{difference="out_of_order"} 1.0' in metrics
    assert 'poddispatchd_shadow_differences_total{difference="other_manager"} 0.0' in metrics
    assert daemon.find("service.crashed") is None
    notifications.drain()
    assert any("shadow: writes and sends nothing" in message for message in notifications.received)


async def test_an_owner_of_the_tables_makes_no_difference(rig: Rig) -> None:
    """The superuser may write whatever it likes, and its shadow still writes nothing."""
    rig.set("dispatch", poll_interval="200ms")
    task = await encoding_of(rig, "employee")
    untouched = await everything_in(rig)
    daemon = await start(rig)

    await daemon.event("shadow.expected", task=task)
    rig.set("ops", listen=rig.ops.removeprefix("http://"))
    told = await rig.run("status")
    daemon.signal(signal.SIGTERM)
    assert await daemon.ended() == 0

    assert await everything_in(rig) == untouched
    assert requests_of(rig.manager) == ["GET /api/runners"]
    assert "poddispatchd" not in str(untouched["schemas"])
    assert "permission denied" not in daemon.text
    assert (told.status, told.err) == (0, "")
    assert "is a shadow: it writes and sends nothing" in told.out
    assert "Would be done: submit 1." in told.out


async def test_a_database_that_goes_away_is_told_once_and_waited_for(rig: Rig, gate: Gate) -> None:
    rig.use(gate.dsn)
    rig.set("dispatch", poll_interval="200ms")
    task = await encoding_of(rig, "employee")
    daemon = await Process.start("run", "--dry-run", "-c", str(rig.config))
    rig.processes.append(daemon)
    await daemon.event("database.down")
    await gate.open()
    await daemon.event("shadow.expected", task=task)

    await gate.shut()
    await daemon.events("database.down", 2)
    await gate.open()
    await daemon.events("database.up", 2)
    await PodsCron(rig).submit(task)
    await daemon.event("shadow.agreed", task=task, agreement="same")
    daemon.signal(signal.SIGTERM)
    assert await daemon.ended() == 0
    assert len(await daemon.events("database.down", 2)) == 2
    assert daemon.find("service.crashed") is None
