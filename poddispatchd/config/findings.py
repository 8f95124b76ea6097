"""What is wrong with settings, in words that name the key, its value and what is allowed."""

from collections.abc import Callable, Iterable, Iterator

from poddispatchd.config.keys import Key, KeyPath, known_keys, names_in, suggestion
from poddispatchd.config.masking import mask_text
from poddispatchd.config.validation import UnfitValue

_LONGEST_VALUE = 80


def words_of(
    findings: Iterable[UnfitValue], origin: Callable[[KeyPath], str]
) -> Iterator[tuple[KeyPath, str]]:
    """Every finding as the path of its key and a sentence.

    Args:
        findings: of the whole settings.
        origin: where the value at a path comes from, as ``config.yaml:12``; empty when nobody can tell.
    """
    for finding in findings:
        place, words = origin(finding.path), _words(finding)
        yield finding.path, f"{place}: {words}" if place else words


def _words(finding: UnfitValue) -> str:
    dotted = ".".join(finding.path) or "configuration"
    if not finding.words:
        # The value of an unknown key may be a misplaced password: it is not shown.
        hint = "; write a space behind its colon" if ":" in dotted else suggestion(finding.path)
        return f"unknown key {names_in(finding.path)}{hint}"
    key = _key(finding.path)
    if key is None:
        # This is a whole section, which may hold a secret.
        return f"{dotted}: {finding.words}"
    if key.is_secret:
        return f"{dotted}: {_without(str(finding.value), finding.words)}"
    value = finding.shown or shown(finding.value)
    return f"{dotted}: {value} cannot be used: {finding.words}"


def _key(path: KeyPath) -> Key | None:
    keys = known_keys()
    return next((keys[path[:n]] for n in range(len(path), 0, -1) if path[:n] in keys), None)


def _without(value: str, words: str) -> str:
    return "its value cannot be used" if value and value in words else words


def shown(value: object) -> str:
    """A value as part of a sentence: short, on one line, without what looks like a password."""
    text = mask_text(repr(value))
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def under(path: KeyPath, paths: Iterable[KeyPath]) -> bool:
    """Whether the path is one of these or lies below or above one of them."""
    return any(path[: len(other)] == other[: len(path)] for other in paths)
