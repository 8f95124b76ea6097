"""JSON of others is read as Python reads it, but bounded and in small steps."""

import json
import random
import time
import tracemalloc

import pytest

from poddispatchd.domain.callback import CallbackBody
from poddispatchd.domain.json_body import SLICE, read_json
from poddispatchd.domain.script_output import LIMIT, BoundedText, bounded, storable
from poddispatchd.errors import CallbackRefusedError


def _read(body: bytes) -> tuple[object, int]:
    """The value, and in how many steps it was read."""
    steps, count = read_json(body), 0
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            return finished.value, count
        count += 1


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "b": [true, null, 1.5e3, NaN]}',
        '  {"a":"x\\\\ny\\\\u00e9\\\\ud83d\\\\ude00"}  ',
        '{"a": "' + "é€😀" * 20_000 + '"}',
        '{"a": "' + '\\"' * 50_000 + '", "b": "\\\\"}',
        '{"a": "' + "\\\\ud83d\\\\ude00" * 20_000 + '"}',
        '{"a": "x' + "\\\\ud83d\\\\ude00" * 20_000 + '"}',
        '{"a": "' + "\\\\\\\\" * 70_001 + '", "a": "last"}',
        json.dumps({"task_id": "t", "script_output": "0123456789abcdef" * 60_000}),
    ],
)
def test_a_text_of_any_length_is_read_as_python_reads_it(text: str) -> None:
    value, _ = _read(text.encode())
    assert value == json.loads(text)


@pytest.mark.parametrize("seed", range(20))
def test_random_long_strings_are_decoded_as_python_decodes_them(seed: int) -> None:
    generator = random.Random(seed)
    units = ["a" * 50, "é", "😀", '"', "\\", "\n", "\ud83d", "\u2028", "x" * 5000, "\\u00"]
    text = "".join(generator.choice(units) for _ in range(3000))
    body = json.dumps({"script_output": text}, ensure_ascii=generator.random() < 0.5)
    value, _ = _read(body.encode("utf-8", "surrogatepass"))
    assert value == {"script_output": bounded(storable(json.loads(body)["script_output"]))}


def test_only_what_is_stored_of_a_long_text_is_kept() -> None:
    text = "begin" + "é" * (3 * LIMIT) + "end"
    value, steps = _read(json.dumps({"o": text}, ensure_ascii=False).encode())
    assert value == {"o": bounded(text)}
    assert steps > 6 * LIMIT / SLICE


@pytest.mark.parametrize("size", [0, 1, LIMIT - 1, LIMIT, LIMIT + 1, 3 * LIMIT + 7])
def test_a_text_in_pieces_is_bounded_like_a_whole_one(size: int) -> None:
    text = ("abcdefghijklmnopqrstuvw" * (size // 23 + 1))[:size]
    pieces = BoundedText()
    for begin in range(0, size, 77_777):
        pieces.add(text[begin : begin + 77_777])
    assert pieces.text() == bounded(text)


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"[]," * (2**21) + b"[]]",
        b"[" * 1000 + b"]" * 1000,
        b'{"a":' * 1000 + b"1" + b"}" * 1000,
        b"[" * 2**20,
        b'["' + b'","' * 200_000 + b'"]',
        b'{"a": "' + b"x" * 2**20,
        b'{"a": "' + b"\\" * (2**20 + 1) + b'"}',
        b'{"a": "' + b"\\u12" * 2**17 + b'"}',
        b'{"a": "' + b"\n" * 2**17 + b'"}',
        b'{"a": "' + b"\xff" * 2**17 + b'"}',
        b" " * 2**21 + b"{}",
        b"1" * 2**21,
        json.dumps("x" * 2**20).encode("utf-16"),
        b"",
    ],
    ids=lambda body: f"{body[:8]!r} {len(body)}",
)
def test_what_no_callback_needs_is_refused_cheaply(body: bytes) -> None:
    begun = time.process_time()
    with pytest.raises(ValueError):  # noqa: PT011 - any will do
        _read(body)
    assert time.process_time() - begun < 2
    tracemalloc.start()
    try:
        with pytest.raises(ValueError):  # noqa: PT011 - any will do
            _read(body)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 3 * len(body) + 2**22


def test_no_step_takes_long() -> None:
    bodies = [
        b'{"task_id": "t", "script_output": "' + unit * (3 * 2**20 // len(unit)) + b'"}'
        for unit in (b"x", b'\\"', b"\\\\", b"\\u00e9", "é".encode(), b"\\ud83d\\ude00")
    ]
    longest = 0.0
    for body in bodies:
        steps = CallbackBody.steps(body)
        begun = time.process_time()
        for _ in steps:
            longest = max(longest, time.process_time() - begun)
            begun = time.process_time()
    assert longest < 0.1  # some 3 ms; the whole at once is several times as much


def test_a_notice_that_cannot_be_read_is_the_callers_mistake() -> None:
    with pytest.raises(CallbackRefusedError, match="Invalid request"):
        CallbackBody.read(b"[" * 2**20)
