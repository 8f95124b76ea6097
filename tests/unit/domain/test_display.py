"""Nothing that a runner writes acts on whoever looks at it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poddispatchd.domain.display import colored, escaped, escaped_json


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("\x1b[2J\x1b[31mred", r"\x1b[2J\x1b[31mred"),
        ("\x9b31m\x7f\x08", r"\x9b31m\x7f\x08"),
        ("abc\u202efdp.exe", r"abc\u202efdp.exe"),
        ("10 %\r20 %\r\nend\tx\n", "10 %\n20 %\nend\tx\n"),
        ("Élève — 学 👍", "Élève — 学 👍"),
    ],
)
def test_what_would_act_is_shown_instead(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_our_own_colors_are_kept() -> None:
    assert colored("\x1b[31mPROBLEM\x1b[0m \x1b[8mhidden\x1b]0;x\x07") == (
        "\x1b[31mPROBLEM\x1b[0m \\x1b[8mhidden\\x1b]0;x\\x07"
    )


@given(st.text(st.characters()))
def test_a_json_document_means_what_it_meant(text: str) -> None:
    document = escaped_json(json.dumps({"text": text}, ensure_ascii=False))
    assert json.loads(document) == {"text": text}
    assert escaped(document) == document
