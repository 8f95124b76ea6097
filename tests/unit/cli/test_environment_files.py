"""Files of variables say to root's commands what they say to the daemon, which systemd gives them."""

import os
from pathlib import Path

import pytest

from poddispatchd.cli.environment_files import assignments, variables
from poddispatchd.cli.unit import parsed

LINES = [
    ("A=plain", "plain"),
    ("A = plain  ", "plain"),
    ("A=", ""),
    ("A=it's", "it's"),
    ('A=say "so"', 'say "so"'),
    ("A=a#b;c", "a#b;c"),
    ("A=one two  three", "one two  three"),
    ("A=host=/run/postgresql password='a b'", "host=/run/postgresql password='a b'"),
    ("A='a \\ b'", "a \\ b"),
    ('A="a b # c"', "a b # c"),
    ('A="a \\"b\\" \\$c \\d"', 'a "b" $c \\d'),
    ("A=a\\'b\\\\c", "a'b\\c"),
    ("A=one\\\ntwo", "onetwo"),
    ("A='two\nlines'", "two\nlines"),
    ("A='a''b'", "ab"),
]
"""What stands in a file, and the value of A; under systemd it is compared with what that makes of it."""


@pytest.mark.parametrize(("line", "value"), LINES)
def test_a_value_is_what_systemd_takes_it_for(line: str, value: str) -> None:
    """A password with an apostrophe was none: the command had no DSN at all."""
    assert list(assignments(line)) == [("A", value)]


def test_comments_and_what_is_no_variable_are_passed_over() -> None:
    assert list(assignments("# A=1\n ; B=2\n\nnonsense\nC=3\n  D=4")) == [("C", "3"), ("D", "4")]


def test_files_are_chosen_by_wildcards_in_their_order_and_what_never_ends_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "10.env").write_text("A=1\nB=1\n")
    (tmp_path / "20.env").write_text("A=2\n")
    os.mkfifo(tmp_path / "30.env")
    (tmp_path / "40.env").mkdir()
    with (tmp_path / "50.env").open("wb") as huge:
        huge.truncate(1 << 40)
    (tmp_path / "60.env").write_bytes(b"A=\xff\n")
    assert list(variables(f"-{tmp_path}/*.env")) == [("A", "1"), ("B", "1"), ("A", "2")]
    assert list(variables(f"-{tmp_path}/none")) == []


def test_the_path_of_a_file_may_hold_blanks(tmp_path: Path) -> None:
    file = tmp_path / "of poddispatchd"
    file.write_text("PODDISPATCHD_DATABASE__DSN=postgresql://pod:it's@db/pod\n")
    unit = parsed("poddispatchd.service", f"[Service]\nEnvironmentFile=-{file}\n")
    assert unit.environment == {"PODDISPATCHD_DATABASE__DSN": "postgresql://pod:it's@db/pod"}
