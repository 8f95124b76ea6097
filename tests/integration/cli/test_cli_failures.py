"""Failures are reviewed on the terminal: by reason, restarted and dismissed together."""

import json
from typing import cast

import pytest

from poddispatchd.domain.task import TaskPk, TaskStatus, TaskType
from poddispatchd.sandbox.pod.world import add_task, add_video
from poddispatchd.tasks import failure_listing
from tests.integration.cli.conftest import Pod


async def _failed(pod: Pod, words: str, *, days_ago: float = 0.5, status: str = "failed") -> TaskPk:
    async with pod.database.connection() as connection:
        video = await add_video(connection, pod.world, title=f"About {words[:20]}")
        task = await add_task(connection, TaskType.ENCODING, video=video, status=TaskStatus(status))
        await connection.execute(
            "UPDATE runner_manager_task SET script_output = $2,"
            " date_added = now() - make_interval(secs => $3) WHERE id = $1",
            task,
            f"{words}\n---\nthe output of the script",
            days_ago * 86400,
        )
    return task


async def _groups(pod: Pod, *arguments: str) -> dict[str, dict[str, object]]:
    said = await pod.run("failures", "list", "--json", *arguments)
    assert said.status == 0, said.err
    return {str(group["reason"]): group for group in cast("list[dict[str, object]]", said.json())}


async def test_failures_are_grouped_by_reason_with_counts_dates_and_examples(pod: Pod) -> None:
    assert (await pod.run("db", "init")).status == 0
    for seconds in (3600, 18000):
        await _failed(pod, f"Script timeout after {seconds} seconds", status="timeout")
    old = await _failed(pod, "no audio stream", days_ago=40)
    await _failed(pod, "no audio stream")

    groups = await _groups(pod)

    assert {reason: group["tasks"] for reason, group in groups.items()} == {
        "Script timeout after N seconds": 2,
        "no audio stream": 1,
    }
    assert len(cast("list[str]", groups["Script timeout after N seconds"]["examples"])) == 2
    assert (await _groups(pod, "--since", "60d"))["no audio stream"]["tasks"] == 2
    listed = (await pod.run("failures", "list")).out
    assert "Script timeout after N seconds" in listed
    shown = (await pod.run("failures", "show", str(groups["no audio stream"]["group"])[:6])).out
    assert "About no audio stream" in shown
    assert str(old) not in [line.split()[0] for line in shown.splitlines() if line.split()]


async def test_that_there_are_more_failures_than_are_looked_at_is_told(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred thousand were called ten thousand, and dismissing these seemed to leave none."""
    monkeypatch.setattr(failure_listing, "MOST", 3)
    assert (await pod.run("db", "init")).status == 0
    for _ in range(3):
        await _failed(pod, "no audio stream")
    await _failed(pod, "no audio stream", days_ago=40)

    few = await pod.run("failures", "list", "--since", "60d")
    assert few.err.startswith("Only the newest 3 failed tasks were looked at")
    assert json.loads((await pod.run("failures", "list", "--json")).out)
    # Those that are left out are older than what was asked for.
    await pod.execute(
        "UPDATE runner_manager_task SET date_added = now() - interval '40 days'"
        " WHERE id IN (SELECT id FROM runner_manager_task WHERE status = 'failed' ORDER BY id LIMIT 2)"
    )
    assert (await pod.run("failures", "list")).err == ""


async def test_a_dismissed_group_is_not_shown_until_something_fails_for_its_reason_again(pod: Pod) -> None:
    assert (await pod.run("db", "init")).status == 0
    task = await _failed(pod, "no audio stream")
    [group] = (await _groups(pod)).values()

    dismissed = await pod.run("failures", "dismiss", str(group["group"]))

    assert dismissed.out == f"1 of {group['group']} are dismissed: no audio stream\n"
    # It was said not to exist, and `failures show` showed it.
    restarted = await pod.run("failures", "restart", str(group["group"]), "--yes")
    assert (restarted.status, "of failures that were not dismissed" in restarted.err) == (1, True)
    assert await _groups(pod) == {}
    assert (
        await pod.run("failures", "list")
    ).out == "Nothing has failed that was not restarted or dismissed.\n"
    assert len(await _groups(pod, "--all")) == 1
    # It was restarted, and failed once more.
    await pod.execute("UPDATE runner_manager_task SET date_added = now() WHERE id = $1", task)
    assert [group["tasks"] for group in (await _groups(pod)).values()] == [1]


async def test_a_group_is_restarted_together_once_a_person_agrees(pod: Pod) -> None:
    assert (await pod.run("db", "init")).status == 0
    tasks = [await _failed(pod, f"runner {n} is busy") for n in range(3)]
    other = await _failed(pod, "no audio stream")
    key = str((await _groups(pod))["runner N is busy"]["group"])

    rehearsed = await pod.run("failures", "restart", key, "--dry-run")
    unasked = await pod.run("failures", "restart", key)
    done = await pod.run("failures", "restart", key, "--yes")

    assert rehearsed.out.count("would begin again") == 3
    assert (unasked.status, "--yes restarts them" in unasked.err) == (2, True)
    assert (done.status, done.out.count("It waits again, last in the queue.")) == (0, 3)
    rows = await pod.fetch("SELECT id, status FROM runner_manager_task ORDER BY id")
    assert {row["id"]: row["status"] for row in rows} == {**dict.fromkeys(tasks, "pending"), other: "failed"}
    assert set(await _groups(pod)) == {"no audio stream"}


async def test_a_group_that_does_not_exist_is_said_so(pod: Pod) -> None:
    assert (await pod.run("db", "init")).status == 0
    said = await pod.run("failures", "show", "abc")

    assert (said.status, "There is no group 'abc'" in said.err) == (1, True)


async def test_an_empty_name_means_no_group(pod: Pod) -> None:
    """`failures restart "$GROUP" --yes` without the variable began all again, where there was one group."""
    assert (await pod.run("db", "init")).status == 0
    task = await _failed(pod, "no audio stream")

    said = await pod.run("failures", "restart", "", "--yes")

    assert (said.status, "There is no group ''" in said.err) == (1, True)
    [row] = await pod.fetch("SELECT status FROM runner_manager_task WHERE id = $1", task)
    assert row["status"] == "failed"


async def test_without_our_schema_it_says_what_to_do(pod: Pod) -> None:
    said = await pod.run("failures", "list")

    assert (said.status, "db upgrade" in said.err) == (1, True)
