"""Pieces of Markdown."""

from collections.abc import Iterable, Sequence


def code(text: str) -> str:
    """A text as it is typed."""
    return f"`{text}`"


def prose(text: str) -> str:
    """A docstring's text: its double backticks are single ones here, and nothing in it is a tag."""
    return " ".join(text.replace("``", "`").split()).replace("<", r"\<")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a bar in a cell does not end it."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
