"""Subtitles are read like Pod reads them, and written so that players accept them."""

import re
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poddispatchd.domain.subtitles import Cue, Subtitles, clean_text, read_subtitles, reflow
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


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"])
def test_a_character_that_only_python_takes_for_a_line_end_ends_no_caption(separator: str) -> None:
    """Before 0.6 the library took two of them for a blank line, and what followed was lost."""
    (cue,) = read_subtitles("s.vtt", f"WEBVTT\n\n{LINE}\na{separator * 2}b\n".encode()).cues
    assert cue.lines == (f"a{separator * 2}b",)


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
    assert [line.rstrip() for line in part.lines] == ["x" * 55, "x" * 5]


def test_short_captions_are_wrapped_anew_as_pod_stores_them() -> None:
    """Pod fills the lines up to the width; so do we, and both write the same file."""
    cues = (
        Cue(0, 1, ("un deux trois quatre cinq", "six")),
        Cue(1, 2, ("un mot " * 8 + "fin", "et un autre")),
    )
    one, two = reflow(Subtitles(cues), 55).cues
    assert one.lines == ("un deux trois quatre cinq six".ljust(55),)
    assert two.lines == (("un mot " * 7 + "un mot").ljust(55), "fin et un autre".ljust(55))
    assert (two.start, two.end) == (1, 2)


def test_a_caption_that_is_wrapped_anew_keeps_its_words_and_no_markup() -> None:
    """Pod's own wrapping takes the text without tags; one broken in two swallows what stands behind it."""
    said = "<v Jean Dupont>un <i>deux</i> <00:00:00.500>trois &lt; quatre " * 5
    first, *others = reflow(Subtitles((Cue(0, 10, (said, said)),)), 40).cues
    assert first.lines[0].startswith("un deux trois &lt; quatre un deux trois &lt; quatre")
    words = [word for cue in (first, *others) for line in cue.lines for word in line.split()]
    assert words == ["un", "deux", "trois", "&lt;", "quatre"] * 10
    assert (first.start, others[-1].end) == (0, 10)


def test_a_caption_that_is_wrapped_anew_has_one_space_between_words() -> None:
    written = ("  un\tdeux  trois", "quatre\u00a0! \u2028cinq ")
    (cue,) = reflow(Subtitles((Cue(0, 1, written),)), 40).cues
    assert cue.lines == ("un deux trois quatre ! cinq".ljust(40),)


def test_a_caption_that_fills_its_lines_stays_as_it_is() -> None:
    subtitles = Subtitles((Cue(0, 1, ("a" * 55, "b" * 55)),))
    assert reflow(subtitles, 55) == subtitles


@pytest.mark.parametrize("said", ["short", "word " * 40])
def test_captions_that_are_wrapped_anew_have_no_identifier_and_no_note(said: str) -> None:
    """Only those that were split lost theirs: Pod's files have none at all."""
    parts = reflow(Subtitles((Cue(0, 9, (said,), "7", ("note",)),)), 55).cues
    assert {(part.identifier, part.notes) for part in parts} == {("", ())}


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


# --- repairs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("00:00:01,000 --> 00:00:02,500", "00:00:01.000 --> 00:00:02.500"),
        ("75:00.000 --> 75:02.500", "01:15:00.000 --> 01:15:02.500"),
        ("0:1:5.2-->0:1:6", "00:01:05.200 --> 00:01:06.000"),
        ("00:90.000 --> 01:31.0009 align:start", "00:01:30.000 --> 00:01:31.000"),
    ],
)
def test_times_whose_meaning_is_plain_are_repaired(written: str, meant: str) -> None:
    """Captions with SubRip's commas were once passed over without a word."""
    assert normalised(f"WEBVTT\n\n1\n{written}\nBonjour\n") == f"WEBVTT\n\n1\n{meant}\nBonjour\n"


def test_captions_between_others_are_repaired_as_well() -> None:
    text = (
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nUn\n\n00:00:03,000 --> 00:00:04,000\nDeux\n\n"
        "00:00:05.000 --> 00:00:06.000\nTrois"
    )
    assert [cue.lines for cue in read_subtitles("s.vtt", text.encode()).cues] == [
        ("Un",),
        ("Deux",),
        ("Trois",),
    ]


def test_a_blank_line_inside_a_text_loses_nothing() -> None:
    text = f"WEBVTT\n\n1\n{LINE}\nUn\n\ndeux\ntrois\n\n2\n00:01.000 --> 00:02.000\nquatre\n"
    cues = read_subtitles("s.vtt", text.encode()).cues
    assert [(cue.identifier, cue.lines) for cue in cues] == [
        ("1", ("Un", "deux", "trois")),
        ("2", ("quatre",)),
    ]


def test_a_number_apart_from_its_caption_is_no_text_and_a_number_that_is_said_is_one() -> None:
    text = f"WEBVTT\n\n1\n\n{LINE}\nUn\n\n2\n\n{LINE}\nDeux\n\n1984\n\n{LINE}\nTrois\n"
    cues = read_subtitles("s.vtt", text.encode()).cues
    assert [cue.lines for cue in cues] == [("Un",), ("Deux", "1984"), ("Trois",)]


def test_an_identifier_of_thousands_of_digits_counts_nothing() -> None:
    """Python writes no such number: the import of the result ended in an error that nobody foresaw."""
    text = f"WEBVTT\n\n{'1' * 5000}\n{LINE}\nUn\n\n2\n\n{LINE}\nDeux\n"
    cues = read_subtitles("s.vtt", text.encode()).cues
    assert [cue.lines for cue in cues] == [("Un",), ("Deux",)]


def test_captions_without_a_blank_line_between_them_stay_apart() -> None:
    text = f"WEBVTT\n{LINE}\nUn\n2\n00:01.000 --> 00:02.000\nDeux\n00:02.000 --> 00:03.000\nTrois\n"
    cues = read_subtitles("s.vtt", text.encode()).cues
    assert [(cue.start, cue.lines) for cue in cues] == [(0, ("Un",)), (1, ("Deux",)), (2, ("Trois",))]


def test_subrip_under_the_name_of_webvtt_is_read() -> None:
    assert normalised("1\r\n00:00:01,000 --> 00:00:02,000\r\nUn\r\n").endswith("\nUn\n")


def test_captions_that_cannot_be_read_are_counted_and_their_lines_named() -> None:
    text = f"WEBVTT\n\n{LINE}\nUn\n\n1h05 --> 1h06\nDeux\n\n00:01:02:03 --> 00:01:02:04\nTrois\n"
    subtitles = read_subtitles("s.vtt", text.encode())
    assert [cue.lines for cue in subtitles.cues] == [("Un",)]
    (warning,) = subtitles.warnings
    assert warning.startswith("2 of 3 captions in s.vtt could not be read: lines 6, 9 (times are written")


def test_captions_none_of_which_can_be_read_are_never_told_as_silence() -> None:
    text = "WEBVTT\n\n1h05 --> 1h06\nUn\n\n1h07 --> 1h08\nDeux\n"
    with pytest.raises(
        ResultRefusedError, match=r"None of the 2 captions in s\.vtt could be read: lines 3, 6"
    ):
        read_subtitles("s.vtt", text.encode())


@pytest.mark.parametrize("time", ["nan --> nan", "--:--:-- --> --:--:--", "start --> end"])
def test_a_time_that_is_none_is_named_and_its_text_is_not_shown_with_another_caption(time: str) -> None:
    """It was once taken for more of the text of the caption before it, or for silence."""
    text = f"WEBVTT\n\n{LINE}\nUn\n\n{time}\nDeux\n"
    subtitles = read_subtitles("s.vtt", text.encode())
    assert [cue.lines for cue in subtitles.cues] == [("Un",)]
    (warning,) = subtitles.warnings
    assert warning.startswith("1 of 2 captions in s.vtt could not be read: line 6 (")
    with pytest.raises(ResultRefusedError, match=r"None of the 1 captions in s\.vtt could be read: line 3"):
        read_subtitles("s.vtt", f"WEBVTT\n\n{time}\nUn\n".encode())


def test_an_arrow_said_behind_a_blank_line_stays_in_its_caption() -> None:
    text = f"WEBVTT\n\n{LINE}\nUn\n\nde Paris --> vers Lyon\n"
    (cue,) = read_subtitles("s.vtt", text.encode()).cues
    assert cue.lines == ("Un", "de Paris --&gt; vers Lyon")


WORDS = st.lists(st.text("abcdé,.!?", min_size=1, max_size=12), min_size=1, max_size=6)


@given(
    st.lists(st.tuples(WORDS, st.integers(0, 4), st.booleans(), st.booleans()), min_size=1, max_size=8),
)
def test_no_word_of_a_caption_is_lost_however_it_is_written(
    captions: list[tuple[list[str], int, bool, bool]],
) -> None:
    text, said = "WEBVTT\n", []
    for number, (words, blank_at, has_comma, has_identifier) in enumerate(captions):
        time = f"00:{number:02d}:00.000 --> 00:{number:02d}:30.000"
        lines = list(words)
        lines.insert(min(blank_at, len(lines)), "")
        text += "\n" + (f"{number + 1}\n" if has_identifier else "")
        text += (time.replace(".", ",") if has_comma else time) + "\n" + "\n".join(lines) + "\n"
        said += words
    subtitles = read_subtitles("s.vtt", text.encode())
    assert [line for cue in subtitles.cues for line in cue.lines] == said
    assert len(subtitles.cues) == len(captions)
    assert subtitles.warnings == ()


# --- markup -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("<i>a</i> <c.red.b>b</c> &amp; <v Ann O'Neil>c", "<i>a</i> <c.red.b>b</c> &amp; <v Ann O'Neil>c"),
        ("<00:00:00.500>a <lang en-GB>b</lang>", "<00:00:00.500>a <lang en-GB>b</lang>"),
        ("<ruby>a<rt>b</rt></ruby>", "<ruby>a<rt>b</rt></ruby>"),
        ("<script>alert(1)</script>", "alert(1)"),
        ("<img src=x onerror=alert(1)>a", "a"),
        ("<b onclick=alert(1)>a</b>", "<b>a</b>"),
        ('<v a="b" onerror=x>a', "<v>a"),
        ("<<script>script>a", "&lt;script>a"),
        ("<!-- a --><?php b ?>c", "c"),
        ("1 < 2 <3", "1 &lt; 2 &lt;3"),
        ("<scr\nipt>a", "a"),
    ],
)
def test_only_markup_that_webvtt_knows_stays(written: str, kept: str) -> None:
    assert normalised(f"WEBVTT\n\n{LINE}\n{written}\n").endswith(f"00:00:01.000\n{kept}\n")


def test_a_caption_of_nothing_but_unknown_markup_goes() -> None:
    text = f"WEBVTT\n\n{LINE}\n<img src=x>\n\n{LINE}\n<img>\na\n"
    (cue,) = read_subtitles("s.vtt", text.encode()).cues
    assert cue.lines == ("a",)


def test_styles_that_fetch_and_markup_outside_of_captions_go() -> None:
    text = (
        "WEBVTT <script>\n\nNOTE <script>x</script>\n\nSTYLE\n::cue { background: url(http://a/b) }\n\n"
        f"STYLE\n::cue {{ color: red }}\n\n<b>id\n{LINE}\na\n"
    )
    subtitles = read_subtitles("s.vtt", text.encode())
    assert str(subtitles) == (
        "WEBVTT\n\nNOTE &lt;script>x&lt;/script>\n\nSTYLE\n::cue { color: red }\n\n"
        "&lt;b>id\n00:00:00.000 --> 00:00:01.000\na\n"
    )
    assert subtitles.warnings == ("A style in s.vtt that would fetch something was left out.",)


@given(st.text("<>/ab=\"' !?&;scriptv\n", max_size=60))
def test_no_tag_but_those_of_webvtt_is_ever_written(text: str) -> None:
    kept = clean_text(text)
    tags = re.findall(r"<[^>]*>?", kept)
    assert all(re.fullmatch(r"</?(c|i|b|u|ruby|rt|v|lang)[^<>=\"]*>", tag) for tag in tags)


_MANY = 2**18


@pytest.mark.parametrize(
    "text",
    [
        "<" * _MANY,
        "<" * _MANY + ">",
        "<1" * _MANY + ">",
        "< " * _MANY + "b>",
        "<i <" * _MANY,
        "<" + " " * _MANY,
        "<c" + ".a" * _MANY,
        "<v " + "a" * _MANY + "!>",
        "<0" * _MANY + ">",
    ],
    ids=["open", "one end", "no tags", "apart", "tag in tag", "space", "classes", "speaker", "times"],
)
def test_markup_however_long_is_gone_through_once(text: str) -> None:
    """It took time by the square of its length, or more calls within calls than there may be."""
    begun = time.thread_time()
    kept = clean_text(text)
    assert time.thread_time() - begun < 5
    assert "<b" not in kept


@pytest.mark.parametrize(
    "line",
    ["-->" * 10_000 + "1" * 30_000, "-->" * 15_000 + " a b", "1" * 60_000 + "-->", " " * 60_000 + "-->"],
)
def test_a_line_of_arrows_is_a_text_and_gone_through_once(line: str) -> None:
    begun = time.thread_time()
    assert normalised(f"WEBVTT\n\n{LINE}\na\n\n{line}\n").count(" --> ") == 1
    assert time.thread_time() - begun < 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{LINE}\n" + "a" * 100_001, "A caption in s.vtt has more than 100000 characters."),
        ("a\n\n" * 250_001, "The subtitles in s.vtt have more than 500000 lines."),
    ],
)
def test_what_no_player_shows_is_refused_before_it_is_gone_through(text: str, words: str) -> None:
    with pytest.raises(ResultRefusedError) as refused:
        normalised(f"WEBVTT\n\n{text}\n")
    assert str(refused.value) == words
