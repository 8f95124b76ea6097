"""What plain data means to a setting."""

from pathlib import Path
from typing import Annotated, Literal

import pytest

from poddispatchd.config.section import Section, UnfitSettingsError
from poddispatchd.config.validation import Checked, Means, read_value, write_value
from poddispatchd.domain.secret import SecretStr


@pytest.mark.parametrize(
    ("kind", "value", "meant"),
    [
        (bool, "Yes", True),
        (bool, 0, False),
        (int, " 42 ", 42),
        (int, 3.0, 3),
        (str, "007", "007"),
        (str | None, None, None),
        (SecretStr, "s3cr3t", SecretStr("s3cr3t")),
        (Path, "/srv", Path("/srv")),
        (tuple[int, ...], ["1", 2], (1, 2)),
        (dict[str, tuple[str, ...]], {"a": ["b"]}, {"a": ("b",)}),
        (Literal["requeue", "fail"], "fail", "fail"),
    ],
)
def test_plain_data_becomes_a_value_and_the_value_plain_data(
    kind: object, value: object, meant: object
) -> None:
    assert read_value(kind, value) == (meant, [])
    if not isinstance(meant, SecretStr):
        assert read_value(kind, write_value(kind, meant)) == (meant, [])


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (bool, 2, "write true or false"),
        (int, True, "write a whole number"),
        (int, 3.5, "write a whole number"),
        (int, float("nan"), "write a whole number"),
        (str, 7, "write text, in quotes if it looks like a number"),
        (SecretStr, None, "write text, in quotes if it looks like a number"),
        (Path, 7, "write a path"),
        (tuple[str, ...], "a", "write a list, as [a, b]"),
        (dict[str, int], [], "write names with values, as {name: value}"),
        (Literal["a", "b", "c"], "d", "write a, b or c"),
        (Literal["a", "b"], [], "write a or b"),
        (Annotated[tuple[str, ...], Means("", min_length=1)], [], "write at least 1 of them"),
        (Annotated[int, Means("", gt=0)], 0, "write more than 0"),
        (Annotated[int, Means("", lt=9)], 9, "write less than 9"),
        (Annotated[str, Means("", pattern="^/")], "x", "write text of the form ^/"),
    ],
)
def test_what_is_none_is_told_in_words(kind: object, value: object, words: str) -> None:
    _, findings = read_value(kind, value)

    assert [words] == [finding.words for finding in findings]


def _even(number: int) -> int:
    if number % 2:
        raise ValueError("write an even number")
    return number


class _Inner(Section, frozen=True):
    numbers: Annotated[tuple[Annotated[int, Checked(_even)], ...], Means("Even ones")] = ()
    names: Annotated[dict[Literal["a", "b"], int], Means("By name")] = {}  # noqa: RUF012 - msgspec copies it


class _Outer(Section, frozen=True):
    inner: _Inner = _Inner()


def test_everything_that_is_wrong_is_told_with_its_place() -> None:
    with pytest.raises(UnfitSettingsError) as caught:
        _Outer.read({"inner": {"numbers": [2, 3, "x"], "names": {"c": 1, "a": "y"}, "more": 1}, "other": {}})

    assert [(finding.path, finding.words) for finding in caught.value.findings] == [
        (("inner", "numbers", "1"), "write an even number"),
        (("inner", "numbers", "2"), "write a whole number"),
        (("inner", "names", "c"), "write a or b"),
        (("inner", "names", "a"), "write a whole number"),
        (("inner", "more"), ""),
        (("other",), ""),
    ]


def test_a_section_that_is_none_is_told_and_one_that_was_made_is_taken() -> None:
    with pytest.raises(UnfitSettingsError, match="inner: write its keys below it, indented"):
        _Outer.read({"inner": 3})
    made = _Inner(numbers=(2,))
    assert _Outer.read({"inner": made}).inner is made


def test_a_secret_is_shown_nowhere_but_to_who_asks() -> None:
    secret = SecretStr("hunter2")

    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert secret.get_secret_value() == "hunter2"
    assert secret == SecretStr("hunter2")
    assert len({secret, SecretStr("hunter2"), SecretStr("other")}) == 2
    assert secret
    assert not SecretStr("")
