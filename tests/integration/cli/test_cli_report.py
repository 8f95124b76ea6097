"""What runners did in a week, as text, JSON, HTML and mail."""

import asyncio
import html
import json
from typing import cast

from tests.integration.cli.conftest import Pod, written_in
from tests.plugins.postgres import database_with_journal as pod_database

__all__ = ["pod_database"]

_PAST = """
    INSERT INTO poddispatchd.ended_run
           (task_pk, task_type, status, runner_manager_id, owner_id, priority, waited, ran, ended_at)
    SELECT n, 'encoding', CASE WHEN n % 10 = 0 THEN 'failed' ELSE 'completed' END, $1,
           (SELECT min(id) FROM auth_user), 1, 60, 3600, now() - make_interval(hours => n)
      FROM generate_series(1, 40) AS n
"""
"""One runner at work without a pause."""


async def _pod_with_a_past(pod: Pod) -> None:
    assert (await pod.run("db", "init")).status == 0
    await pod.execute(_PAST, pod.world.managers[0].id)
    await pod.execute(
        "INSERT INTO poddispatchd.day_of_tasks"
        " (day, task_type, runner_manager_id, completed, failed, runs, ran)"
        " SELECT ended_at::date, task_type, runner_manager_id, count(*) FILTER (WHERE status = 'completed'),"
        " count(*) FILTER (WHERE status = 'failed'), count(ran), sum(ran)"
        " FROM poddispatchd.ended_run GROUP BY 1, 2, 3"
    )


async def test_a_report_adds_up(pod: Pod) -> None:
    await _pod_with_a_past(pod)

    found = cast("dict[str, list[dict[str, object]]]", (await pod.run("report", "--format", "json")).json())

    [encodings] = found["types"]
    assert (encodings["completed"], encodings["failed"], encodings["ran"]) == (36, 4, 144_000)
    assert (encodings["wait_middle"], encodings["run_long"]) == (60, 3600)
    [manager] = found["managers"]
    assert (manager["name"], manager["slots"]) == ("first", 1)
    assert round(cast("float", manager["utilisation"]), 2) == round(40 / (7 * 24), 2)
    [owner] = found["owners"]
    users = await pod.fetch("SELECT username FROM auth_user ORDER BY id LIMIT 1")
    assert (owner["name"], owner["tasks"]) == (users[0]["username"], 40)
    assert sum(cast("int", day["completed"]) for day in found["days"]) == 36


async def test_runs_whose_length_nobody_saw_took_no_time_of_a_runner(pod: Pod) -> None:
    """Each of them counted as if it had lasted since the beginning of the period."""
    await _pod_with_a_past(pod)
    await pod.execute("UPDATE poddispatchd.ended_run SET ran = NULL, waited = NULL")

    found = cast("dict[str, list[dict[str, object]]]", (await pod.run("report", "--format", "json")).json())

    [manager] = found["managers"]
    assert (manager["completed"], manager["ran"]) == (36, 0)


async def test_text_and_html_have_the_same_figures_and_a_period_is_kept(pod: Pod) -> None:
    await _pod_with_a_past(pod)

    text = (await pod.run("report")).out
    page = (await pod.run("report", "--format", "html")).out
    day = (await pod.run("report", "--days", "1")).out

    assert "36 tasks completed, 4 failed." in text
    assert "<p>36 tasks completed, 4 failed</p>" in page
    assert page.count("<svg") == 2
    assert "22 tasks completed, 2 failed." in day or "21 tasks completed, 2 failed." in day


async def test_a_page_in_another_encoding_shows_the_names_of_owners(pod: Pod) -> None:
    await _pod_with_a_past(pod)
    await pod.execute("UPDATE auth_user SET username = 'zoë 🎥' WHERE id = (SELECT min(id) FROM auth_user)")

    page = await asyncio.to_thread(
        written_in, "iso-8859-15", "-c", str(pod.config), "report", "--format", "html"
    )

    assert "zoë 🎥" in html.unescape(page.decode())


async def test_a_report_is_mailed_through_the_queue_of_deliveries(pod: Pod) -> None:
    await _pod_with_a_past(pod)
    refused = await pod.run("report", "--mail")
    pod.set("mail", enabled=True, admins=["ops@example.org"], from_email="pod@example.org", host="127.0.0.1")
    pod.set("mail", subject_prefix="[Pod]\n")

    sent = await pod.run("report", "--mail")

    assert (refused.status, "--mail needs mail.enabled" in refused.err) == (2, True)
    assert sent.out == "It waits in the queue of deliveries, for ops@example.org.\n"
    [row] = await pod.fetch("SELECT channel, state, content FROM poddispatchd.delivery")
    content = json.loads(str(row["content"]))
    assert (row["channel"], row["state"], content["to"]) == ("mail", "open", ["ops@example.org"])
    assert str(content["subject"]).startswith("[Pod] poddispatchd, ")
    assert content["subject"].endswith(": 36 completed, 4 failed")
    assert "36 tasks completed, 4 failed." in content["text"]


async def test_a_pod_in_which_nothing_ended_has_a_report_too(pod: Pod) -> None:
    assert (await pod.run("db", "init")).status == 0

    assert "0 tasks completed, 0 failed." in (await pod.run("report")).out
