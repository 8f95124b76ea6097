"""The object of an answer, whole or cut, against what Python's own parser makes of it."""

import json
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from poddispatchd.runner.json_object import DEEPEST, MOST_VALUES, read_object

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_OBJECTS = st.dictionaries(st.text(), _VALUES, max_size=5)


@given(_OBJECTS, st.booleans(), st.sampled_from([None, 1]))
def test_a_whole_object_is_what_pythons_parser_makes_of_it(
    value: dict[str, object], escaped: bool, indent: int | None
) -> None:
    body = json.dumps(value, ensure_ascii=escaped, indent=indent).encode(errors="surrogatepass")
    assert read_object(body) == json.loads(body)


@given(_OBJECTS, st.floats(0, 1))
@example({"": {"]": None}}, 0.5)
def test_of_a_cut_object_every_member_is_right_and_only_the_last_may_be_cut(
    value: dict[str, object], part: float
) -> None:
    body = json.dumps(value).encode()
    cut = max(round(part * len(body)), 1)
    found = read_object(body[:cut], is_cut=True)
    assert list(found) == list(value)[: len(found)]
    for position, (name, member) in enumerate(found.items()):
        whole = value[name]
        if position + 1 == len(found) and isinstance(whole, str):
            assert isinstance(member, str)
            assert whole.startswith(member[:-1])  # a pair of surrogates may be cut in two
        else:
            assert member == json.loads(json.dumps(whole))


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_break_it(body: bytes, is_cut: bool) -> None:
    with suppress(ValueError):
        assert isinstance(read_object(body, is_cut=is_cut), dict)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{} x",
        b'{"a": 1',
        b'{"a": 1,}',
        b'{"a" 1}',
        b'{"a": tru}',
        b'{"a": "\\x"}',
        b'{"a": [1}',
        b"\xff{}",
        b'{"a": ' + b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1) + b"}",
        b'{"a": [' + b"1," * (2 * MOST_VALUES + 1) + b"1]}",
        b"{" + b",".join(b'"%d": 1' % number for number in range(2000)) + b"}",
        b"{" + b'"":1,' * 2000 + b'"":1}',
    ],
    ids=lambda body: str(body[:12]),
)
def test_what_is_no_object_or_none_of_an_honest_manager_is_refused(body: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        read_object(body)


def test_a_byte_order_mark_is_passed_over() -> None:
    assert read_object(b'\xef\xbb\xbf {"a": [1, "]"]} ') == {"a": [1, "]"]}


def test_a_long_text_of_escapes_takes_no_memory_beyond_its_own() -> None:
    """A pattern remembered each of them: 250 MB for a record of four megabytes."""
    body = b'{"error_message": "' + b'\\n\\"' * 2**17
    tracemalloc.start()
    try:
        assert read_object(body, is_cut=True) == {"error_message": '\n"' * 2**17}
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 16 * len(body)
