import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poddispatchd.domain.script_output import (
    failure_words,
    merge_output,
    storable,
    without_callback_warning,
)

_TEXT = st.text(st.characters(), max_size=60)
_MAYBE = st.none() | _TEXT
_LIMIT = 100


def test_an_error_message_and_an_output_are_joined_by_a_line_of_dashes() -> None:
    assert merge_output("old|", "e", "o") == "old|e\n---\no"
    assert merge_output(None, "boom", None) == "boom\n---\n"
    assert merge_output(None, "", "") == "\n---\n"


def test_an_output_alone_is_appended_as_it_is() -> None:
    assert merge_output("old", None, "new") == "oldnew"
    assert merge_output(None, None, None) == ""


def test_progress_that_grows_is_appended_each_time() -> None:
    text = ""
    for line in ("1\n", "2\n", "3\n"):
        text = merge_output(text, None, line)
    assert text == "1\n2\n3\n"


def test_nul_characters_go_and_lone_surrogates_are_replaced() -> None:
    assert merge_output("a\0", "\ud800b", "c\udfff") == "a\ufffdb\n---\nc\ufffd"


def test_of_an_output_that_is_too_long_the_beginning_and_the_end_stay() -> None:
    merged = merge_output("BEGIN" + "x" * 200, None, "y" * 200 + "END", limit=_LIMIT)
    assert merged.startswith("BEGIN")
    assert merged.endswith("END")
    assert "left out" in merged
    assert len(merged.encode()) <= _LIMIT


def test_an_output_of_the_largest_callback_is_bounded_to_a_mebibyte() -> None:
    merged = merge_output(None, None, "é" * 4 * 2**20)
    assert 2**20 - 10 < len(merged.encode()) <= 2**20


@given(_MAYBE, _MAYBE, _MAYBE)
def test_a_repeated_callback_changes_nothing(old: str | None, error: str | None, output: str | None) -> None:
    once = merge_output(old, error, output, limit=_LIMIT)
    assert merge_output(once, error, output, limit=_LIMIT) == once


@given(_MAYBE, _MAYBE, _MAYBE)
def test_every_merged_output_can_be_stored_and_is_bounded(
    old: str | None, error: str | None, output: str | None
) -> None:
    merged = merge_output(old, error, output, limit=_LIMIT)
    assert "\0" not in merged
    assert len(merged.encode("utf-8")) <= _LIMIT


@given(_TEXT, _TEXT)
def test_short_texts_lose_nothing(error: str, output: str) -> None:
    assert merge_output("", error, output) == storable(error) + "\n---\n" + storable(output)


def test_people_read_the_error_message_else_the_output_else_that_it_failed() -> None:
    assert failure_words("boom", "out", "failed") == "boom"
    assert failure_words("", "out\n", "failed") == "out\n"
    assert failure_words(None, None, "timeout") == "Runner manager task timeout"


@given(_MAYBE, _TEXT)
def test_a_success_told_by_status_and_by_callback_stands_there_once(old: str | None, output: str) -> None:
    told_once = merge_output(old, None, output, limit=_LIMIT)
    for no_error in (None, ""):
        assert merge_output(told_once, no_error, output, limit=_LIMIT) == told_once or not storable(output)


def test_pods_words_stand_where_a_manager_sent_something_that_says_nothing() -> None:
    assert failure_words("0", "0", "failed") == "Runner manager task failed"
    assert failure_words("0", "out", "failed") == "out"
    assert failure_words("\0", "out", "failed") == "out"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (None, None),
        ("boom", "boom"),
        ("boom\n\nNotify callback warning: HTTP 503", "boom"),
        ("boom \n \n\n Notify callback warning: a\n\nb", "boom \n "),
        (" Notify callback warning: a", ""),
        ("Notify callback warning: a", ""),
        ("said: Notify callback warning: a", "said: Notify callback warning: a"),
        ("said\nNotify callback warning: \n\nNotify callback warning: a", "said\nNotify callback warning: "),
    ],
)
def test_an_error_message_loses_what_a_manager_says_of_its_own_call(
    said: str | None, kept: str | None
) -> None:
    assert without_callback_warning(said) == kept


@pytest.mark.parametrize("piece", ["\n", "Notify callback warning: ", "\n Notify callback warning: ", " \n"])
def test_megabytes_of_an_error_message_are_gone_through_once(piece: str) -> None:
    """A million blank lines once held up everything for the best part of an hour."""
    begun = time.thread_time()
    without_callback_warning("a" + piece * (2**21 // len(piece)))
    assert time.thread_time() - begun < 5
