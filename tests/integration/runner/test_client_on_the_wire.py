import asyncio
import gzip
import json
import ssl
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from poddispatchd import __version__
from poddispatchd.config.model import RunnersSettings
from poddispatchd.domain.task import RunnerStatus, RunnerTaskId
from poddispatchd.errors import (
    AnswerLostError,
    ConfigurationError,
    NoHealthCheckError,
    ResultRefusedError,
    RunnerManagerMisconfiguredError,
    RunnerManagerUnavailableError,
    UnusableAnswerError,
)
from poddispatchd.runner import answers, connections, transport
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.connections import open_session
from poddispatchd.runner.records import ManagerHealth, RunnerTask
from tests.integration.runner.raw_server import Answer, RawServer, drop, hang, head, raw, reply
from tests.unit.runner.managers import TOKEN, manager

TASK = RunnerTaskId("golden-1")
BODY = json.dumps({"task_type": "encoding", "source_url": "http://pod.test/é.mp4"}).encode()
TAKEN = reply(body=b'{"task_id": "rm1-1", "status": "running"}')


async def test_a_submission_is_exactly_the_given_bytes_with_the_headers_of_the_contract(
    client: RunnerClient,
) -> None:
    async with RawServer([TAKEN]) as server:
        await client.execute(manager(f"{server.url}/rm1/"), BODY)

    (request,) = server.requests
    assert (request.method, request.target, request.body) == ("POST", "/rm1/task/execute", BODY)
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept"] == "application/json"
    assert request.headers["user-agent"] == f"poddispatchd/{__version__}"
    assert request.headers["accept-encoding"] == "identity"
    assert "x-api-token" not in request.headers


async def test_a_redirect_is_never_followed(client: RunnerClient) -> None:
    async with RawServer([reply(307, location="/elsewhere"), TAKEN]) as server:
        with pytest.raises(RunnerManagerMisconfiguredError):
            await client.execute(manager(server.url), BODY)

    assert len(server.requests) == 1


async def test_a_health_check_that_is_redirected_says_where_to(client: RunnerClient) -> None:
    """It said that nothing there is a runner manager; a submission, a moment later, said what to change."""
    moved = reply(301, location="https://rm.example.org/manager/health")
    async with RawServer([moved] * 4) as server:
        with pytest.raises(NoHealthCheckError, match=r"redirects \(301\) to https://rm\.example\.org,"):
            await client.health(manager(server.url))


async def test_a_cookie_is_never_sent_back(client: RunnerClient) -> None:
    async with RawServer([reply(body=b'{"task_id": "1"}', set_cookie="id=1; Path=/")]) as server:
        await client.execute(manager(server.url), BODY)
        await client.execute(manager(server.url), BODY)

    assert all("cookie" not in request.headers for request in server.requests)


@pytest.mark.parametrize(
    "answer",
    [
        drop,
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{"),
        raw(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"tas\r\n'),
        raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
        reply(body=gzip.compress(b'{"task_id": "t-1"}'), content_encoding="gzip"),
    ],
)
async def test_a_submission_whose_answer_breaks_off_may_have_been_carried_out_and_is_not_repeated(
    client: RunnerClient, answer: Answer
) -> None:
    async with RawServer([answer, TAKEN]) as server:
        with pytest.raises(AnswerLostError):
            await client.execute(manager(server.url), BODY)

    assert len(server.requests) == 1


async def test_a_submission_that_is_not_answered_in_time_may_have_been_carried_out(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT", 0.5)
    async with RawServer([hang]) as server:
        with pytest.raises(AnswerLostError, match="in time"):
            await RunnerClient(session, request_timeout=0.1).execute(manager(server.url), BODY)

    assert len(server.requests) == 1


async def test_a_kept_connection_that_the_manager_closes_under_a_submission_is_not_used_to_repeat_it(
    client: RunnerClient,
) -> None:
    async with RawServer([TAKEN, drop, TAKEN]) as server:
        await client.execute(manager(server.url), BODY)
        with pytest.raises(AnswerLostError):
            await client.execute(manager(server.url), BODY)

    assert [request.connection for request in server.requests] == [1, 1]


async def test_a_question_on_a_kept_connection_that_was_closed_is_asked_once_more(
    client: RunnerClient,
) -> None:
    running = reply(body=b'{"status": "running"}')
    async with RawServer([running, drop, running]) as server:
        await client.status(manager(server.url), TASK)
        await client.status(manager(server.url), TASK)

    assert [request.connection for request in server.requests] == [1, 1, 2]


def test_idle_connections_are_given_up_before_a_manager_closes_them() -> None:
    assert connections._KEEP_ALIVE < 2.0


async def test_a_port_where_nobody_listens_means_surely_not_carried_out(client: RunnerClient) -> None:
    async with RawServer([TAKEN]) as server:
        url = server.url
    with pytest.raises(RunnerManagerUnavailableError) as caught:
        await client.execute(manager(url), BODY)

    assert type(caught.value) is RunnerManagerUnavailableError
    assert "cannot be reached: connection refused (localhost:" in str(caught.value)


async def test_the_zone_of_an_address_may_be_written_as_rfc_6874_has_it(client: RunnerClient) -> None:
    """`%25` is a per cent sign in a URL. It was looked up as it stands, and told as "unknown error -2"."""
    with pytest.raises(RunnerManagerUnavailableError) as caught:
        await client.execute(manager("http://[fe80::1%25nowhere]:9/"), BODY)

    assert str(caught.value) == (
        "Runner manager 'rm1' cannot be reached: name or service not known (fe80::1%nowhere:9)."
    )


async def test_a_host_that_does_not_exist_means_surely_not_carried_out(client: RunnerClient) -> None:
    with pytest.raises(RunnerManagerUnavailableError) as caught:
        await client.execute(manager("http://runner.invalid:8081/"), BODY)

    assert type(caught.value) is RunnerManagerUnavailableError


async def test_a_question_that_breaks_off_makes_the_manager_unavailable(client: RunnerClient) -> None:
    async with RawServer([drop]) as server:
        with pytest.raises(RunnerManagerUnavailableError) as caught:
            await client.status(manager(server.url), TASK)

    assert type(caught.value) is RunnerManagerUnavailableError


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("ftp://h/", TOKEN),
        ("http://u:p@h/", TOKEN),
        ("http://h/?x", TOKEN),
        (f"http://{'a' * 70}.example.org/", TOKEN),
        (f"http://{'é' * 70}.example.org/", TOKEN),
        ("http://a..example.org/", TOKEN),
        ("http://./", TOKEN),
        ("http://h/", ""),
        ("http://h/", "日本"),
        ("http://h/", "a\nb"),
    ],
)
async def test_a_manager_that_cannot_be_asked_is_misconfigured_without_a_request(
    client: RunnerClient, url: str, token: str
) -> None:
    with pytest.raises(RunnerManagerMisconfiguredError) as caught:
        await client.execute(manager(url, token=token), BODY)

    assert TOKEN not in str(caught.value)


async def test_an_error_of_the_library_that_nobody_foresaw_is_one_of_the_manager(
    client: RunnerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host name that no resolver takes raised what nothing caught: every task went there, and stayed."""

    def spoilt(*_: object, **__: object) -> None:
        raise UnicodeError("label too long")

    monkeypatch.setattr(aiohttp.ClientSession, "request", spoilt)
    with pytest.raises(AnswerLostError, match=r"an error nobody foresaw \(UnicodeError\)"):
        await client.execute(manager("http://h/"), BODY)
    with pytest.raises(RunnerManagerUnavailableError, match="nobody foresaw"):
        await client.status(manager("http://h/"), TASK)
    asked = client.result_file(manager("http://h/"), TASK, "a.ts", headers={}, first_byte_timeout=5.0)
    with pytest.raises(RunnerManagerUnavailableError, match="nobody foresaw"):
        await asked.__aenter__()


async def test_a_token_beyond_ascii_is_sent_in_latin_1_as_pod_does(client: RunnerClient) -> None:
    running = reply(body=b'{"status": "running"}')
    async with RawServer([TAKEN, running]) as server:
        await client.execute(manager(server.url, token="été"), BODY)
        await client.status(manager(server.url, token="été"), TASK)

    for request in server.requests:
        assert request.headers["authorization"].encode("latin-1") == b"Bearer \xe9t\xe9"


async def test_ids_are_escaped_so_that_they_stay_one_segment(client: RunnerClient) -> None:
    async with RawServer([reply(body=b'{"status": "running"}')]) as server:
        for task_id in ("a/../b", "..", "a b?c#d%2e", "é\n"):
            await client.status(manager(server.url), RunnerTaskId(task_id))

    assert [request.target for request in server.requests] == [
        "/task/status/a%2F..%2Fb",
        "/task/status/%2E%2E",
        "/task/status/a%20b%3Fc%23d%252e",
        "/task/status/%C3%A9%0A",
    ]


async def test_the_script_output_of_a_long_task_is_read_whole(client: RunnerClient) -> None:
    output = "é" * 700_000
    record = json.dumps({"status": "failed", "script_output": output}, ensure_ascii=False).encode()
    async with RawServer([reply(body=record)]) as server:
        assert (await client.status(manager(server.url), TASK)).script_output == output


async def test_an_answer_without_an_end_is_given_up(client: RunnerClient) -> None:
    async def endless(_: object, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, transfer_encoding="chunked"))
        while True:
            writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
            await writer.drain()

    async with RawServer([endless]) as server:
        with pytest.raises(UnusableAnswerError, match="without a list of files"):
            await client.status(manager(server.url), TASK)
        with pytest.raises(UnusableAnswerError, match="more than 4096 KiB"):
            await client.manifest(manager(server.url), TASK)
        with pytest.raises(AnswerLostError, match="cut its answer short"):
            await client.execute(manager(server.url), BODY)


LONG = "x" * 3 * 2**20


@pytest.mark.parametrize(
    "order", [("status", "error", "script_output"), ("error", "status", "script_output")]
)
async def test_the_head_of_a_record_that_is_too_long_tells_how_its_task_ended(
    client: RunnerClient, order: tuple[str, ...]
) -> None:
    """It was refused whole: the task ran for ever."""
    told = {"status": "failed", "error": "Bad medium", "script_output": "log " + LONG}
    record = json.dumps({"task_id": TASK, **{key: told[key] for key in order}}).encode()
    async with RawServer([reply(body=record)]) as server:
        task = await client.status(manager(server.url), TASK)
    assert (task.status, task.error) == (RunnerStatus.FAILED, "Bad medium")
    assert (task.script_output or "").startswith("log xxx")
    assert len(task.script_output or "") < 2**21


@pytest.mark.parametrize(
    ("result", "status", "error"),
    [
        (reply(body=b'{"task_id": "t", "files": []}'), RunnerStatus.COMPLETED, None),
        (reply(400, b'{"detail": "Task failed: Bad medium"}'), RunnerStatus.FAILED, "Bad medium"),
        (reply(425, b'{"detail": "Task not completed. Status: timeout"}'), RunnerStatus.TIMEOUT, None),
        (reply(425, b'{"detail": "Task not completed. Status: running"}'), RunnerStatus.RUNNING, None),
    ],
    ids=["completed", "failed", "timeout", "running"],
)
async def test_where_the_head_of_a_record_tells_nothing_the_result_is_asked_for(
    client: RunnerClient, result: Answer, status: RunnerStatus, error: str | None
) -> None:
    record = json.dumps({"script_output": LONG, "status": "completed"}).encode()
    async with RawServer([reply(body=record), result]) as server:
        task = await client.status(manager(server.url), TASK)
    assert (task.status, task.error) == (status, error)
    assert [request.target.split("/")[2] for request in server.requests] == ["status", "result"]


async def test_a_manager_that_answers_millions_of_values_holds_up_nobody(client: RunnerClient) -> None:
    """Eight megabytes of ``[]`` became half a gigabyte of objects, and the loop stood still meanwhile."""
    nested = b'{"task_id": "one", "files": [' + b"[]," * 1_000_000 + b"[]]}"
    deep = b'{"task_id": "one", "files": ' + b"[" * 500_000 + b"]" * 500_000 + b"}"
    tracemalloc.start()
    try:
        for body in (nested, deep):
            async with RawServer([reply(body=body)]) as server:
                with pytest.raises(UnusableAnswerError):
                    await client.manifest(manager(server.url), TASK)
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("count", [60_000, 600_000])
async def test_a_list_of_far_too_many_files_is_refused_as_one_of_a_few_too_many_is(
    client: RunnerClient, count: int
) -> None:
    """Its task waited for a day, and each of two more runs as well: it was called no JSON object."""
    files = [f"{number}.log" for number in range(count)]
    listed = json.dumps({"task_id": TASK, "files": [*files, *files]}).encode()
    async with RawServer([reply(body=listed)]) as server:
        with pytest.raises(ResultRefusedError, match="far more than the 10000 files"):
            await client.manifest(manager(server.url), TASK)


@pytest.mark.slow
async def test_several_of_the_longest_records_leave_the_loop_and_the_memory_alone(
    client: RunnerClient,
) -> None:
    """Twenty of them stalled every callback for seconds, and took 600 MB."""
    record = json.dumps({"status": "failed", "script_output": "é" * 2**19}).encode()
    parsed_in = set[int]()
    task_record = answers.task_record

    def parse(*arguments: Any) -> RunnerTask:  # noqa: ANN401 - whatever it takes
        parsed_in.add(threading.get_ident())
        return task_record(*arguments)

    async with RawServer([reply(body=record)]) as server:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(answers, "task_record", parse)
            tracemalloc.start()
            try:
                told = await asyncio.gather(*(client.status(manager(server.url), TASK) for _ in range(8)))
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
    assert {task.status for task in told} == {RunnerStatus.FAILED}
    assert threading.get_ident() not in parsed_in
    assert peak < 100 * 2**20


async def test_a_refusal_without_an_end_is_still_a_refusal(client: RunnerClient) -> None:
    async with RawServer([reply(500, b"x" * 2**20, "text/plain")]) as server:
        with pytest.raises(RunnerManagerUnavailableError, match="500"):
            await client.status(manager(server.url), TASK)


# --- health: it lies elsewhere in every generation ----------------------------------------------------


def site(pages: dict[str, Answer]) -> Answer:
    async def answer(request: object, writer: asyncio.StreamWriter) -> None:
        target = getattr(request, "target", "")
        await pages.get(target, reply(404, b'{"detail": "Not Found"}'))(request, writer)  # type: ignore[arg-type] # the server passes its own Request

    return answer


WELL = reply(body=b'{"status": "healthy", "timestamp": "x", "runners": 2, "tasks": 7}')


@pytest.mark.parametrize(
    ("root", "path"),
    [
        (b'{"version": "1.7.1", "health_check": "/api/health"}', "api/health"),
        (b'{"version": "1.7.1", "health_check": "/manager/health"}', "manager/health"),
        (b'{"version": "1.7.1", "health_check": "/new/place"}', "new/place"),
        (b'{"version": "1.7.1", "health_check": "http://evil.test/x"}', "manager/health"),
        (b'{"version": "1.7.1", "health_check": "/../../x"}', "api/health"),
    ],
)
async def test_health_is_looked_for_where_the_manager_says_and_where_it_has_been(
    client: RunnerClient, root: bytes, path: str
) -> None:
    async with RawServer([site({"/p/": reply(body=root), f"/p/{path}": WELL})]) as server:
        health = await client.health(manager(f"{server.url}/p"))

    assert health == ManagerHealth(healthy=True, path=path, version="1.7.1", runners=2, tasks=7)
    assert "authorization" not in server.requests[0].headers
    assert "authorization" in server.requests[1].headers


async def test_health_needs_no_manager_at_the_root(client: RunnerClient) -> None:
    async with RawServer(
        [site({"/": reply(200, b"<html>", "text/html"), "/manager/health": WELL})]
    ) as server:
        assert (await client.health(manager(server.url))).path == "manager/health"


async def test_a_refused_token_is_told_by_health(client: RunnerClient) -> None:
    async with RawServer(
        [site({"/api/health": reply(401, b'{"detail": "Invalid or expired token"}')})]
    ) as server:
        with pytest.raises(RunnerManagerMisconfiguredError, match="token"):
            await client.health(manager(server.url))


async def test_another_site_is_no_manager(client: RunnerClient) -> None:
    async with RawServer([reply(200, b"<html>welcome</html>", "text/html")]) as server:
        with pytest.raises(RunnerManagerMisconfiguredError, match=r"is a runner manager: a web page"):
            await client.health(manager(server.url))


# --- TLS ----------------------------------------------------------------------------------------------


async def test_an_unknown_certificate_is_a_misconfiguration_that_names_the_setting(
    client: RunnerClient, tls: ssl.SSLContext
) -> None:
    async with RawServer([TAKEN], tls=tls) as server:
        with pytest.raises(RunnerManagerMisconfiguredError, match=r"runners\.ca_file"):
            await client.execute(manager(server.url), BODY)

    assert server.requests == []


async def test_a_certificate_of_ca_file_is_trusted(tls: ssl.SSLContext, certificate: Path) -> None:
    async with (
        RawServer([TAKEN], tls=tls) as server,
        open_session(RunnersSettings(ca_file=certificate)) as session,
    ):
        taken = await RunnerClient(session, request_timeout=5.0).execute(manager(server.url), BODY)

    assert taken.task_id == "rm1-1"


async def test_https_to_a_plain_port_says_what_to_change(client: RunnerClient) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(RunnerManagerMisconfiguredError, match="http://"):
            await client.execute(manager(f"https://localhost:{port}"), BODY)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
async def test_a_ca_file_that_cannot_be_used_is_a_configuration_error(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigurationError, match=r"runners\.ca_file"):
        open_session(RunnersSettings(ca_file=path))
