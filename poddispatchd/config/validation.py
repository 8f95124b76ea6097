"""What plain data means to a setting, as its type says, and everything that is wrong with it.

A type is written as Python has it: ``int``, ``tuple[str, ...]``, ``Path | None``, ``Literal["a", "b"]``,
with ``Means`` for its meaning and bounds, and ``Written`` or ``Checked`` where people write something else.
"""

import re
import types
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from msgspec import Struct

from poddispatchd.domain.secret import SecretStr

KeyPath = tuple[str, ...]

_UNSTORABLE = re.compile("[\\0\ud800-\udfff]")

_YES = frozenset({"1", "on", "t", "true", "y", "yes"})
_NO = frozenset({"0", "off", "f", "false", "n", "no"})


class Means(Struct, frozen=True):
    """What a setting means, and what it can be; bounds are those of the value, not of its text."""

    description: str
    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    min_length: int | None = None
    pattern: str | None = None


class Written(Struct, frozen=True):
    """How people write a value: ``read`` raises a ValueError with what to write instead."""

    read: Callable[[object], Any]
    write: Callable[[Any], object]


class Checked(Struct, frozen=True):
    """What is looked at after a value was read, and may change it; raises a ValueError likewise."""

    check: Callable[[Any], Any]


class UnfitValue(Struct, frozen=True):
    """What is wrong with a value.

    Args:
        path: where it stands.
        words: what to write instead; empty: its key is unknown.
        value: what was written.
        shown: how it is told where the value itself would be misunderstood: a bound has its unit.
    """

    path: KeyPath
    words: str
    value: object = None
    shown: str | None = None


class _UnfitError(ValueError):
    """The value is none of this type; the words say what to write."""


def notes_of(annotation: object) -> tuple[object, tuple[object, ...]]:
    """The plain type, and what stands beside it."""
    if get_origin(annotation) is Annotated:
        return get_args(annotation)[0], annotation.__metadata__  # type: ignore[attr-defined] # of Annotated
    return annotation, ()


def read_value(annotation: object, value: object, at: KeyPath = ()) -> tuple[object, list[UnfitValue]]:
    """The value of a setting, and what is wrong with it; the value counts only if nothing is."""
    kind, notes = notes_of(annotation)
    written = next((note for note in notes if isinstance(note, Written)), None)
    try:
        if written is not None:
            found: object = written.read(value)
        else:
            found, findings = _read_kind(kind, value, at)
            if findings:
                return None, findings
        for note in notes:
            if isinstance(note, Checked):
                found = note.check(found)
    except ValueError as error:
        return None, [UnfitValue(at, str(error), value)]
    write = str if written is None else written.write
    for note in notes:
        if isinstance(note, Means) and found is not None and (words := _beyond(note, found, write)):
            is_number = isinstance(found, (int, float))
            return None, [UnfitValue(at, words, value, str(write(found)) if is_number else None)]
    return found, []


def write_value(annotation: object, value: object) -> object:
    """Plain data from which ``read_value`` makes this value again."""
    kind, notes = notes_of(annotation)
    if (written := next((note for note in notes if isinstance(note, Written)), None)) is not None:
        return written.write(value)
    match value:
        case tuple():
            return [write_value(get_args(kind)[0], item) for item in value]
        case Mapping():
            of = get_args(kind)[1]
            return {str(name): write_value(of, item) for name, item in value.items()}
        case Enum():
            return value.value
        case Path():
            return str(value)
        case _:
            return value


def _read_kind(kind: object, value: object, at: KeyPath) -> tuple[object, list[UnfitValue]]:
    """A value of a type without notes; what holds others tells all that is wrong in it.

    Raises:
        _UnfitError: it is none of that type.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None:
            return None, []
        return read_value(next(part for part in parts if part is not types.NoneType), value, at)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise _UnfitError("write a list, as [a, b]")
        read = [read_value(parts[0], item, (*at, str(number))) for number, item in enumerate(value)]
        return tuple(item for item, _ in read), [each for _, found in read for each in found]
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _UnfitError("write names with values, as {name: value}")
        return _read_mapping(parts, value, at)
    if origin is Literal:
        if value not in parts:
            raise _UnfitError(f"write {_or(parts)}")
        return value, []
    return _read_plain(kind, value), []


def _read_mapping(
    parts: tuple[object, ...], value: Mapping[object, object], at: KeyPath
) -> tuple[object, list[UnfitValue]]:
    made: dict[object, object] = {}
    findings: list[UnfitValue] = []
    for name, inner in value.items():
        path = (*at, str(name))
        key, wrong_key = read_value(parts[0], name, path)
        made[key], wrong = read_value(parts[1], inner, path)
        findings += wrong_key or wrong
    return made, findings


def _read_plain(kind: object, value: object) -> object:
    if kind is bool:
        text = str(value).lower() if isinstance(value, (bool, str, int)) else ""
        if text not in _YES | _NO:
            raise _UnfitError("write true or false")
        return text in _YES
    if kind is int:
        if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d+\s*", value):
            return int(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
            raise _UnfitError("write a whole number")
        return int(value)
    if kind is SecretStr:
        return value if isinstance(value, SecretStr) else SecretStr(_text(value))
    if kind is Path:
        if not isinstance(value, (str, Path)):
            raise _UnfitError("write a path")
        return Path(_text(str(value)))
    if isinstance(kind, type) and issubclass(kind, Enum):
        if value not in list(kind):
            raise _UnfitError(f"write {_or([member.value for member in kind])}")
        return kind(value)
    assert kind is str, kind  # noqa: S101 - a setting of another type wants a line above
    return _text(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _UnfitError("write text, in quotes if it looks like a number")
    if _UNSTORABLE.search(value) is not None:
        raise _UnfitError(
            r"leave out what neither a file's name nor a database can hold (\0, \ud800 to \udfff)"
        )
    return value


def _or(values: tuple[object, ...] | list[object]) -> str:
    *others, last = map(str, values)
    return f"{', '.join(others)} or {last}" if others else last


def _beyond(bounds: Means, value: Any, write: Callable[[Any], object]) -> str:  # noqa: ANN401 - of any type
    """What to write instead of a value outside of its bounds; empty: it is inside."""
    if bounds.gt is not None and not value > bounds.gt:
        return f"write more than {write(bounds.gt)}"
    if bounds.ge is not None and not value >= bounds.ge:
        return f"write {write(bounds.ge)} or more"
    if bounds.lt is not None and not value < bounds.lt:
        return f"write less than {write(bounds.lt)}"
    if bounds.le is not None and not value <= bounds.le:
        return f"write {write(bounds.le)} or less"
    if bounds.pattern is not None and re.fullmatch(bounds.pattern, value) is None:
        return f"write text of the form {bounds.pattern}"
    if bounds.min_length is not None and len(value) < bounds.min_length:
        return f"write at least {bounds.min_length} of them"
    return ""
