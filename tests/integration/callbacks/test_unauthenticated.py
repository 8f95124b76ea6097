"""What it costs when unauthenticated clients call, and what one token can do."""

import asyncio
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from poddispatchd.callbacks import rate_limits as quotas
from poddispatchd.callbacks import recorder as recorders
from poddispatchd.callbacks.rate_limits import Rate
from poddispatchd.callbacks.receiver import CallbackReceiver
from poddispatchd.database import session_parameters
from poddispatchd.domain.callback import CallbackBody
from poddispatchd.web.bodies import BodyMemory
from poddispatchd.web.unauthenticated import UnauthenticatedRequests, Verdict
from tests.integration.callbacks.bench import PATH, Answer, Bench, ShiftedClock, bench
from tests.integration.callbacks.conftest import OTHER_TOKEN, TOKEN, Pod
from tests.integration.web.wire import ended, many

_JSON = ("Content-Type", "application/json")


def _memory(*, set_back: bool = False) -> float:
    """The most memory that this process has had, in MiB, since it was set back."""
    if set_back:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)


async def test_a_burst_of_unknown_tokens_reads_the_database_once(pod: Pod) -> None:
    clock = ShiftedClock()
    async with bench(pod.database, clock=clock) as webhook:
        answers = await asyncio.gather(
            *(webhook.call(f"wrong {number}", task_id="t-1", status="failed") for number in range(500))
        )
        assert {answer.status for answer in answers} == {403}
        assert webhook.receiver.tokens.reads <= 1 + 5  # a second passes between two reads
        reads = webhook.receiver.tokens.reads
        clock.shift += 2
        # The same ones again: they are remembered.
        for number in range(0, 500, 50):
            assert (await webhook.call(f"wrong {number}", task_id="t-1", status="failed")).status == 403
        assert webhook.receiver.tokens.reads <= reads + 1


async def test_behind_a_web_server_one_address_cannot_take_all_of_the_waiting(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge, judged = UnauthenticatedRequests.judge, 0
    # Nobody gives up waiting before all have asked, however slow the machine is.
    monkeypatch.setitem(session_parameters.OWN_SESSION, "lock_timeout", "60000")

    def count(requests: UnauthenticatedRequests, *arguments: Any) -> Verdict:  # noqa: ANN401 - they are passed on
        nonlocal judged
        judged += 1
        return judge(requests, *arguments)

    monkeypatch.setattr(UnauthenticatedRequests, "judge", count)

    async def call(token: str, client: str) -> int:
        headers = [_JSON, ("Authorization", f"Bearer {token}"), ("X-Forwarded-For", client)]
        return (await webhook.raw("POST", PATH, headers, b'{"task_id": "t-1", "status": "running"}')).status

    await pod.running()
    clock = ShiftedClock()
    async with (
        bench(pod.database, clock=clock, answer_within=30.0) as webhook,
        pod.database.connection() as blocker,
    ):
        await _ok(webhook)
        clock.shift += 20
        before = judged
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE runner_manager IN ACCESS EXCLUSIVE MODE")
            hostile = []
            for number in range(150):
                if number % 50 == 0:
                    clock.shift += 1  # so many unauthenticated requests are served in a second
                client = f"198.51.100.{number}, 203.0.113.9"
                hostile.append(asyncio.create_task(call(f"wrong {number}", client)))
                if number % 50 == 49:
                    await _until(lambda: judged == before + len(hostile))
            await _until(lambda: sum(task.done() for task in hostile) == 50)
            waiting = asyncio.gather(call(TOKEN, "203.0.113.9"), call("other", "203.0.113.10"))
            await _until(lambda: judged == before + 152)
        # What the client says of itself counts for nothing; who has a token, or another address, is heard.
        assert [*await waiting] == [200, 403]
        statuses = await asyncio.gather(*hostile)
        assert statuses.count(429) == 50
        assert statuses.count(403) == 100


async def test_in_a_crowd_unknown_tokens_wait_for_one_look_at_the_database_and_cost_nothing(pod: Pod) -> None:
    await pod.running()
    clock = ShiftedClock()
    async with bench(pod.database, clock=clock) as webhook:
        await asyncio.gather(*(webhook.call(f"first {number}") for number in range(60)))
        await pod.connection.execute("UPDATE runner_manager SET token = 'new' WHERE id = $1", pod.manager)
        clock.shift += 1.5  # what is known of tokens is too old for unknown tokens
        tokens = [*(f"wrong {number}" for number in range(300)), "new"]
        reads = webhook.receiver.tokens.reads
        answers = await asyncio.gather(
            *(webhook.call(token, task_id="t-1", status="running") for token in tokens)
        )
        assert [answer.status for answer in answers] == [403] * 300 + [200]
        assert webhook.receiver.tokens.reads <= reads + 4  # a second passes between two reads
        await _ok(webhook, "new")


async def test_large_heads_that_never_end_make_room_for_each_other(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poddispatchd.web.head_reader._MOST_IN_LARGE_HEADS", 2**16)
    await pod.running()
    half = b"POST / HTTP/1.1\r\nHost: x\r\n" + b"A: aaaaaaaaaa\r\n" * 800
    async with bench(pod.database) as webhook, many(webhook.address, 60, half) as readers:
        assert await ended(readers, within=2) == 60 - 2**16 // len(half)
        await _ok(webhook)


async def test_only_so_many_unknown_tokens_are_remembered(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poddispatchd.callbacks.tokens._MOST_REFUSED", 3)
    clock = ShiftedClock()
    async with bench(pod.database, clock=clock) as webhook:
        for number in range(10):
            clock.shift += 1.5
            assert (await webhook.call(f"wrong {number}", task_id="t-1", status="failed")).status == 403
        assert len(webhook.receiver.tokens._refused) == 3


async def test_a_token_that_pod_learns_after_its_first_use_counts_soon(pod: Pod) -> None:
    await pod.running()
    clock = ShiftedClock()
    async with bench(pod.database, clock=clock) as webhook:
        assert (await webhook.call("rotated", task_id="t-1", status="running")).status == 403
        await pod.connection.execute("UPDATE runner_manager SET token = 'rotated' WHERE id = $1", pod.manager)
        clock.shift += 10.1
        assert (await webhook.call("rotated", task_id="t-1", status="running")).status == 200
        clock.shift += 5
        assert (await webhook.call(TOKEN, task_id="t-1", status="running")).status == 403


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
async def test_a_token_with_accents_is_recognised_however_it_is_sent(pod: Pod, encoding: str) -> None:
    await pod.connection.execute("UPDATE runner_manager SET token = 'été' WHERE id = $1", pod.manager)
    await pod.running()
    async with bench(pod.database) as webhook:
        sent = "été".encode(encoding).decode("latin-1")
        assert (await webhook.call(sent, task_id="t-1", status="running")).status == 200


async def test_a_bomb_without_a_valid_token_is_not_even_looked_at(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    def steps(body: bytes) -> None:
        raise AssertionError("the body was read")

    async with bench(pod.database) as webhook:
        monkeypatch.setattr(CallbackBody, "steps", steps)
        bomb = b"[" + b"[]," * 20_000 + b"[]]"
        for token in ("", "Bearer wrong"):
            for body, headers in (
                (bomb, []),
                (gzip.compress(bomb * 100), [("Content-Encoding", "gzip")]),
                (b"no gzip", [("Content-Encoding", "gzip")]),
                (b"\xff" * 60_000, []),
            ):
                answer = await webhook.raw("POST", PATH, [_JSON, ("Authorization", token), *headers], body)
                assert answer.status == (403 if token else 401)


async def test_a_hundred_continue_is_for_those_who_may_send_a_body(pod: Pod) -> None:
    await pod.running()
    body = json.dumps({"task_id": "t-1", "status": "running"}).encode()
    async with bench(pod.database) as webhook:
        for token, first in ((TOKEN, b"HTTP/1.1 100 "), ("wrong", b"HTTP/1.1 403 ")):
            reader, writer = await asyncio.open_connection(webhook.address.host, webhook.address.port)
            writer.write(
                f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                "Expect: 100-continue\r\n"
                f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            )
            async with asyncio.timeout(10):
                assert (await reader.readline()).startswith(first)
                if token == TOKEN:
                    writer.write(body)
                    assert b" 200 " in await reader.readuntil(b"}")
            writer.close()


@pytest.mark.parametrize(
    "body",
    [b"[" + b"[]," * (2**21) + b"[]]", b"[" * 2**20, b'{"task_id": "' + b"\\" * (2**20 + 1) + b'"}'],
    ids=["many values", "deep", "no end"],
)
async def test_a_bomb_with_a_valid_token_costs_no_memory_and_stops_nobody(pod: Pod, body: bytes) -> None:
    await pod.running()
    async with bench(pod.database) as webhook:
        await _ok(webhook)
        before = _memory(set_back=True)
        bombs = [asyncio.create_task(webhook.call(OTHER_TOKEN, body)) for _ in range(8)]
        for _ in range(20):
            await _ok(webhook)
        assert {(await bomb).status for bomb in bombs} <= {400, 503}
        assert _memory() - before < 120  # eight bodies, sent and received in this process


async def _ok(webhook: Bench, token: str = TOKEN) -> None:
    answer = await webhook.call(token, task_id="t-1", status="running")
    assert answer.status == 200


async def test_what_waits_together_is_recorded_by_one_statement(pod: Pod) -> None:
    for number in range(40):
        await pod.running(f"t-{number}")
    async with bench(pod.database) as webhook:
        await webhook.receiver.tokens.signers(TOKEN.encode())
        async with asyncio.TaskGroup() as group:
            for number in range(40):
                body = json.dumps({"task_id": f"t-{number}", "status": "failed"}).encode()
                group.create_task(webhook.receiver.take((pod.manager,), body))
        assert webhook.receiver._recorder.statements <= 2
        assert {task_id for task_id, _, _ in await pod.callbacks()} == {f"t-{number}" for number in range(40)}


async def test_a_callback_that_the_database_refuses_takes_no_other_with_it(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pod.connection.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.task_id = 't-2' THEN RAISE EXCEPTION 'poison %', NEW.task_id; END IF; RETURN NEW; END $$"
    )
    for number in range(4):
        await pod.running(f"t-{number}")
    async with bench(pod.database) as webhook:
        await pod.connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON poddispatchd.callback"
            " FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
        answers = await asyncio.gather(
            *(webhook.call(TOKEN, task_id=f"t-{number}", status="failed") for number in range(4))
        )
        assert [answer.status for answer in answers] == [200, 200, 503, 200]
        assert b"poison" not in answers[2].body
        assert {task_id for task_id, _, _ in await pod.callbacks()} == {"t-0", "t-1", "t-3"}


async def test_more_than_a_managers_share_is_refused_and_told_once(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "BYTES", Rate(10_000, 100))
    clock = ShiftedClock()
    await pod.running()
    theirs = await pod.running("t-2", runner_manager_id=pod.other)
    assert theirs
    async with bench(pod.database, clock=clock) as webhook:
        with capture_logs() as logged:
            answers = [
                await webhook.call(TOKEN, task_id="t-1", status="running", script_output=f"{number}" * 4000)
                for number in range(6)
            ]
        assert [answer.status for answer in answers] == [200, 200, 429, 429, 429, 429]
        assert 10 <= int(answers[-1].headers["Retry-After"]) <= 60
        assert [entry["event"] for entry in logged].count("callbacks.limited") == 1
        limited = webhook.parts.metrics.registry.get_sample_value(
            "poddispatchd_webhook_limited_total", {"limit": "quota"}
        )
        assert limited == 4
        # Others are not meant, and after a while neither is this one.
        assert (await webhook.call(OTHER_TOKEN, task_id="t-2", status="failed")).status == 200
        clock.shift += 60
        assert (
            await webhook.call(TOKEN, task_id="t-1", status="running", script_output="6" * 4000)
        ).status == 200


async def test_ids_that_nobody_knows_are_looked_for_only_so_often(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "UNKNOWN", Rate(5, 0.1))
    await pod.running()
    async with bench(pod.database) as webhook:
        statuses = [
            (await webhook.call(TOKEN, task_id=f"unknown-{number}", status="failed")).status
            for number in range(8)
        ]
        assert statuses == [404] * 5 + [429] * 3
        await _ok(webhook)


async def test_too_many_bytes_are_not_kept_waiting_for_a_slow_database(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "_MOST_WAITING", 5000)
    await pod.running()
    async with bench(pod.database, answer_within=1.0) as webhook, pod.database.connection() as blocker:
        await _ok(webhook)
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE poddispatchd.callback IN ACCESS EXCLUSIVE MODE")
            answers = await asyncio.gather(
                *(
                    webhook.call(TOKEN, task_id="t-1", status="running", script_output=f"{number}" * 2000)
                    for number in range(9)
                )
            )
        assert {answer.status for answer in answers} == {503}
        assert {answer.headers["Retry-After"] for answer in answers} == {"30"}


async def test_large_bodies_take_turns_and_one_manager_leaves_room_for_another() -> None:
    memory = BodyMemory(most=1_000_000, of_one=600_000)
    order = []

    async def body(name: str, whose: str, until: asyncio.Event) -> None:
        async with memory.room(300_000, whose):
            order.append(name)
            await until.wait()

    first, second = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(body("a1", "a", first))
        group.create_task(body("a2", "a", second))
        group.create_task(body("a3", "a", second))
        group.create_task(body("b1", "b", second))
        for _ in range(5):
            await asyncio.sleep(0)
        assert order == ["a1", "a2", "b1"]
        first.set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert order == ["a1", "a2", "b1", "a3"]
        second.set()


async def test_in_a_crowd_of_unauthenticated_clients_each_hears_the_same_as_alone_and_callbacks_are_heard(
    pod: Pod,
) -> None:
    """A whole request of each cost half a millisecond: two thousand a second kept callbacks for seconds."""
    ours = f"POST {PATH} HTTP/1.1\r\nHost: x\r\n".encode()
    typed = ours + b"Content-Type: application/json\r\n"
    kinds = {
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n": b"HTTP/1.1 404 ",
        ours.replace(b"POST", b"PUT") + b"\r\n": b"HTTP/1.1 405 ",
        ours + b"\r\n": b"HTTP/1.1 415 ",
        typed + b"\r\n": b"HTTP/1.1 401 ",
        typed + b"Authorization: Bearer x\r\n\r\n": b"HTTP/1.1 403 ",
        b"\x16\x03\x01": b"HTTP/1.1 400 ",
    }

    async def ask(data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(webhook.address.host, webhook.address.port)
        try:
            # In two pieces, too: what has been looked at once is not forgotten.
            writer.write(data[:-1])
            await writer.drain()
            writer.write(data[-1:])
            return await reader.read()
        finally:
            writer.close()

    await pod.running()
    async with bench(pod.database, clock=ShiftedClock()) as webhook:
        await _ok(webhook)
        for data, status in kinds.items():
            answers = await asyncio.gather(*(ask(data) for _ in range(100)))
            assert [answer[: len(status)] for answer in answers] == [status] * 100
            assert all(b"Server: poddispatchd\r\n" in answer for answer in answers)
            assert len({answer.rpartition(b"\r\n\r\n")[2] for answer in answers}) == 1
            await _ok(webhook)
        assert webhook.receiver.tokens.reads <= 10


async def test_a_short_callback_does_not_wait_behind_long_ones(pod: Pod) -> None:
    """Eight megabytes of escapes are read in half a second, and one manager may send one after the other."""
    await pod.running()
    async with bench(pod.database) as webhook, asyncio.timeout(20):
        await _ok(webhook)
        async with webhook.receiver._parsing:  # a long one is being read
            long = asyncio.create_task(
                webhook.call(OTHER_TOKEN, task_id="t-1", status="running", script_output="\n" * 100_000)
            )
            await _ok(webhook)
            assert not long.done()
        assert (await long).status == 403


async def test_one_manager_cannot_take_all_turns_of_the_search_for_ids(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = asyncio.Event()

    async def found(*_: object) -> tuple[int, ...]:
        await slow.wait()
        return ()

    monkeypatch.setattr(CallbackReceiver, "_owners", found)
    async with bench(pod.database) as webhook, asyncio.timeout(20):
        hostile = [
            asyncio.create_task(webhook.call(TOKEN, task_id=f"unknown-{number}", status="failed"))
            for number in range(12)
        ]
        done: set[asyncio.Task[Answer]] = set()
        while len(done) < 2:
            done, _ = await asyncio.wait(hostile, return_when=asyncio.FIRST_COMPLETED)
        assert {each.result().status for each in done} == {429}
        other = asyncio.create_task(webhook.call(OTHER_TOKEN, task_id="unknown", status="failed"))
        while webhook.receiver._searches.total() < 11:  # noqa: ASYNC110 - nobody announces that it waits
            await asyncio.sleep(0.01)
        slow.set()
        assert (await other).status == 404
        statuses = [(await each).status for each in hostile]
        assert (statuses.count(404), statuses.count(429)) == (10, 2)
