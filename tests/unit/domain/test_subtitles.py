"""Subtitles are read like Pod reads them, and written so that players accept them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poddispatchd.domain.subtitles import Cue, Subtitles, read_subtitles, reflow
from poddispatchd.errors import ResultRefusedError

LINE = "00:00.000 --> 00:01.000"


def normalised(text: str) -> str:
    return str(read_subtitles("s.vtt", text.encode()))


def test_short_times_are_written_in_full() -> None:
    assert normalised(f"WEBVTT\n\n{LINE}\na\n") == "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\na\n"


def test_hours_beyond_a_day_are_kept() -> None:
    assert "25:00:00.000 --> 100:00:00.500" in normalised("WEBVTT\n\n25:00:00.000 --> 100:00:00.500\na\n")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(encoding: str) -> None:
    assert str(read_subtitles("s.vtt", f"WEBVTT\n\n{LINE}\nété\n".encode(encoding))).endswith("\nété\n")


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_every_line_ending_is_understood(ending: str) -> None:
    text = f"WEBVTT\n\n{LINE}\na\nb\n".replace("\n", ending)
    assert normalised(text) == "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\na\nb\n"


def test_an_arrow_in_a_text_does_not_lose_the_caption() -> None:
    assert normalised(f"WEBVTT\n\n{LINE}\na --> b\n").endswith("\na --&gt; b\n")


def test_notes_styles_and_identifiers_stay_and_positions_go() -> None:
    text = (
        "WEBVTT - a title\nKind: captions\n\nNOTE one\nover two lines\n\nSTYLE\n::cue { color: red }\n\n"
        f"first\n{LINE} line:0 align:start\n<i>a</i> &amp; b\n\nNOTE last\n"
    )
    assert normalised(text) == (
        "WEBVTT\n\nNOTE\none\nover two lines\n\nSTYLE\n::cue { color: red }\n\n"
        "first\n00:00:00.000 --> 00:00:01.000\n<i>a</i> &amp; b\n\nNOTE last\n"
    )


def test_a_caption_without_text_is_left_out() -> None:
    assert normalised(f"WEBVTT\n\n{LINE}\n\n00:01.000 --> 00:02.000\nb\n").count("-->") == 1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<html>", "not WebVTT"),
        (b"", "not WebVTT"),
        ("WEBVTT\n\n00:00.000 --> 00:01.000\né".encode("latin-1"), "not text in UTF-8"),
        (b"WEBVTT\n\nNOTE nothing was said\n", "no caption"),
        (b"WEBVTT\n", "no caption"),
    ],
)
def test_what_cannot_be_imported_is_said_in_words(data: bytes, words: str) -> None:
    with pytest.raises(ResultRefusedError, match=words) as caught:
        read_subtitles("s.vtt", data)
    assert "s.vtt" in str(caught.value)


def test_a_long_caption_is_split_by_words_and_shares_its_time() -> None:
    words = " ".join(["mot"] * 30)
    parts = reflow(Subtitles((Cue(0, 30, (words,)),)), 40).cues
    assert [(part.start, part.end) for part in parts] == [(0, 20), (20, 30)]
    assert " ".join(part.lines[0] for part in parts) == words


def test_a_word_longer_than_the_line_is_cut() -> None:
    (part,) = reflow(Subtitles((Cue(0, 1, ("x" * 60,)),)), 55).cues
    assert part.lines == (f"{'x' * 55} {'x' * 5}",)


def test_a_caption_that_fits_stays_as_it_is() -> None:
    subtitles = Subtitles((Cue(0, 1, ("a" * 55, "b" * 55), "id", ("note",)),))
    assert reflow(subtitles, 55) == subtitles


@given(
    st.lists(st.text("abcdefgh'-", min_size=1, max_size=70), min_size=1, max_size=80),
    st.sampled_from([40, 55]),
    st.floats(0, 10_000),
    st.floats(0, 100),
)
def test_splitting_loses_no_letter_and_no_time(
    words: list[str], width: int, start: float, length: float
) -> None:
    parts = reflow(Subtitles((Cue(start, start + length, (" ".join(words),)),)), width).cues
    letters = "".join(line for part in parts for line in part.lines).replace(" ", "")
    assert letters == "".join(words)
    assert parts[0].start == start
    assert parts[-1].end == pytest.approx(start + length)
    assert all(one.end == two.start for one, two in pairwise(parts))
    assert all(len(line) <= 2 * width + 1 for part in parts for line in part.lines)
