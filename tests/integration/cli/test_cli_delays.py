"""What holds up a task that a runner has, or has done, as `tasks list` and `tasks show` tell it."""

from typing import cast

from aiohttp import web

from poddispatchd.cli.daemon_state import ManagerEntry, State
from poddispatchd.config.units import Address
from poddispatchd.domain.task import TaskPk, TaskStatus, TaskType
from poddispatchd.sandbox.pod.world import add_task, add_video
from poddispatchd.web.listener import listening
from tests.integration.cli.conftest import Pod

_PAGE = "Runner manager 'first' answered a web page (status 200): its URL may lead to something else."
_REFUSED = "Runner manager 'first' cannot be reached: connection refused (127.0.0.1:8081)."


async def _running(pod: Pod) -> TaskPk:
    async with pod.database.connection() as connection:
        video = await add_video(connection, pod.world, title="Lecture")
        task = await add_task(connection, TaskType.ENCODING, video=video, status=TaskStatus.RUNNING)
        await connection.execute(
            "UPDATE runner_manager_task SET runner_manager_id = 1, task_id = 'x' WHERE id = $1", task
        )
    return task


async def _told(pod: Pod, task: TaskPk) -> list[object]:
    """What the list, the page of the task and both for programs say of its delay."""
    rows = cast("list[dict[str, object]]", (await pod.run("tasks", "list", "--json")).json())
    shown = cast("dict[str, object]", (await pod.run("tasks", "show", str(task), "--json")).json())
    listed = (await pod.run("tasks", "list", "--wide")).out.splitlines()
    page = (await pod.run("tasks", "show", str(task))).out.splitlines()
    return [
        *(row["delay"] for row in rows),
        shown["delay"],
        *(line.strip() for line in listed[2:]),
        *(line[16:] for line in page if line.startswith("delay ")),
    ]


async def test_why_a_result_is_not_imported_is_listed_in_place_of_when_it_would_be_there(pod: Pod) -> None:
    """It was said to end in a few seconds, all night: its manager's proxy answered a page for each file."""
    await pod.run("db", "init")
    task = await _running(pod)
    assert not any(await _told(pod, task))
    await pod.execute(
        "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, last_error)"
        f" VALUES ({task}, 1, 'x', $${_PAGE}$$)"
    )

    words = f"Its result is there, and could not be imported yet: {_PAGE}"
    assert await _told(pod, task) == [words] * 4


async def test_a_task_whose_manager_was_deleted_in_pod_says_so_until_it_is_lost(pod: Pod) -> None:
    """For ten minutes nothing said why it did not end: Pod empties the column with the manager."""
    await pod.run("db", "init")
    task = await _running(pod)
    await pod.execute("UPDATE runner_manager_task SET runner_manager_id = NULL")

    told = await _told(pod, task)
    assert len(told) == 4
    assert all("names no runner manager, as after one was deleted" in str(words) for words in told)


async def test_a_result_that_was_set_aside_or_dismissed_is_listed_in_place_of_when_it_would_be_there(
    pod: Pod,
) -> None:
    """Nobody tries it any more, and the task was said to end in a few seconds, for days."""
    await pod.run("db", "init")
    task = await _running(pod)
    await pod.execute(
        "INSERT INTO poddispatchd.import"
        " (task_pk, runner_manager_id, task_id, state, last_error, finished_at)"
        f" VALUES ({task}, 1, 'of an earlier run', 'set_aside', 'Something else.', now()),"
        f" ({task}, 1, 'x', 'set_aside', $${_PAGE}$$, now())"
    )

    again = "'poddispatchd queues retry imports 2' has it tried again"
    assert (
        await _told(pod, task) == [f"Its result was set aside after too many attempts ({again}): {_PAGE}"] * 4
    )

    await pod.run("queues", "dismiss", "imports", "2")
    words = f"Its result was dismissed: 'poddispatchd tasks restart {task}' runs it again."
    assert await _told(pod, task) == [words] * 4


async def test_that_nobody_can_be_asked_about_a_running_task_is_listed(pod: Pod) -> None:
    """A manager was switched off, in Pod's administration too: nothing said why its tasks ran for days."""
    await pod.run("db", "init")
    task = await _running(pod)
    entry = dict.fromkeys(ManagerEntry.__required_keys__) | {"id": 1, "state": "open", "error": _REFUSED}

    async def answer(_: web.Request) -> web.Response:
        told = dict.fromkeys(State.__required_keys__) | {"queue": [], "problems": [], "not_ready": []}
        return web.json_response({**told, "managers": [{**entry, "full_for": {}}]})

    site = web.Application()
    site.router.add_get("/api/status", answer)
    async with listening(site, Address("127.0.0.1", 0), "test") as address:
        pod.set("ops", listen=str(address))
        told = await _told(pod, task)

    assert told == [f"Its runner manager cannot be asked about it: {_REFUSED}"] * 4


async def test_a_pending_task_is_not_said_to_be_next_while_submitting_fails(pod: Pod) -> None:
    """The daemon told of it, and the command said that the task was submitted next."""
    await pod.run("db", "init")
    async with pod.database.connection() as connection:
        video = await add_video(connection, pod.world, title="Lecture")
        task = await add_task(connection, TaskType.ENCODING, video=video)
    await pod.execute("UPDATE runner_manager_task SET date_added = now() - interval '1 hour'")
    failing = "The submission fails (task 7), 3 times by now: The database refused a statement (57014)."
    manager = dict.fromkeys(ManagerEntry.__required_keys__) | {"id": 1, "name": "first", "site": 1}
    free = manager | {"is_active": True, "state": "closed", "full_since": {}, "full_for": {}, "opens_at": {}}

    async def answer(_: web.Request) -> web.Response:
        told = dict.fromkeys(State.__required_keys__) | {"queue": [], "problems": [], "not_ready": []}
        daemon = {"leader": True, "database_up": True, "dispatch_problems": [failing]}
        return web.json_response({**told, **daemon, "managers": [free]})

    site = web.Application()
    site.router.add_get("/api/status", answer)
    async with listening(site, Address("127.0.0.1", 0), "test") as address:
        pod.set("ops", listen=str(address))
        shown = await pod.run("tasks", "show", str(task))

    assert failing in shown.out
