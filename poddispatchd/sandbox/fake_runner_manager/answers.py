"""Answers as values, and how they reach the client, faithfully or not."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import assert_never

from aiohttp import web

from poddispatchd.sandbox.fake_runner_manager.clock import ManagerClock
from poddispatchd.sandbox.fake_runner_manager.faults import AnswerFault, FaultKind

_HTML = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body><h1>It works!</h1></body></html>"


@dataclass(frozen=True, slots=True)
class ScriptedAnswer:
    """One HTTP answer; ``chunked`` ones carry no Content-Length."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    chunked: bool = False


def json_answer(value: object, status: int = 200, **headers: str) -> ScriptedAnswer:
    """A JSON answer, compact and not ASCII-escaped."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return ScriptedAnswer(status, body, {"Content-Type": "application/json", **named})


def refusal(status: int, detail: object, **headers: str) -> ScriptedAnswer:
    """A JSON error."""
    return json_answer({"detail": detail}, status, **headers)


def refused_by(fault: AnswerFault) -> ScriptedAnswer:
    """The answer of a ``FaultKind.STATUS``: the manager's own words unless the fault brings a body."""
    if isinstance(fault.body, str):
        return ScriptedAnswer(
            fault.status, fault.body.encode(), {"Content-Type": "text/plain; charset=utf-8"}
        )
    if fault.body is not None:
        return json_answer(fault.body, fault.status)
    if fault.status == 503:
        return refusal(503, "No runners available")
    if fault.status == 429:
        return json_answer({"error": "Rate limit exceeded: 120 per 1 minute"}, 429)
    if fault.status == 500:
        return ScriptedAnswer(500, b"Internal Server Error", {"Content-Type": "text/plain; charset=utf-8"})
    return refusal(fault.status, HTTPStatus(fault.status).phrase)


def spoil(answer: ScriptedAnswer, fault: AnswerFault) -> ScriptedAnswer:
    """The answer with the faults that show in its bytes."""
    match fault.kind:
        case FaultKind.HTML:
            return ScriptedAnswer(200, _HTML, {"Content-Type": "text/html; charset=utf-8"})
        case FaultKind.SHORT:
            return ScriptedAnswer(answer.status, answer.body[: fault.length], answer.headers, answer.chunked)
        case FaultKind.CORRUPT:
            body = bytes(byte ^ 0xFF for byte in answer.body)
            return ScriptedAnswer(answer.status, body, answer.headers, answer.chunked)
        case _:
            return answer


async def wait_out(fault: AnswerFault, clock: ManagerClock) -> None:
    """Stay silent for as long as the fault says; without a duration, until the connection ends."""
    if fault.seconds is None:
        await asyncio.Event().wait()
    else:
        await clock.sleep(fault.seconds)


def drop(request: web.Request) -> web.Response:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def send(
    request: web.Request, answer: ScriptedAnswer, fault: AnswerFault | None, clock: ManagerClock
) -> web.StreamResponse:
    """Send an answer, or what the fault makes of it."""
    if fault is not None:
        answer = spoil(answer, fault)
        match fault.kind:
            case FaultKind.SLOW:
                await wait_out(fault, clock)
            case FaultKind.LOSE_ANSWER:
                await wait_out(fault, clock)
                return drop(request)
            case FaultKind.DROP_ANSWER:
                return drop(request)
            case FaultKind.CUT:
                return await _stream(request, answer, answer.body[: fault.length], len(answer.body))
            case FaultKind.UNENDED:
                return _unended(request, answer, answer.body[: fault.length])
            case FaultKind.WRONG_LENGTH:
                promised = len(answer.body) + fault.length
                unchunked = ScriptedAnswer(answer.status, answer.body, answer.headers)
                return await _stream(request, unchunked, answer.body, promised)
            case (
                FaultKind.STATUS
                | FaultKind.GAVE_UP
                | FaultKind.HANG
                | FaultKind.DROP
                | FaultKind.SHORT
                | FaultKind.HTML
                | FaultKind.CORRUPT
            ):
                pass
            case _:
                assert_never(fault.kind)
    if answer.chunked:
        return await _stream(request, answer, answer.body, len(answer.body))
    return web.Response(
        status=answer.status, reason=_reason(answer.status), body=answer.body, headers=_headers(answer)
    )


async def _stream(
    request: web.Request, answer: ScriptedAnswer, sent: bytes, promised: int
) -> web.StreamResponse:
    """Send ``sent``; when that is not what was promised, the connection closes in the middle."""
    response = web.StreamResponse(
        status=answer.status, reason=_reason(answer.status), headers=_headers(answer)
    )
    if answer.chunked:
        response.enable_chunked_encoding()
    else:
        response.content_length = promised
    await response.prepare(request)
    for start in range(0, len(sent), 65536):
        await response.write(sent[start : start + 65536])
    if len(sent) == promised:
        await response.write_eof()
    elif request.transport is not None:
        request.transport.close()
    return response


def _unended(request: web.Request, answer: ScriptedAnswer, sent: bytes) -> web.Response:
    """Send ``sent`` as a manager does behind a proxy that speaks HTTP/1.0 to it."""
    if request.transport is not None:
        head = f"HTTP/1.0 {answer.status} {_reason(answer.status)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in _headers(answer).items())
        request.transport.write(head.encode() + b"\r\n" + sent)
        request.transport.close()
    return web.Response()


def _reason(status: int) -> str:
    return HTTPStatus(status).phrase


def _headers(answer: ScriptedAnswer) -> dict[str, str]:
    return {"Server": "uvicorn", **answer.headers}
