"""One bad callback, or one silent manager, never holds up the others (invariant I12)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from poddispatchd.callbacks import adoption
from poddispatchd.callbacks import worker as worker_module
from poddispatchd.database.pool import Connection
from poddispatchd.database.sqlstates import translate
from poddispatchd.domain.lifecycle import Decision, Retries
from poddispatchd.domain.task import Task
from poddispatchd.errors import DatabaseUnavailableError
from poddispatchd.runtime import queue_tables
from poddispatchd.runtime.queue_tables import CALLBACKS
from poddispatchd.tasks.run_report import RunReport
from poddispatchd.tasks.transitions import apply_report
from tests.integration.callbacks.bench import Bench, bench
from tests.integration.callbacks.conftest import OTHER_TOKEN, TOKEN, Pod
from tests.integration.cancelling import CANCEL
from tests.integration.pod import rows

_POISON = "t-0"


async def _due_again(pod: Pod) -> None:
    await pod.connection.execute(
        "UPDATE poddispatchd.callback SET next_attempt_at = now(), lease_expires_at = NULL"
    )


async def _three_failures(pod: Pod, webhook: Bench) -> None:
    for number in range(3):
        await pod.running(f"t-{number}")
        answer = await webhook.call(TOKEN, task_id=f"t-{number}", status="failed", error_message="Bad medium")
        assert answer.status == 200


def _poisoned(monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> None:
    """Let the first run's reports end in an error, or hang."""

    async def apply(
        connection: Connection, task: Task, report: RunReport, *, retries: Retries, language: str
    ) -> Decision:
        if task.task_id == _POISON:
            if error is not None:
                raise error
            await asyncio.Event().wait()
        return await apply_report(connection, task, report, retries=retries, language=language)

    monkeypatch.setattr(worker_module, "apply_report", apply)


async def _states(pod: Pod) -> dict[str, tuple[str, int]]:
    found = await pod.connection.fetch("SELECT task_id, state, attempts FROM poddispatchd.callback")
    return {row["task_id"]: (row["state"], row["attempts"]) for row in found}


async def test_a_callback_that_cannot_be_applied_is_set_aside_in_the_end_and_the_others_never_wait(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended the batch, and led the next one, for ever."""
    _poisoned(monkeypatch, ValueError("one odd row: secret"))
    async with bench(pod.database) as webhook:
        await _three_failures(pod, webhook)
        await webhook.inbox.step()
        assert await _states(pod) == {_POISON: ("open", 1), "t-1": ("applied", 1), "t-2": ("applied", 1)}
        # It waits, longer each time: nothing spins.
        assert await webhook.inbox.step() > 0.1
        for _ in range(CALLBACKS.table.max_attempts):
            await _due_again(pod)
            await webhook.inbox.step()
        assert (await _states(pod))[_POISON] == ("set_aside", CALLBACKS.table.max_attempts)
        [item] = (await queue_tables.set_aside(pod.connection))["callbacks"]
        assert (item.task, "ValueError" in item.words, "secret" in item.words) == (_POISON, True, False)
        assert await queue_tables.set_aside_counts(pod.connection) == {
            **dict.fromkeys(queue_tables.QUEUES, 0),
            "callbacks": 1,
        }
        # The bug is mended, and a person has it tried again: its texts are still there.
        monkeypatch.undo()
        assert await CALLBACKS.retry(pod.connection, item.key)
        await webhook.settle()
        assert (await _states(pod))[_POISON] == ("applied", 1)


async def test_a_callback_that_hangs_has_a_time_of_its_own(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_LONGEST_ITEM", 1.0)
    _poisoned(monkeypatch, None)
    async with bench(pod.database) as webhook:
        await _three_failures(pod, webhook)
        async with asyncio.timeout(10):
            await webhook.inbox.step()
        assert await _states(pod) == {_POISON: ("open", 1), "t-1": ("applied", 1), "t-2": ("applied", 1)}
        words = await pod.connection.fetchval(
            "SELECT last_error FROM poddispatchd.callback WHERE state = 'open'"
        )
        assert words == "It took longer than 1 s."


async def test_a_callback_whose_statement_the_server_cancels_holds_up_no_other(pod: Pod) -> None:
    """It ended each look at the inbox, and the inbox rested for up to a minute."""
    async with bench(pod.database) as webhook:
        await _three_failures(pod, webhook)
        await pod.connection.execute(CANCEL.format(condition=f"NEW.task_id = '{_POISON}'"))
        await webhook.inbox.step()
        assert await _states(pod) == {_POISON: ("open", 0), "t-1": ("applied", 1), "t-2": ("applied", 1)}

        await pod.connection.execute("DROP FUNCTION cancel CASCADE")
        await _due_again(pod)
        await webhook.inbox.step()
        assert (await _states(pod))[_POISON] == ("applied", 1)


async def test_a_row_that_nobody_can_read_holds_up_no_other(pod: Pod) -> None:
    async with bench(pod.database) as webhook:
        await _three_failures(pod, webhook)
        await pod.connection.execute(
            "UPDATE poddispatchd.callback SET status = 'exploded' WHERE task_id = $1", _POISON
        )
        await webhook.inbox.step()
        assert await _states(pod) == {_POISON: ("open", 1), "t-1": ("applied", 1), "t-2": ("applied", 1)}


async def test_what_the_database_refuses_for_its_own_reasons_counts_for_no_callback(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    cause = asyncpg.UndefinedColumnError("DETAIL: Failing row contains (secret)")
    _poisoned(monkeypatch, translate(cause))
    async with bench(pod.database) as webhook:
        await _three_failures(pod, webhook)
        for _ in range(3):
            await webhook.inbox.step()
            await _due_again(pod)
        assert (await _states(pod))[_POISON] == ("open", 0)
        words = await pod.connection.fetchval(
            "SELECT last_error FROM poddispatchd.callback WHERE state = 'open'"
        )
        assert "42703" in words
        assert "secret" not in words


async def test_a_database_lost_amid_a_batch_leaves_nothing_leased(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(pod.database) as webhook:
        await _three_failures(pod, webhook)
        with monkeypatch.context() as patch:
            _poisoned(patch, DatabaseUnavailableError())
            with pytest.raises(DatabaseUnavailableError):
                await webhook.inbox.step()
        await webhook.settle()
        assert await _states(pod) == dict.fromkeys((_POISON, "t-1", "t-2"), ("applied", 1))


async def test_a_later_callback_about_a_task_does_not_wait_for_one_that_is_tried_again(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(pod.database) as webhook:
        with monkeypatch.context() as patch:
            _poisoned(patch, ValueError("one odd row"))
            await _three_failures(pod, webhook)
            await webhook.inbox.step()
        await webhook.call(TOKEN, task_id=_POISON, status="running", script_output="alive\n")
        await webhook.inbox.step()
        found = await pod.connection.fetch(
            "SELECT state FROM poddispatchd.callback WHERE task_id = $1 ORDER BY id", _POISON
        )
        assert [row["state"] for row in found] == ["open", "applied"]


@asynccontextmanager
async def _silent_manager() -> AsyncIterator[str]:
    """It takes every connection, and says nothing."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_many_unknown_ids_of_a_silent_manager_do_not_hold_up_the_callbacks_of_others(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adoption, "_ANSWERED_WITHIN", 3600.0)
    async with _silent_manager() as url, bench(pod.database) as webhook:
        await pod.connection.execute("UPDATE runner_manager SET url = $1 WHERE id = $2", url, pod.manager)
        await webhook.parts.managers.refresh(within=0)
        # A submission whose answer was lost: any unknown id of this manager can be it.
        waiting = await rows.task(pod.connection)
        await pod.connection.execute(
            "INSERT INTO poddispatchd.submission (task_pk, task_type, runner_manager_id, attempt, body)"
            " VALUES ($1, 'encoding', $2, 1, '{}')",
            waiting,
            pod.manager,
        )
        for number in range(200):
            await pod.connection.execute(
                "INSERT INTO poddispatchd.callback (runner_manager_ids, task_id, status, digest)"
                " VALUES (ARRAY[$1::bigint], $2::text, 'completed', sha256(convert_to($2::text, 'UTF8')))",
                pod.manager,
                f"unknown-{number}",
            )
        known = await pod.running("t-other", runner_manager_id=pod.other)
        await webhook.call(OTHER_TOKEN, task_id="t-other", status="failed", error_message="Bad medium")
        # Each question to the silent one has an hour.
        while (await pod.row(known))["status"] != "failed":
            await webhook.inbox.step()
        # And nothing is lost of those that wait, nor counted.
        await webhook.inbox.stop()
        states = await pod.connection.fetch(
            "SELECT state, attempts, count(*) FROM poddispatchd.callback WHERE task_id LIKE 'unknown-%'"
            " GROUP BY 1, 2"
        )
        assert [tuple(row) for row in states] == [("open", 0, 200)]
