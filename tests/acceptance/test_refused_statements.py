"""The database refuses what the daemon has to write: it waits, tells why, and nothing is done twice."""

import asyncio
import json

import pytest

from poddispatchd.domain.task import TaskType
from tests.acceptance.process import Process
from tests.acceptance.rig import Rig

_SECRET = "hunter2"

_BY_A_TRIGGER = f"""
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the site does not want {_SECRET}'; END $$;
CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON video_encode_transcript_encodingstep
FOR EACH ROW EXECUTE FUNCTION refuse();
"""

_AS_A_FULL_DISK = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE OF status ON runner_manager_task
FOR EACH ROW EXECUTE FUNCTION refuse();
"""

_NO_LONGER = "DROP FUNCTION refuse() CASCADE"

_MIGRATION = """
ALTER TABLE video_video ADD COLUMN is_nouveau boolean NOT NULL DEFAULT false;
ALTER TABLE video_video ALTER COLUMN is_nouveau DROP DEFAULT;
"""


async def _until_told(rig: Rig, words: str) -> str:
    """Wait until the status has these words among its problems; all of them."""
    async with asyncio.timeout(60):
        while True:
            _, text = await rig.get("/api/status")
            problems = " ".join(json.loads(text).get("problems", []))
            if words in problems:
                return problems
            await asyncio.sleep(0.2)


def _lines(daemon: Process, *events: str) -> int:
    return sum(entry["event"] in events for entry in daemon.entries)


@pytest.mark.parametrize(
    ("refusal", "told", "words", "expected"),
    [
        # It may be about this one task: others will show.
        (_BY_A_TRIGGER, "service.crashed", "raise (P0001)", 200),
        (_AS_A_FULL_DISK, "service.failed", "its disk is full (53100)", 503),
    ],
    ids=["by a trigger of the site's", "as a full disk does"],
)
async def test_an_acceptance_that_is_refused_is_told_once_and_stored_when_it_can_be(
    rig: Rig, refusal: str, told: str, words: str, expected: int
) -> None:
    """It was tried 55 to 135 times a second, each time with a traceback."""
    daemon = await rig.start()
    await rig.execute(refusal)
    [task] = await rig.add(TaskType.ENCODING)

    problems = await _until_told(rig, "3 times by now")
    assert words in problems
    _, text = await rig.get("/api/status")
    [why] = [entry["why"] for entry in json.loads(text)["queue"] if entry["type"] == "encoding"]
    # Beside that problem, they were said to be submitted now.
    assert words in str(why)
    ready, _ = await rig.get("/health/ready")
    assert ready == expected
    # One line for each job that met it: the submission, and perhaps the callback.
    assert 1 <= _lines(daemon, told) <= 3

    await rig.execute(_NO_LONGER)
    await daemon.event("task.completed", task=task)
    await daemon.event("service.recovered", job="submission")
    assert len(rig.manager.tasks) == 1
    imported = await rig.fetch("SELECT state FROM poddispatchd.import")
    assert [row["state"] for row in imported] == ["done"]
    async with asyncio.timeout(30):
        while (await rig.get("/health/ready"))[0] != 200:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.2)
    assert _SECRET not in rig.everything_said()


async def test_a_result_that_the_database_does_not_take_is_told_and_imported_when_it_does(rig: Rig) -> None:
    """It was tried for ever, and nothing but lines of the log said so: no page, no check, no figure."""
    rig.set("log", level="info")
    [task] = await rig.add(TaskType.ENCODING)
    [row] = await rig.fetch("SELECT video_id FROM runner_manager_task")
    await rig.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN IF NEW.id = {row['video_id']} AND NEW.duration <> OLD.duration"
        f" THEN RAISE EXCEPTION 'the site does not want {_SECRET}'; END IF; RETURN NEW; END $$;"
        " CREATE TRIGGER refuse BEFORE UPDATE ON video_video FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    daemon = await rig.start()

    problems = await _until_told(rig, "The writing of a result fails (task 1)")
    assert "raise (P0001)" in problems
    [other] = await rig.add(TaskType.ENCODING)
    await daemon.event("task.completed", task=other)

    await rig.execute(_NO_LONGER)
    await daemon.event("task.completed", task=task)
    await daemon.event("service.recovered", job="writing of a result")
    assert len(rig.manager.tasks) == 2
    assert _SECRET not in rig.everything_said()


async def test_a_finished_result_waits_uncounted_while_pod_s_tables_are_newer_than_we_know(rig: Rig) -> None:
    """Pod is migrated under the daemon: finished results were counted out, and failed for good."""
    rig.set("imports", max_attempts=1)
    daemon = await rig.start()
    await rig.execute(_MIGRATION)
    await rig.execute("UPDATE recorder_recorder SET password = $1", _SECRET)
    [task] = await rig.add(TaskType.STUDIO)

    await daemon.event("schema.changed")
    problems = await _until_told(rig, "it wants a value for is_nouveau")
    assert "Results wait until poddispatchd is upgraded" in problems
    await daemon.event("import.retried", task=task)
    checked = await rig.run("check")
    assert checked.status == 3
    assert "is_nouveau" in checked.text
    assert (await rig.statuses())[task] == "running"

    await rig.execute("ALTER TABLE video_video ALTER COLUMN is_nouveau SET DEFAULT false")
    await daemon.event("task.completed", task=task)
    shown = await rig.run("tasks", "show", str(task))
    rows = await rig.fetch(
        "SELECT script_output, comment FROM runner_manager_task AS task"
        " JOIN recorder_recording AS recording ON recording.id = task.recording_id"
    )
    assert _SECRET not in f"{rig.everything_said()}{shown.text}{rows}"
