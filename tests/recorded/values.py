"""Recorded documents as types: JSON, and the three ways to look into it."""

from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def mapping(value: Json) -> dict[str, Json]:
    assert isinstance(value, dict)
    return value


def items(value: Json) -> list[Json]:
    assert isinstance(value, list)
    return value


def text(value: Json) -> str:
    assert isinstance(value, str)
    return value
