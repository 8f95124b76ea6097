"""How a body is framed is its sender's choice: without a valid token nothing is read, and none costs much."""

import asyncio
import json
import time

from tests.integration.callbacks.bench import PATH, Bench, bench
from tests.integration.callbacks.conftest import TOKEN, Pod
from tests.integration.web.wire import heard

_BYTE_BY_BYTE = b"1\r\na\r\n"


def _head(token: str, *headers: str) -> bytes:
    lines = [f"POST {PATH} HTTP/1.1", "Host: x", "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Authorization: Bearer {token}", *headers, "", ""]).encode()


async def _said(webhook: Bench, *pieces: bytes) -> bytes:
    """What is answered to these pieces, each of which arrives alone."""
    return await heard(webhook.address, *pieces) or b"reset"


async def test_a_client_without_a_valid_token_hears_so_however_its_body_is_framed(pod: Pod) -> None:
    head = _head("wrong", "Transfer-Encoding: chunked")
    async with bench(pod.database) as webhook:
        for body in (
            b"zz\r\n",
            b"-1\r\n\r\n",
            b"ffffffffffffffffffff\r\n",
            _BYTE_BY_BYTE,
            b"0\r\nX: y\r\n\r\n",
        ):
            assert (await _said(webhook, head + body)).startswith(b"HTTP/1.1 403 ")
            assert (await _said(webhook, head[:-1], head[-1:] + body)).startswith(b"HTTP/1.1 403 ")


async def test_a_client_that_begins_as_http_2_does_is_refused_and_not_waited_for(pod: Pod) -> None:
    """Its connection was kept for ever, and made room for nobody: some hundreds of them shut the webhook."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    with_token = b"PRI * HTTP/2.0\r\nAuthorization: Bearer %s\r\n\r\nSM\r\n\r\n" % TOKEN.encode()
    await pod.running()
    async with bench(pod.database) as webhook:
        for pieces in ([preface], [preface[:18]], [preface[:18], preface[18:]], [with_token]):
            answer = await _said(webhook, *pieces)
            assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ", b"reset"))
        assert (await webhook.call(TOKEN, task_id="t-1", status="running")).status == 200


async def test_chunks_of_a_byte_without_a_valid_token_cost_nothing(pod: Pod) -> None:
    """Twenty clients who sent their bodies so kept every callback for seconds: they were parsed first."""
    head = _head("wrong", "Transfer-Encoding: chunked")
    body = _BYTE_BY_BYTE * 40_000
    async with bench(pod.database) as webhook:
        await _said(webhook, head + body)
        begun = time.process_time()
        answers = await asyncio.gather(*(_said(webhook, head[:-1], head[-1:] + body) for _ in range(20)))
        assert time.process_time() - begun < 1.0
    assert all(answer.startswith((b"HTTP/1.1 403 ", b"reset")) for answer in answers)


async def test_chunks_of_a_byte_are_refused_whoever_sends_them(pod: Pod) -> None:
    await pod.running()
    head = _head(TOKEN, "Transfer-Encoding: chunked")
    async with bench(pod.database) as webhook:
        answer = await _said(webhook, head, _BYTE_BY_BYTE * 200_000)
        assert answer.startswith((b"HTTP/1.1 400 ", b"reset"))
        answer = await _said(webhook, head, b"1;" + b"x" * 200_000)
        assert answer.startswith((b"HTTP/1.1 400 ", b"reset"))
        assert (await webhook.call(TOKEN, task_id="t-1", status="running")).status == 200


async def test_a_callback_in_chunks_or_pieces_is_one(pod: Pod) -> None:
    await pod.running()
    body = json.dumps({"task_id": "t-1", "status": "running", "script_output": "x" * 300_000}).encode()
    chunked = b"".join(
        b"%x\r\n%s\r\n" % (len(piece), piece)
        for piece in (body[at : at + 1000] for at in range(0, len(body), 1000))
    )
    async with bench(pod.database) as webhook:
        framed = {
            "Transfer-Encoding: chunked": chunked + b"0\r\n\r\n",
            f"Content-Length: {len(body)}": body,
        }
        for header, content in framed.items():
            head = _head(TOKEN, header, "Connection: close")
            for pieces in (
                [head + content],
                [head, content],
                [head[:-1], head[-1:] + content[:9], content[9:]],
            ):
                assert (await _said(webhook, *pieces)).startswith(b"HTTP/1.1 200 ")


async def test_several_callbacks_of_one_connection_are_taken_however_they_arrive(pod: Pod) -> None:
    await pod.running()
    body = json.dumps({"task_id": "t-1", "status": "running"}).encode()
    request = _head(TOKEN, f"Content-Length: {len(body)}") + body
    last = _head(TOKEN, f"Content-Length: {len(body)}", "Connection: close") + body
    whole = request * 3 + last
    async with bench(pod.database) as webhook:
        for pieces in ([whole], [whole[:100], whole[100:500], whole[500:]], [b"\r\n\r\n", b"\r\n" + whole]):
            assert (await _said(webhook, *pieces)).count(b"HTTP/1.1 200 ") == 4


async def test_an_unauthenticated_request_that_follows_a_callback_on_one_connection_is_sent_away(
    pod: Pod,
) -> None:
    """As behind a web server that keeps its connections to us."""
    await pod.running()
    body = json.dumps({"task_id": "t-1", "status": "running"}).encode()
    first = _head(TOKEN, f"Content-Length: {len(body)}") + body
    async with bench(pod.database) as webhook:
        answers = await _said(webhook, first, _head("wrong", f"Content-Length: {len(body)}") + body, first)
    assert answers.count(b"HTTP/1.1 200 ") == 1
    assert answers.count(b"HTTP/1.1 403 ") == 1


async def test_a_client_whose_last_body_is_cut_off_hears_so_at_once_though_others_went_before(
    pod: Pod,
) -> None:
    """Such a body was waited for until ``webhook.body_timeout``, though its client had closed its side."""
    await pod.running()
    body = json.dumps({"task_id": "t-1", "status": "running"}).encode()
    request = _head(TOKEN, f"Content-Length: {len(body)}") + body
    async with bench(pod.database) as webhook:
        for data in (
            request * 2 + request[:-3],
            request * 2 + _head(TOKEN, "Transfer-Encoding: chunked") + b"5\r\n{",
        ):
            reader, writer = await asyncio.open_connection(webhook.address.host, webhook.address.port)
            writer.write(data)
            writer.write_eof()
            answers = await reader.read()
            writer.close()
            assert [answer[:3] for answer in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"400"]


async def test_an_unauthenticated_client_hears_the_answer_while_it_still_sends(pod: Pod) -> None:
    head = _head("wrong", "Content-Length: 60000")
    async with bench(pod.database) as webhook:
        for rest in (b"", b"x" * 100, b"x" * 30_000, b"x" * 60_000):
            begun = time.monotonic()
            assert (await _said(webhook, head, rest)).startswith(b"HTTP/1.1 403 ")
            assert time.monotonic() - begun < 10
