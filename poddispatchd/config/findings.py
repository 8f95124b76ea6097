"""What pydantic finds, in words that name the key, its value and what is allowed."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from poddispatchd.config.keys import Key, KeyPath, known_keys, suggestion
from poddispatchd.config.masking import mask_text

_LONGEST_VALUE = 80

_FIXED = {
    "int_parsing": "write a whole number",
    "int_type": "write a whole number",
    "int_from_float": "write a whole number",
    "int_parsing_size": "write a smaller number",
    "float_parsing": "write a number",
    "float_type": "write a number",
    "finite_number": "write a finite number",
    "bool_parsing": "write true or false",
    "bool_type": "write true or false",
    "string_type": "write text, in quotes if it looks like a number",
    "path_type": "write a path",
    "tuple_type": "write a list, as [a, b]",
    "list_type": "write a list, as [a, b]",
    "dict_type": "write names with values, as {name: value}",
    "model_type": "write its keys below it, indented",
    "model_attributes_type": "write its keys below it, indented",
    "missing": "it must be set",
}

_BOUNDS = frozenset({"greater_than", "greater_than_equal", "less_than", "less_than_equal"})


def words_of(error: ValidationError, origin: Callable[[KeyPath], str]) -> Iterator[tuple[KeyPath, str]]:
    """Every finding as the path of its key and a sentence.

    Args:
        error: what pydantic raised for the whole settings.
        origin: where the value at a path comes from, as ``config.yaml:12``; empty when nobody can tell.
    """
    for finding in error.errors(include_url=False):
        path = tuple(str(part) for part in finding["loc"])
        place = origin(path)
        yield path, f"{place}: {_words(path, finding)}" if place else _words(path, finding)


def _words(path: KeyPath, finding: ErrorDetails) -> str:
    dotted = ".".join(path) or "configuration"
    kind = finding["type"]
    if kind == "extra_forbidden":
        # The value of an unknown key may be a misplaced password: it is not shown.
        return f"unknown key {dotted}{suggestion(path)}"
    key = _key(path)
    allowed = _allowed(finding, key)
    if key is not None and key.is_secret:
        return f"{dotted}: {_without(str(finding['input']), allowed)}"
    if kind == "missing" or key is None:
        # Without a key this is a whole section, which may hold a secret.
        return f"{dotted}: {allowed}"
    # A bound is compared after units are taken off: they are put back.
    value = key.write(finding["input"]) if kind in _BOUNDS else shown(finding["input"])
    return f"{dotted}: {value} cannot be used: {allowed}"


def _key(path: KeyPath) -> Key | None:
    keys = known_keys()
    return next((keys[path[:n]] for n in range(len(path), 0, -1) if path[:n] in keys), None)


def _without(value: str, words: str) -> str:
    return "its value cannot be used" if value and value in words else words


def _allowed(finding: ErrorDetails, key: Key | None) -> str:
    kind = finding["type"]
    context: Mapping[str, object] = finding.get("ctx") or {}
    if kind in _FIXED:
        return _FIXED[kind]
    if kind in ("value_error", "assertion_error"):
        return str(context["error"])
    write = str if key is None else key.write
    match kind:
        case "greater_than":
            return f"write more than {write(context['gt'])}"
        case "greater_than_equal":
            return f"write {write(context['ge'])} or more"
        case "less_than":
            return f"write less than {write(context['lt'])}"
        case "less_than_equal":
            return f"write {write(context['le'])} or less"
        case "literal_error" | "enum":
            return f"write {str(context['expected']).replace(chr(39), '')}"
        case "string_pattern_mismatch":
            return f"write text of the form {context['pattern']}"
        case "too_short" | "string_too_short":
            return f"write at least {context['min_length']} of them"
        case "too_long" | "string_too_long":
            return f"write at most {context['max_length']} of them"
        case _:
            words = finding["msg"]
            return words[:1].lower() + words[1:]


def shown(value: object) -> str:
    """A value as part of a sentence: short, on one line, without what looks like a password."""
    text = mask_text(repr(value))
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def under(path: KeyPath, paths: Iterable[KeyPath]) -> bool:
    """Whether the path is one of these or lies below or above one of them."""
    return any(path[: len(other)] == other[: len(path)] for other in paths)
