"""Rows over which PostgreSQL ends the session: damage that its process dies of, a trigger, a timeout."""

import json

import pytest

from poddispatchd.domain.task import TaskType
from poddispatchd.sandbox.fake_runner_manager.faults import Behaviour, RunOutcome
from tests.acceptance.rig import Rig

_ENDED = "The database ends the session over a statement, time and again, and answers others"

_KILL = """
CREATE FUNCTION kill() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_terminate_backend(pg_backend_pid());
    PERFORM pg_sleep(60);
    RETURN NEW;
END $$
"""

_PLACES = {
    "intent": ("BEFORE INSERT ON poddispatchd.submission", "NEW.task_pk = {task}"),
    "answer": ("BEFORE UPDATE ON runner_manager_task", "NEW.id = {task} AND NEW.status = 'running'"),
    "result": ("BEFORE UPDATE ON runner_manager_task", "NEW.id = {task} AND NEW.status = 'completed'"),
    "failure": ("BEFORE UPDATE ON runner_manager_task", "NEW.id = {task} AND NEW.status = 'failed'"),
    "video": ("BEFORE UPDATE ON video_video", "NEW.id = {video}"),
}


@pytest.mark.parametrize("place", _PLACES)
async def test_one_of_them_is_told_and_holds_up_no_other_task(rig: Rig, place: str) -> None:
    """It was taken for the loss of the database: the same was tried 20 times a second, and nothing else was
    done; no line of the log, and not a word in the status, told of it."""
    first, *others = await rig.add(*[TaskType.ENCODING] * 4)
    [row] = await rig.fetch("SELECT video_id FROM runner_manager_task WHERE id = $1", first)
    if place == "failure":
        rig.manager.faults.behaviours.append(Behaviour(outcome=RunOutcome.FAILED, error="no"))
    when, condition = _PLACES[place]
    which = condition.format(task=first, video=row["video_id"])
    await rig.execute(_KILL)
    await rig.execute(f"CREATE TRIGGER kill {when} FOR EACH ROW WHEN ({which}) EXECUTE FUNCTION kill()")

    daemon = await rig.start()
    for task in others:
        await daemon.event("task.completed", task=task)
    problems: list[str] = []
    while not any(_ENDED in problem and f"(task {first})" in problem for problem in problems):
        await rig.look()
        state = json.loads((await rig.get("/api/status"))[1])
        problems = state["problems"]
    assert state["not_ready"] == []
    assert "Traceback" not in daemon.text

    await rig.execute("DROP FUNCTION kill() CASCADE")
    if place == "failure":
        await daemon.event("task.ended", task=first, status="failed")
    else:
        await daemon.event("task.completed", task=first)
        assert set((await rig.statuses()).values()) == {"completed"}
    assert len(rig.manager.submissions) == 4


async def test_timeouts_that_are_meant_for_others_end_no_session_of_ours(rig: Rig) -> None:
    """Results were fetched again every second, for ever, and each daemon lost its term every few seconds."""
    for name, value in (
        ("statement_timeout", "30ms"),
        ("idle_session_timeout", "300ms"),  # since PostgreSQL 14
        ("transaction_timeout", "30ms"),  # since PostgreSQL 17
    ):
        if await rig.fetch("SELECT FROM pg_settings WHERE name = $1", name):
            await rig.execute(f"ALTER DATABASE {rig.database.name} SET {name} = '{value}'")
    tasks = await rig.add(TaskType.ENCODING, TaskType.TRANSCRIPTION, TaskType.STUDIO)

    daemon = await rig.start()
    for task in tasks:
        await daemon.event("task.completed", task=task)
    await daemon.event("task.ended")

    assert not [entry for entry in daemon.entries if entry["level"] in ("warning", "error")]
