"""Many unauthenticated clients hear by the head of their request alone what they would hear otherwise."""

import asyncio

import pytest

from poddispatchd.web.unauthenticated import (
    Serve,
    UnauthenticatedRequests,
    Verdict,
    head_of,
    is_framed,
    is_whole,
    status_for,
)

PATH = "/runner/notify_task_end/"
TOKEN = b"a-token"


def request(*headers: str, line: str = f"POST {PATH} HTTP/1.1", body: str = "") -> bytes:
    return "\r\n".join([line, "Host: x", *headers, "", body]).encode("latin-1")


JSON = "Content-Type: application/json"


class World:
    """Their clock and tokens are set by hand; ``looking`` is a look at the database."""

    def __init__(self) -> None:
        self.now = 0.0
        self.told: list[tuple[str, int]] = []
        self.refused = {b"wrong"}
        self.looking: asyncio.Future[None] | None = None
        self.requests = UnauthenticatedRequests(
            PATH,
            {status: {"error": f"words of {status}"} for status in (400, 401, 403, 404, 405, 415, 503)},
            {"Server": "us"},
            tokens=self,
            refused=lambda address, status: self.told.append((address, status)),
            monotonic=lambda: self.now,
        )

    def has_seen(self, token: bytes) -> bool:
        return token == TOKEN

    def is_refused(self, token: bytes) -> bool:
        return token in self.refused

    def refuse(self, token: bytes) -> None:
        self.refused.add(token)

    def reading(self) -> "asyncio.Future[None] | None":
        return self.looking

    def judge(self, data: bytes) -> Verdict:
        return self.requests.judge("203.0.113.9", data)

    def crowded(self) -> "World":
        while isinstance(self.judge(request(line="GET / HTTP/1.1")), Serve):
            pass
        self.told.clear()
        return self


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(line="GET / HTTP/1.1"), 404),
        (request(line=f"GET {PATH}?a=b HTTP/1.1"), 405),
        (request(), 415),
        (request("Content-Type: text/plain"), 415),
        (request(JSON), 401),
        (request(JSON, "Authorization: Basic x"), 401),
        (request(JSON, "Authorization: Bearer "), 401),
        (request("CONTENT-TYPE:application/json", "aUTHORIZATION:bearer  wrong "), 403),
        (request(line="GET http://x HTTP/1.1"), 404),
        (request(line=f"GET http://x{PATH} HTTP/1.1"), 405),
        (request(line="nonsense"), 400),
        (request(line="GET / a HTTP/1.1"), 400),
        (request(" HTTP/1.1", line="GET /"), 400),
        (request(line="P@ST / HTTP/1.1"), 400),
        (request(line="GET * HTTP/1.1"), 400),
        (request(line="CONNECT x:443 HTTP/1.1"), 400),
    ],
)
def test_in_a_crowd_the_head_alone_decides(data: bytes, status: int) -> None:
    world = World().crowded()
    answer = world.judge(data)
    assert isinstance(answer, bytes)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"\r\nConnection: close\r\n" in answer
    assert b"\r\nServer: us\r\n" in answer
    body = b'{"error": "words of %d"}' % status
    assert answer.endswith(b"\r\n\r\n" + body)
    assert b"\r\nContent-Type: application/json; charset=utf-8\r\n" in answer
    assert b"\r\nContent-Length: %d\r\n" % len(body) in answer
    assert (b"\r\nAllow: POST\r\n" in answer) is (status == 405)
    assert world.told == [("203.0.113.9", status)]


@pytest.mark.parametrize(
    "data",
    [
        request(JSON, "Authorization: Bearer a-token"),
        request(JSON, "Authorization: Bearer wrong", "Authorization: Bearer a-token"),
        request("Authorization: Bearer a-token", line="nonsense"),
        request("Authorization: Bearer a-token", line=f"POST http://x{PATH} HTTP/1.1"),
    ],
)
def test_whoever_may_have_a_token_is_served_as_ever(data: bytes) -> None:
    world = World().crowded()
    assert world.judge(data) == Serve(TOKEN)
    assert world.told == []


async def test_in_a_crowd_a_token_that_is_not_known_yet_waits_for_a_look_at_the_database() -> None:
    world = World().crowded()
    world.looking = asyncio.get_running_loop().create_future()
    new = request(JSON, "Authorization: Bearer perhaps-new")
    assert world.judge(new) is world.looking
    world.looking.set_result(None)
    answer = world.requests.judge("203.0.113.9", new, world.looking)
    assert isinstance(answer, bytes)
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert world.refused == {b"wrong", b"perhaps-new"}
    # Whoever has waited for a look is not told to wait for another one.
    looked, world.looking = world.looking, asyncio.get_running_loop().create_future()
    newer = request(JSON, "Authorization: Bearer newer")
    assert isinstance(world.requests.judge("203.0.113.9", newer, looked), bytes)


async def test_in_a_crowd_a_token_that_the_database_cannot_tell_is_to_come_again() -> None:
    world = World().crowded()
    new = request(JSON, "Authorization: Bearer perhaps-new")
    failed = asyncio.get_running_loop().create_future()
    failed.set_exception(OSError())
    for answer in (world.judge(new), world.requests.judge("203.0.113.9", new, failed)):
        assert isinstance(answer, bytes)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 30\r\n" in answer
    assert world.refused == {b"wrong"}


def test_a_few_unauthenticated_requests_a_second_are_served_as_all_are() -> None:
    world = World()
    data = request(JSON, "Authorization: Bearer wrong")
    assert [world.judge(data) for _ in range(50)] == [Serve()] * 50
    assert isinstance(world.judge(data), bytes)
    world.now += 0.1
    assert [world.judge(data) == Serve() for _ in range(6)] == [True] * 5 + [False]


def test_who_asks_for_the_head_of_an_answer_gets_no_body() -> None:
    answer = World().crowded().judge(request(line=f"HEAD {PATH} HTTP/1.1"))
    assert isinstance(answer, bytes)
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert answer.endswith(b"\r\n\r\n")


_AUTHORIZED = "POST / HTTP/1.1\r\nAuthorization: Bearer a-token\r\n\r\n"
"""The head of a request in the body of another one."""


def test_a_head_that_only_contains_a_token_elsewhere_is_unauthenticated() -> None:
    head = head_of(request(JSON, "X-A: Authorization: Bearer a-token", body=f"\r\n{_AUTHORIZED}"))
    assert status_for(head, PATH.encode()) == 401


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((), True),
        (("Content-Length: 12 ",), True),
        (("content-length: 12",), True),
        (("transfer-encoding:Chunked",), True),
        (("Content-Length: 12", "Content-Length: 12"), False),
        (("Content-Length: 12", "Transfer-Encoding: chunked"), False),
        (("Content-Length: +12",), False),
        (("Content-Length:",), False),
        (("Transfer-Encoding: chunked, x",), False),
        (("Transfer-Encoding : gzip",), False),
    ],
)
def test_a_body_whose_end_is_not_said_plainly_is_not_even_served(
    headers: tuple[str, ...], expected: bool
) -> None:
    data = request(JSON, "Authorization: Bearer a-token", *headers, body="\r\nContent-Length: x\r\n\r\n")
    assert is_framed(data) is expected
    world = World()
    verdict = world.judge(data)
    if expected:
        assert verdict == Serve(TOKEN)
    else:
        assert isinstance(verdict, bytes)
        assert verdict.startswith(b"HTTP/1.1 400 ")
        assert world.told == [("203.0.113.9", 400)]


@pytest.mark.parametrize(
    ("data", "is_it"),
    [
        (request(), True),
        (request("Content-Length: 2", body="{}"), True),
        (request("Content-Length: 6", body="{}\r\n\r\n"), True),
        (request("content-length:2 ", body="{}"), True),
        (request("Content-Length: 3", body="{}"), False),
        (request("Content-Length: 2", "Content-Length: 2", body="{}"), False),
        (request("Content-Length: " + "9" * 9000, body="{}"), False),
        (request("Transfer-Encoding: chunked", body="0\r\n\r\n"), False),
        (b"\x16\x03\x01", False),
    ],
)
def test_a_request_is_all_there_only_if_it_says_so_plainly(data: bytes, is_it: bool) -> None:
    assert is_whole(data) is is_it
