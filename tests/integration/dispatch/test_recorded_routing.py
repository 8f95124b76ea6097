"""Recorded routing: which manager is asked for which task, in which order, and what becomes of the rows.

Every case is replayed. Pod asks one manager after the other; here each is asked for one task at a time, and
all of them side by side. Where a case ends otherwise here, ``BETTER`` says how, and why that is right.
"""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from poddispatchd.runner import transport
from poddispatchd.sandbox.pod.schema import SchemaVariant
from poddispatchd.sandbox.postgresql import PostgresServer
from tests.integration.dispatch.replay import Replay, Step, recorded, replaying
from tests.integration.dispatch.rewinding import RewindingWorld
from tests.integration.dispatch.scene import bring_in
from tests.plugins.shared_world import copied_world
from tests.shared import SHARED

_CASES: list[dict[str, Any]] = (
    json.loads((SHARED / "vectors" / "routing.json").read_bytes())["cases"] if SHARED else []
)

NO_COUNTERPART = {"ev-unknown-video": "Pod's pages add no row for what does not exist: nothing can be seen"}
"""Cases that a daemon cannot meet."""


@dataclass(frozen=True, slots=True)
class Better:
    """What happens here instead, step by step.

    ``then`` are steps that follow those of the case: the callbacks that came are applied, what runs is asked
    about, or so many seconds pass. ``also`` is SQL that sharpens the case.
    """

    why: str
    steps: tuple[Step, ...]
    then: tuple[str | float, ...] = ()
    also: tuple[str, ...] = ()


def _better(why: str, *steps: tuple[str, str], then: tuple[str | float, ...] = (), also: str = "") -> Better:
    """Rows are written in one line, parted by commas."""
    return Better(
        why,
        tuple(Step(requests, tuple(filter(None, rows.split(", ")))) for requests, rows in steps),
        then,
        (also,) if also else (),
    )


def _twice(why: str, requests: str, rows: str, *, also: str = "") -> Better:
    """A first run that does everything, and a second one that finds nothing to do."""
    return _better(why, (requests, rows), ("", rows), also=also)


def _left_alone(why: str) -> Better:
    """The first manager refuses the first task: the second one gets both."""
    return _twice(why, "rm1:31 rm2:32 / rm2:31", "9001 running rm2-2, 9002 running rm2-1")


def _taken(why: str) -> Better:
    """Each manager takes a task."""
    return _twice(why, "rm1:31 rm2:32", "9001 running rm1-1, 9002 running rm2-1")


_FULL = "a full manager is asked again after a callback or a wait, not for each task (I9)"
_FAILING = "a manager that fails is left alone for a moment, not asked for each task (I9)"
_WRONG = "a manager that refuses us is left alone until a person, or its health check, says otherwise (I9)"
_PICKY = "a manager that refuses this very task gets the others"
_NO_ID = "without an id that can be stored it is no acceptance"
_ANY_2XX = "any 2xx with an id is an acceptance"
_WHATEVER_STATUS = "with an id it runs, whatever the status says"
_LOST = (
    "what got no answer may have been accepted: the same bytes are posted again to the same manager, and"
    " another one gets the task only when that one has been down for long (I3)"
)
_OWN_SITE = "a task is done by the managers of its own site, whatever SITE_ID is"
_ASK_ALL = "rm1:31 rm2:s1 / rm1:s1 rm2:31 / rm1:t41 rm3:31 / rm2:t41 rm3:s1 / rm3:t41"
_ALL_WAIT = "9001 pending #1, 9002 pending #4, 9003 pending #5, 9051 pending #2, 9061 pending #3"
_GIVEN_AWAY = "rm1:31 / rm2:31"
_LONG_ID = "x" * 101

BETTER: Mapping[str, Better] = {
    # --- turns ---
    "pt-equal-priority": _better(
        "equal priorities take turns",
        (
            "rm1:31 rm2:32 / rm1:33 rm2:34 / rm1:35 rm2:36",
            "9001 running rm1-1, 9002 running rm2-1, 9003 running rm1-2, 9004 running rm2-2,"
            " 9005 running rm1-3, 9006 running rm2-3",
        ),
    ),
    "ev-then-pt": _better(
        "equal priorities take turns, whoever wants something: rm1 had the last task",
        ("rm1:31", "29 running rm1-1"),
        ("", "29 running rm1-1, 9101 pending #1, 9102 pending #2"),
        ("rm1:42 rm2:41", "29 running rm1-1, 9101 running rm2-1, 9102 running rm1-2"),
    ),
    "ev-history-old-date-new-id": _better(
        "who was given a task last is remembered: here rm1, with a task that had waited for long",
        ("rm2:31", "29 running rm2-1, 8001 completed rm2:x, 8002 failed rm1:y"),
        ("rm1:32", "29 running rm2-1, 30 running rm1-1, 8001 completed rm2:x, 8002 failed rm1:y"),
        also="INSERT INTO poddispatchd.manager_state (id, last_given_at)"
        " VALUES (1, '2026-02-06 00:00+00'), (2, '2026-02-05 00:00+00')",
    ),
    "pt-max-2": _better(
        "equal priorities take turns; the limit is one for each type, as Pod's",
        (
            "rm1:31 rm2:s1 / rm1:t41 rm2:32 / rm1:s2 rm2:t42",
            "9001 running rm1-1, 9002 running rm2-2, 9003 pending #1, 9004 pending #4, 9005 pending #5,"
            " 9051 running rm2-1, 9052 running rm1-3, 9053 pending #2,"
            " 9061 running rm1-2, 9062 running rm2-3, 9063 pending #3",
        ),
        (
            "rm1:33 rm2:s3 / rm1:t43 rm2:34",
            "9001 running rm1-1, 9002 running rm2-2, 9003 running rm1-4, 9004 running rm2-5, 9005 pending #1,"
            " 9051 running rm2-1, 9052 running rm1-3, 9053 running rm2-4,"
            " 9061 running rm1-2, 9062 running rm2-3, 9063 running rm1-5",
        ),
    ),
    # --- sites: see also the test below, where the videos are moved ---
    "pt-site2": _better(_OWN_SITE, ("rm1:31 rm2:32", "9001 running rm1-1, 9002 running rm2-1")),
    "pt-option-site": _better(_OWN_SITE, ("", "9001 pending #1, 9002 pending #2")),
    "ev-site2": _better(
        _OWN_SITE,
        ("rm1:31", "29 running rm1-1"),
        ("rm2:32", "29 running rm1-1, 30 running rm2-1"),
    ),
    # --- refusals ---
    "pt-rm1-503": _left_alone(_FULL),
    "pt-rm1-500": _left_alone(_FAILING),
    "pt-rm1-403": _left_alone(_WRONG),
    "pt-rm1-404": _left_alone(_WRONG),
    "pt-rm1-422": _left_alone(_PICKY),
    "pt-rm1-400": _left_alone(_PICKY),
    "pt-rm1-html-200": _left_alone(_FAILING),
    "pt-rm1-list-200": _left_alone(_FAILING),
    "pt-rm1-string-200": _left_alone(_FAILING),
    "pt-rm1-number-200": _left_alone(_FAILING),
    "pt-rm1-empty-object": _left_alone(_NO_ID),
    "pt-rm1-no-taskid": _left_alone(_NO_ID),
    "pt-rm1-taskid-empty": _left_alone(_NO_ID),
    "pt-rm1-taskid-list": _left_alone(_NO_ID),
    "pt-rm1-taskid-101": _twice(
        f"{_NO_ID}, and what cannot be watched is stopped",
        f"rm1:31 rm1:stop {_LONG_ID} rm2:32 / rm2:31",
        "9001 running rm2-2, 9002 running rm2-1",
    ),
    "pt-rm1-redirect-302": _left_alone("tasks and tokens go to the manager configured, not where it points"),
    "pt-transcription-rm1-empty-200": _twice(_NO_ID, "rm1:t31 / rm2:t31", "9001 running rm2-1"),
    "ev-rm1-503": _better(
        _FULL,
        ("rm1:31 / rm2:31", "29 running rm2-1"),
        ("rm2:32", "29 running rm2-1, 30 running rm2-2"),
        ("rm2:33", "29 running rm2-1, 30 running rm2-2, 31 running rm2-3"),
        ("", "29 running rm2-1, 30 running rm2-2, 31 running rm2-3"),
    ),
    "ev-rm1-html-200": _better(
        _FAILING,
        ("rm1:31 / rm2:31", "29 running rm2-1"),
        ("rm2:32", "29 running rm2-1, 30 running rm2-2"),
        ("rm2:33", "29 running rm2-1, 30 running rm2-2, 31 running rm2-3"),
        ("", "29 running rm2-1, 30 running rm2-2, 31 running rm2-3"),
    ),
    "pt-all-503": _better(
        "nobody is asked twice for one type of task, and nobody at all before the wait is over",
        (_ASK_ALL, _ALL_WAIT),
        ("", _ALL_WAIT),
        (_ASK_ALL, _ALL_WAIT),
        then=(16.0,),
    ),
    "pt-all-401": _better(_WRONG, ("rm1:31 rm2:s1 / rm3:31", _ALL_WAIT), ("", _ALL_WAIT)),
    "ev-all-503": _better(
        _FULL,
        ("rm1:31 / rm2:31 / rm3:31", "29 pending #1"),
        ("", "29 pending #1, 30 pending #2"),
        ("rm1:31 rm2:32 / rm3:31", "29 pending #1, 30 pending #2"),
        then=(16.0,),
    ),
    "pt-503-then-ok": _better(
        _FULL,
        ("rm1:31 rm2:32 / rm2:31 / rm2:33", "9001 running rm2-2, 9002 running rm2-1, 9003 running rm2-3"),
        ("", "9001 running rm2-2, 9002 running rm2-1, 9003 running rm2-3"),
    ),
    "pt-capacity-2": _twice(
        f"equal priorities take turns, and {_FULL}",
        "rm1:31 rm2:32 / rm1:33 rm2:34 / rm1:35 rm2:36 / rm3:35 / rm3:36",
        "9001 running rm1-a, 9002 running rm2-a, 9003 running rm1-b, 9004 running rm2-b,"
        " 9005 running rm3-1, 9006 running rm3-2",
    ),
    # --- no answer ---
    "pt-rm1-close": _better(
        _LOST,
        ("rm1:31 rm2:32", "9001 pending #1, 9002 running rm2-1"),
        ("", "9001 pending #1, 9002 running rm2-1"),
        ("rm1:31", "9001 pending #1, 9002 running rm2-1"),
        (_GIVEN_AWAY, "9001 running rm2-2, 9002 running rm2-1"),
        then=(31.0, 700.0),
    ),
    "ev-rm1-close": _better(
        _LOST,
        ("rm1:31", "29 pending #1"),
        ("rm2:32", "29 pending #1, 30 running rm2-1"),
        ("rm2:33", "29 pending #1, 30 running rm2-1, 31 running rm2-2"),
        ("", "29 pending #1, 30 running rm2-1, 31 running rm2-2"),
        ("rm1:31", "29 pending #1, 30 running rm2-1, 31 running rm2-2"),
        (_GIVEN_AWAY, "29 running rm2-3, 30 running rm2-1, 31 running rm2-2"),
        then=(31.0, 700.0),
    ),
    "pt-timeout": _better(
        _LOST,
        ("rm1:31", "9001 pending #1"),
        ("rm1:31", "9001 pending #1"),
        (_GIVEN_AWAY, "9001 running rm2-1"),
        then=(31.0, 700.0),
    ),
    "ev-timeout": _better(
        _LOST,
        ("rm1:31", "29 pending #1"),
        ("rm1:31", "29 pending #1"),
        (_GIVEN_AWAY, "29 running rm2-1"),
        then=(31.0, 700.0),
    ),
    # --- acceptances ---
    "pt-rm1-201": _taken(_ANY_2XX),
    "pt-rm1-202": _taken(_ANY_2XX),
    "pt-rm1-status-pending": _taken(_WHATEVER_STATUS),
    "pt-rm1-status-31": _taken(_WHATEVER_STATUS),
    "pt-rm1-status-odd": _taken(_WHATEVER_STATUS),
    "pt-rm1-status-completed": _taken("it runs until its result is fetched: see the test below"),
    "pt-studio-rm1-no-status": _twice(_WHATEVER_STATUS, "rm1:s1", "9001 running rm1-1"),
    "pt-transcription-rm1-no-status": _twice(_WHATEVER_STATUS, "rm1:t31", "9001 running rm1-1"),
    "pt-rm1-json-as-html": _twice(
        "JSON is JSON, as for Pod; equal priorities take turns",
        "rm1:31 rm2:32",
        "9001 running rm1-h, 9002 running rm2-1",
    ),
    "pt-rm1-same-id": _twice(
        "the id of one task is no other one's, and a manager that insists is left alone",
        "rm1:31 / rm1:32 / rm1:32 / rm3:32",
        "9001 running rm1:constant, 9002 running rm3-1",
        also="UPDATE runner_manager SET is_active = false WHERE id = 2",
    ),
    # --- several rows of one source, and what happens meanwhile ---
    "ev-existing-running": _better(
        "a source that runs is not submitted again: the new task waits",
        ("", "29 pending #1, 9001 running rm1:old"),
    ),
    "ev-two-pending": _better(
        "the source runs once, and its other task ends as that one did",
        ("rm1:31", "9001 running rm1-1, 9002 pending #1"),
        ("", "9001 completed rm1-1, 9002 completed rm1-1"),
        then=("complete",),
    ),
    "ev-existing-pending-refused": _better(
        "a task that waits with an id may run already: its manager is asked, then the id goes, and the task"
        " waits for a while",
        ("", "9001 pending rm3:old-id #1"),
        ("rm3:status old-id rm3:status old-id", "9001 pending #1"),
        ("", "9001 pending #1"),
        ("rm1:31 / rm2:31 / rm3:31", "9001 pending #1"),
        then=("reconcile", 0.0, 20.0),
    ),
    "ev-missing-file": _better(
        "what cannot be done fails, in words, instead of being tried", ("", "29 failed")
    ),
    "race-callback-before-answer-running": _better(
        "a callback that beats the answer is kept",
        ("rm1:31", "9001 running rm1-1"),
        ("", "9001 running rm1-1"),
        then=("callbacks",),
    ),
    "race-callback-before-answer-failed": _better(
        "a callback that beats the answer is kept",
        ("rm1:31", "9001 running rm1-1"),
        ("", "9001 failed rm1-1"),
        then=("callbacks",),
    ),
    "race-callback-before-answer-completed": _better(
        "a callback that beats the answer is kept",
        ("rm1:31", "9001 running rm1-1"),
        ("", "9001 running rm1-1 importing"),
        then=("callbacks",),
    ),
    "race-deleted-during": _better(
        "what a person deletes stays deleted, and its run is stopped", ("rm1:31 rm1:stop rm1-1", "")
    ),
}
"""What happens here where Pod does something else, and why."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RewindingWorld]:
    async with copied_world(postgres, SchemaVariant.PODFILE, tmp_path_factory.mktemp("routing")) as copy:
        rewinding = RewindingWorld(copy)
        await rewinding.keep()
        yield rewinding


@pytest.fixture(autouse=True)
def quick_to_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for an answer counts from a connection, which on this machine takes no time."""
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT", 1.0)


def _case(name: str) -> dict[str, Any]:
    [found] = [case for case in _CASES if case["id"] == name]
    return found


def _cases(*names: str) -> list[dict[str, Any]]:
    return [_case(name) for name in names] if SHARED else []


async def _then(replay: Replay, action: str | float) -> Step:
    match action:
        case "callbacks":
            return await replay.callbacks()
        case "reconcile":
            return await replay.reconcile()
        case "complete":
            await bring_in(replay.connection)
            await replay.connection.execute(
                "UPDATE runner_manager_task SET status = 'completed' WHERE status = 'running'"
            )
            return await replay.settle()
        case seconds:
            return await replay.wait(float(seconds))


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case["id"]) for case in _CASES if case["id"] not in NO_COUNTERPART]
)
async def test_tasks_go_where_pod_sent_them_or_should_have(
    world: RewindingWorld, case: dict[str, Any]
) -> None:
    better = BETTER.get(case["id"])
    async with replaying(world, case, also=better.also if better else ()) as replay:
        found = [await replay.step(step["stimulus"]) for step in case["steps"]]
        if better is None:
            assert [recorded(step) for step in case["steps"]] == [step.in_a_row for step in found]
            return
        found += [await _then(replay, action) for action in better.then]
        assert list(better.steps) == found, better.why
        assert set(replay.manager.answers) <= {200}


@pytest.mark.parametrize(
    "case", _cases("pt-site2", "pt-option-site", "ev-site2"), ids=lambda case: case["id"]
)
async def test_videos_of_the_second_site_go_where_pod_sends_them(
    world: RewindingWorld, case: dict[str, Any]
) -> None:
    moved = ["UPDATE video_video_sites SET site_id = 2 WHERE video_id IN (31, 32)"]
    async with replaying(world, case, also=moved) as replay:
        found = [await replay.step(step["stimulus"]) for step in case["steps"]]
    assert [recorded(step) for step in case["steps"]] == [step.in_a_row for step in found]


@pytest.mark.parametrize("case", _cases("pt-rm1-status-completed"), ids=lambda case: case["id"])
async def test_what_has_ended_when_it_is_accepted_is_asked_about_and_imported(
    world: RewindingWorld, case: dict[str, Any]
) -> None:
    done = {"status": 200, "json": {"task_id": "rm1-1", "status": "completed"}}
    other = {"status": 200, "json": {"task_id": "rm2-1", "status": "running"}}
    runner = {"rm1": case["runner"]["rm1"] | {"status": {"rm1-1": done}}, "rm2": {"status": {"rm2-1": other}}}
    async with replaying(world, case | {"runner": runner}) as replay:
        rings = replay.daemon.parts.wakeups.reconciler.rings
        await replay.step({"do": "process_tasks"})
        assert replay.daemon.parts.wakeups.reconciler.rings > rings
        rows = (await replay.reconcile()).rows
    assert rows == ("9002 running rm2-1", "9001 running rm1-1 importing")


@pytest.mark.parametrize("cases", [_CASES] if SHARED else [], ids=["all"] if SHARED else None)
def test_the_table_speaks_of_every_bug_and_of_nothing_else(cases: list[dict[str, Any]]) -> None:
    names = {case["id"] for case in cases}
    bugs = {case["id"] for case in cases if case.get("upstream_bug")}
    # Nothing was asked and no row was there, whatever the page wanted.
    invisible = {
        case["id"]
        for case in cases
        if not any(
            step["expect"]["tasks_after"] or step["expect"]["requests_in_order"] for step in case["steps"]
        )
    }
    assert len(cases) == 65
    assert bugs <= BETTER.keys() <= names
    assert invisible == NO_COUNTERPART.keys()
