"""Tables and sentences fit a terminal; elsewhere a line stays a line."""

import io
import time
from collections.abc import Callable
from contextlib import redirect_stdout

import click
import pytest

from poddispatchd.cli.tables import print_table, say, shortened_inside, width_of

_HEAD = ("runner manager", "state", "url", "error")
_ROWS = [
    ("encoders", "up", "https://encoders.example.org/", None),
    ("gpu", "down", "https://gpu.example.org/", "it cannot be reached: connection refused (10.0.0.3:443)."),
]
_LONG = "Runner manager gpu is down: it cannot be reached: connection refused (gpu.example.org:443)."


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def sixty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")


def _on(stream: io.StringIO, print_it: Callable[[], None]) -> list[str]:
    with redirect_stdout(stream):
        print_it()
    return click.unstyle(stream.getvalue()).splitlines()


def _on_a_terminal(print_it: Callable[[], None]) -> list[str]:
    return _on(_Terminal(), print_it)


def _into_a_file(print_it: Callable[[], None]) -> list[str]:
    return _on(io.StringIO(), print_it)


def test_columns_that_find_no_room_stand_below_their_row() -> None:
    assert _on_a_terminal(lambda: print_table(_HEAD, _ROWS, empty="")) == [
        "runner manager  state  url",
        "encoders        up     https://encoders.example.org/",
        "gpu             down   https://gpu.example.org/",
        "    error: it cannot be reached: connection refused",
        "        (10.0.0.3:443).",
    ]


def test_a_table_that_fits_is_left_alone() -> None:
    assert len(_on_a_terminal(lambda: print_table(_HEAD[:3], [row[:3] for row in _ROWS], empty=""))) == 3


def test_a_remark_below_a_row_is_wrapped_too() -> None:
    remark = (
        "pause planned from 2026-11-29 22:00:00 CET (in 20 h 07 min) to 2026-11-30 02:00:00 CET: new disks"
    )
    printed = _on_a_terminal(lambda: print_table(("name",), [("gpu",)], empty="", remarks=[remark]))
    filed = _into_a_file(lambda: print_table(("name",), [("gpu",)], empty="", remarks=[remark]))

    assert max(map(len, printed)) <= 60
    assert " ".join(line.strip() for line in printed[2:]) == remark
    assert filed[2:] == [f"    {remark}"]


def test_the_first_column_stays_however_narrow_the_terminal_is() -> None:
    printed = _on_a_terminal(lambda: print_table(("reason", "tasks"), [("x" * 70, 3)], empty=""))

    assert printed == ["reason", "x" * 70, "    tasks: 3"]


def test_what_goes_to_a_file_has_one_line_for_each_row_and_each_sentence() -> None:
    assert len(_into_a_file(lambda: print_table(_HEAD, _ROWS, empty=""))) == 1 + len(_ROWS)
    assert _into_a_file(lambda: say(_LONG, first="PROBLEM ", rest="        ")) == [f"PROBLEM {_LONG}"]


def test_a_sentence_is_wrapped_between_words() -> None:
    printed = _on_a_terminal(lambda: say(_LONG, first=click.style("PROBLEM ", fg="red"), rest="        "))

    assert max(map(len, printed)) <= 60
    assert printed[0].startswith("PROBLEM Runner manager gpu")
    assert all(line.startswith("        ") for line in printed[1:])
    assert " ".join(line.strip() for line in printed) == f"PROBLEM {_LONG}"


def test_nothing_to_say_is_one_line() -> None:
    assert _on_a_terminal(lambda: say("", first="title           ")) == ["title           "]


@pytest.mark.parametrize(
    "text", ["short", "The source file /srv/pod/media/videos/x.mp4 does not exist.", "日本" * 40]
)
def test_a_reason_keeps_its_beginning_and_its_end(text: str) -> None:
    cut = shortened_inside(text, 40)

    assert width_of(cut) <= 40
    assert (cut[:5], cut[-5:]) == (text[:5], text[-5:])
    assert (cut == text) is (width_of(text) <= 40)


def test_a_list_of_failures_is_shortened_at_once() -> None:
    reason = "The source cannot be read as a video. " * 8
    begun = time.thread_time()
    for _ in range(2000):
        shortened_inside(reason, 80)
    assert time.thread_time() - begun < 2
