"""Answers of the listener, and what callbacks make of rows, on a Pod of our own."""

import asyncio
import gzip
import json

import pytest
from structlog.testing import capture_logs

from poddispatchd.database.connection_pool import ConnectionPool, PooledConnection
from poddispatchd.domain.script_output import LIMIT
from tests.integration.callbacks.bench import PATH, Bench, ShiftedClock, bench, open_imports
from tests.integration.callbacks.conftest import OTHER_TOKEN, TOKEN, Pod
from tests.integration.pod import rows as pod_rows

_JSON = ("Content-Type", "application/json")
_SIGNED = ("Authorization", f"Bearer {TOKEN}")
_OK = (200, {"status": "OK"})
_FORBIDDEN = (403, {"error": "Invalid Bearer token."})
_NOT_FOUND = (404, {"error": "Task not found."})


async def _call(webhook: Bench, token: str = TOKEN, **fields: object) -> tuple[int, object]:
    body = {"task_id": "t-1", "status": "running", **fields}
    answer = await webhook.call(token, json.dumps(body).encode())
    return answer.status, answer.json


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_only_post_is_taken(pod: Pod, method: str) -> None:
    async with bench(pod.database) as webhook:
        answer = await webhook.raw(method, PATH, [_JSON, _SIGNED], b"{}")
        assert (answer.status, answer.json) == (405, {"error": "Only POST requests are allowed."})


async def test_head_is_refused_without_a_body(pod: Pod) -> None:
    async with bench(pod.database) as webhook:
        answer = await webhook.raw("HEAD", PATH, [_JSON, _SIGNED], None)
        assert (answer.status, answer.body) == (405, b"")


async def test_checks_come_in_pods_order_but_the_token_before_the_body(pod: Pod) -> None:
    unknown_token = ("Authorization", "Bearer nobody's")
    unknown = b'{"task_id": "unknown"}'
    async with bench(pod.database) as webhook:
        for headers, body, status in (
            ([], b"x", 415),
            ([_JSON], b"x", 401),
            ([_JSON, ("Authorization", "Basic eDp5")], b"x", 401),
            ([_JSON, unknown_token], b"x", 403),
            ([_JSON, unknown_token], b"{}", 403),
            ([_JSON, unknown_token, ("Content-Encoding", "gzip")], b"x", 403),
            ([_JSON, ("Content-Encoding", "gzip")], b"x", 401),
            ([_JSON, _SIGNED, ("Content-Encoding", "gzip")], b"x", 415),
            ([_JSON, _SIGNED, ("Content-Encoding", "identity")], b"{}", 415),
            ([_JSON, _SIGNED], b"x", 400),
            ([_JSON, _SIGNED], b"{}", 400),
            ([_JSON, unknown_token], unknown, 403),
            ([_JSON, _SIGNED], unknown, 404),
        ):
            assert (await webhook.raw("POST", PATH, headers, body)).status == status
        await pod.running("unknown")
        assert (await webhook.raw("POST", PATH, [_JSON, _SIGNED], unknown)).status == 400


async def test_an_unauthenticated_client_learns_nothing_about_ids(pod: Pod) -> None:
    await pod.running()
    async with bench(pod.database) as webhook:
        for task_id in ("t-1", "unknown", "x" * 101, "a\0b"):
            for token in ("wrong", TOKEN[:-1], TOKEN.upper(), f'"{TOKEN}"', f"{TOKEN} {TOKEN}", "é", "\x80"):
                assert await _call(webhook, token, task_id=task_id) == _FORBIDDEN


async def test_the_token_of_another_manager_is_not_enough(pod: Pod) -> None:
    task = await pod.running()
    async with bench(pod.database) as webhook:
        assert await _call(webhook, OTHER_TOKEN, status="failed") == _FORBIDDEN
        assert (await pod.row(task))["status"] == "running"


async def test_of_two_managers_with_equal_ids_each_reports_its_own_task(pod: Pod) -> None:
    mine = await pod.running()
    theirs = await pod.running(runner_manager_id=pod.other)
    async with bench(pod.database) as webhook:
        assert await _call(webhook, OTHER_TOKEN, status="failed") == _OK
        await webhook.settle()
        assert ((await pod.row(mine))["status"], (await pod.row(theirs))["status"]) == ("running", "failed")


@pytest.mark.parametrize(
    ("stored", "sent"), [(" tok ", "tok"), ("tok", "  tok  "), ("tok\n", "tok"), ("a b", "a b")]
)
async def test_white_space_around_a_token_does_not_count(pod: Pod, stored: str, sent: str) -> None:
    await pod.connection.execute("UPDATE runner_manager SET token = $1 WHERE id = $2", stored, pod.manager)
    await pod.running()
    async with bench(pod.database) as webhook:
        assert await _call(webhook, sent) == _OK


async def test_a_token_beyond_ascii_is_known_as_pod_and_managers_send_it(pod: Pod) -> None:
    await pod.connection.execute("UPDATE runner_manager SET token = 'été' WHERE id = $1", pod.manager)
    await pod.running()
    async with bench(pod.database) as webhook:
        assert await _call(webhook, "été") == _OK
        assert await _call(webhook, "ete") == _FORBIDDEN


async def test_an_empty_token_in_pod_is_nobodys(pod: Pod) -> None:
    await pod.connection.execute("UPDATE runner_manager SET token = ' '")
    await pod.running()
    async with bench(pod.database) as webhook:
        assert await _call(webhook, "x") == _FORBIDDEN
        assert (await webhook.raw("POST", PATH, [_JSON, ("Authorization", "Bearer  ")], b"{}")).status == 401


async def test_a_new_token_counts_at_once_and_an_old_one_soon_no_more(pod: Pod) -> None:
    await pod.running()
    clock = ShiftedClock()
    async with bench(pod.database, clock=clock) as webhook:
        assert await _call(webhook) == _OK
        await pod.connection.execute("UPDATE runner_manager SET token = 'new' WHERE id = $1", pod.manager)
        clock.shift += 1
        assert await _call(webhook, "new") == _OK
        clock.shift += 5
        assert await _call(webhook) == _FORBIDDEN


async def test_a_task_without_a_manager_is_answered_as_pod_does(pod: Pod) -> None:
    await pod.running(runner_manager_id=None)
    async with bench(pod.database) as webhook:
        assert await _call(webhook) == (500, {"error": "Runner manager token is not configured."})


async def test_a_body_may_be_as_large_as_configured_and_no_larger(pod: Pod) -> None:
    task = await pod.running()
    async with bench(pod.database) as webhook:
        limit = webhook.parts.settings.webhook.max_body
        frame = len(json.dumps({"task_id": "t-1", "status": "failed", "script_output": ""}))
        assert await _call(webhook, status="failed", script_output="x" * (limit - frame)) == _OK
        status, body = await _call(webhook, status="failed", script_output="x" * (limit - frame + 1))
        assert (status, body) == (413, {"error": "The callback is larger than webhook.max_body."})
        await webhook.settle()
        output = str((await pod.row(task))["script_output"])
        assert LIMIT - 100 < len(output) <= LIMIT


async def test_megabytes_without_a_valid_token_are_not_read(pod: Pod) -> None:
    async with bench(pod.database) as webhook:
        reader, writer = await asyncio.open_connection(webhook.address.host, webhook.address.port)
        writer.write(
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            "Authorization: Bearer wrong\r\nContent-Length: 5000000\r\n\r\n{".encode()
        )
        # Not a byte more: the answer is there already.
        assert b" 403 " in await reader.readline()
        writer.close()


async def test_nothing_is_unpacked_for_anybody(pod: Pod) -> None:
    packed = ("Content-Encoding", "gzip")
    bomb = gzip.compress(b"[]," * 2**20)
    async with bench(pod.database) as webhook:
        for headers, status in (
            ([_JSON, packed], 401),
            ([_JSON, packed, ("Authorization", "Bearer wrong")], 403),
            ([_JSON, packed, _SIGNED], 415),
        ):
            assert (await webhook.raw("POST", PATH, headers, bomb)).status == status


async def test_a_success_leaves_the_row_running_and_asks_for_an_import_once(pod: Pod) -> None:
    task = await pod.running()
    async with bench(pod.database) as webhook:
        for _ in range(3):
            assert await _call(webhook, status="completed", error_message=None, script_output="out") == _OK
            await webhook.settle()
        row = await pod.row(task)
        assert (row["status"], row["script_output"]) == ("running", "out")
        assert await open_imports(pod.connection) == {(task, pod.manager, "t-1")}
        assert [state for _, state, _ in await pod.callbacks()] == ["applied", "ignored", "ignored"]


async def test_a_failure_is_shown_on_the_videos_page_and_once(pod: Pod) -> None:
    film = await pod_rows.video(pod.connection, encoding_in_progress=True)
    task = await pod.running(video_id=film)
    async with bench(pod.database) as webhook:
        for _ in range(2):
            assert await _call(webhook, status="failed", error_message="b" * 300) == _OK
            await webhook.settle()
        assert (await pod.row(task))["script_output"] == "b" * 300 + "\n---\n"
        step = await pod.connection.fetchrow("SELECT * FROM video_encode_transcript_encodingstep")
        assert step is not None
        assert (step["num_step"], step["desc_step"]) == (-1, "b" * 255)
        assert not await pod.connection.fetchval("SELECT encoding_in_progress FROM video_video")


async def test_a_failed_recording_says_why(pod: Pod) -> None:
    await pod.running(type_="studio")
    async with bench(pod.database) as webhook:
        await _call(webhook, status="timeout", error_message="too long")
        await webhook.settle()
        assert await pod.connection.fetchval("SELECT comment FROM recorder_recording") == "\ntoo long"


async def test_a_failure_that_another_try_may_cure_goes_back_into_the_queue(pod: Pod) -> None:
    task = await pod.running()
    async with bench(pod.database, max_attempts=2) as webhook:
        await _call(webhook, status="failed", error_message="Task process is no longer running")
        await webhook.settle()
        row = await pod.row(task)
        assert (row["status"], row["task_id"], row["rank"]) == ("pending", None, 1)
        # The submission was Pod's own: it counts all the same, and the next one must differ from it.
        [lost] = await pod.connection.fetch("SELECT * FROM poddispatchd.submission")
        assert (lost["attempt"], lost["state"], lost["task_id"]) == (1, "lost", "t-1")
        await pod.connection.execute(
            "UPDATE runner_manager_task SET status = 'running', task_id = 't-2', runner_manager_id = $1",
            pod.manager,
        )
        await pod.connection.execute(
            "INSERT INTO poddispatchd.submission (task_pk, task_type, runner_manager_id, attempt, body,"
            " state, task_id, date_added) SELECT id, 'encoding', $2, 2, '', 'accepted', 't-2', date_added"
            " FROM runner_manager_task WHERE id = $1",
            task,
            pod.manager,
        )
        await _call(
            webhook, task_id="t-2", status="failed", error_message="Task process is no longer running"
        )
        await webhook.settle()
        assert (await pod.row(task))["status"] == "failed"


async def test_a_task_that_failed_and_was_done_after_all_is_imported(pod: Pod) -> None:
    task = await pod.running()
    async with bench(pod.database) as webhook:
        for status in ("failed", "completed"):
            await _call(webhook, status=status, error_message="boom" if status == "failed" else None)
            await webhook.settle()
        assert (await pod.row(task))["status"] == "running"
        assert await open_imports(pod.connection) == {(task, pod.manager, "t-1")}


@pytest.mark.parametrize("late", ["failed", "timeout"])
async def test_a_failure_that_arrives_after_the_success_that_cured_it_stops_nothing(
    pod: Pod, late: str
) -> None:
    # The manager repeats a callback that it could not deliver, and meanwhile a newer one got through.
    task = await pod.running()
    async with bench(pod.database) as webhook:
        for status in ("completed", late):
            assert (
                await _call(webhook, status=status, error_message="Task process is no longer running") == _OK
            )
            await webhook.settle()
        assert (await pod.row(task))["status"] == "running"
        assert await open_imports(pod.connection) == {(task, pod.manager, "t-1")}


@pytest.mark.parametrize("status", ["completed", "failed", "timeout", "running", "warning", "pending"])
async def test_a_completed_task_is_left_alone(pod: Pod, status: str) -> None:
    task = await pod.running(status="completed", script_output="old")
    before = await pod.row(task)
    async with bench(pod.database) as webhook:
        assert await _call(webhook, status=status, script_output="new") == _OK
        await webhook.settle()
    assert await pod.row(task) == before
    assert await open_imports(pod.connection) == set()


async def test_a_callback_about_a_run_that_was_given_up_changes_nothing_and_alarms_nobody(pod: Pod) -> None:
    """A cancelled run is stopped on its runner, whose manager then calls: that is as it should be."""
    async with bench(pod.database) as webhook:
        assert await _call(webhook, status="failed") == _NOT_FOUND
        await pod.connection.execute(
            "INSERT INTO poddispatchd.submission (task_pk, task_type, runner_manager_id, attempt, body,"
            " state, task_id, reason) VALUES (1, 'encoding', $1, 1, '', 'lost', 't-1', 'Cancelled by root.')",
            pod.manager,
        )
        with capture_logs() as logged:
            assert await _call(webhook, status="failed") == _OK
            await webhook.settle()
        words = "a run of task 1 that counts no more: Cancelled by root."
        assert await pod.callbacks() == [("t-1", "ignored", words)]
        [ignored] = [entry for entry in logged if entry["event"] == "callback.ignored"]
        assert (ignored["log_level"], ignored["reason"]) == ("info", words)


async def test_asking_whether_anybody_is_there_alarms_nobody(pod: Pod) -> None:
    async with bench(pod.database) as webhook:
        with capture_logs() as logged:
            assert (await webhook.raw("GET", PATH, [], None)).status == 405
            assert (await webhook.call("nobodys-token", task_id="t-1", status="failed")).status == 403
    assert [entry["log_level"] for entry in logged if entry["event"] == "callback.refused"] == [
        "info",
        "warning",
    ]


async def test_texts_of_handled_callbacks_are_not_kept(pod: Pod) -> None:
    await pod.running()
    async with bench(pod.database) as webhook:
        await _call(webhook, script_output="x" * 1000, error_message="e")
        await webhook.settle()
    assert await pod.connection.fetchval(
        "SELECT script_output IS NULL AND error_message IS NULL FROM poddispatchd.callback"
    )


async def test_a_token_that_a_runner_repeats_is_kept_nowhere(pod: Pod) -> None:
    pk = await pod.running()
    said = (
        f"curl -H 'Authorization: Bearer {TOKEN}' {TOKEN}\nfailed: 403 of {OTHER_TOKEN}, put the token right"
    )
    async with bench(pod.database) as webhook:
        with capture_logs() as logged:
            answer = await _call(webhook, status="failed", error_message=said, script_output=said)
            assert answer == _OK
            kept = await pod.connection.fetch(
                "SELECT error_message, script_output FROM poddispatchd.callback"
            )
            await webhook.inbox.drain()
    row = await pod.row(pk)
    everything = f"{logged} {kept} {row} {await pod.connection.fetch('SELECT * FROM poddispatchd.notice')}"
    assert TOKEN not in everything
    assert OTHER_TOKEN not in everything
    assert "put the token right" in str(row["script_output"])


async def test_the_answer_waits_for_the_commit_and_for_nothing_after_it(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pod.running()
    is_answered = asyncio.Event()
    give_back = ConnectionPool.give_back

    async def late(self: ConnectionPool, connection: PooledConnection, *, is_sound: bool) -> None:
        await is_answered.wait()
        await give_back(self, connection, is_sound=is_sound)

    async with bench(pod.database) as webhook:
        assert await _call(webhook, script_output="one\n") == _OK  # and the tokens are read
        with capture_logs() as lines, monkeypatch.context() as patch:
            patch.setattr(ConnectionPool, "give_back", late)
            assert await _call(webhook, script_output="two\n") == _OK
            assert [state for _, state, _ in await pod.callbacks()] == ["open", "open"]
            is_answered.set()
            await webhook.settle()
    assert [line["event"] for line in lines if line["event"] == "callback.received"] == ["callback.received"]
