"""Tables and sentences for people, in the width of their terminal."""

import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Sequence

import click

from poddispatchd.cli.common import shown

_NARROWEST = 40
_NARROWEST_COLUMN = 8
_INDENT = "    "


def terminal_width() -> int | None:
    """Columns of the terminal; None where output goes somewhere else, where nothing is to be wrapped.

    What a terminal does not get is for grep, a file or a mail: there a line stays a line.
    """
    if not sys.stdout.isatty():
        return None
    return max(_NARROWEST, shutil.get_terminal_size((80, 24)).columns)


def say(text: str, *, first: str = "", rest: str = "") -> None:
    """Print a sentence; on a terminal it is wrapped between words.

    Args:
        text: what stands on several lines is put on one: nobody's words look like a line of ours.
        first: what stands before it, colored or not.
        rest: what stands before further lines.
    """
    text, width = one_line(text), terminal_width()
    if width is None:
        click.echo(f"{first}{text}")
        return
    blank = " " * width_of(click.unstyle(first))
    lines = textwrap.wrap(
        text,
        width,
        initial_indent=blank,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    click.echo(f"{first}{lines[0][len(blank) :] if lines else ''}")
    for line in lines[1:]:
        click.echo(line)


def print_table(
    head: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    empty: str,
    width: int | None = None,
    remarks: Sequence[str | None] = (),
) -> None:
    """Print rows for people. Columns in which every row is empty are left out.

    Args:
        head: the names of the columns.
        rows: their cells.
        empty: what is said when there are none.
        width: of a line; the last column is cut off there. Without one, columns are as wide as they need, and
            on a terminal the last ones stand below their row when they find no room.
        remarks: a line below each row that has something to say, wrapped or cut as the row.
    """
    if not rows:
        if empty:
            click.echo(empty)
        return
    cells = [[one_line(shown(cell)) for cell in row] for row in rows]
    used = [n for n in range(len(head)) if n == 0 or any(row[n] != "-" for row in cells)]
    lines = [[head[n] for n in used], *([row[n] for n in used] for row in cells)]
    below = 0 if width is not None else _without_room(lines, terminal_width())
    names, told = lines[0], [line[len(line) - below :] for line in lines]
    lines = [line[: len(line) - below] for line in lines]
    used = used[: len(used) - below]
    numeric = [all(_is_number(row[n]) for row in cells) for n in used]
    widths = [max(width_of(line[n]) for line in lines) for n in range(len(used))]
    if width is not None:
        left = max(_NARROWEST_COLUMN, width - sum(widths[:-1]) - 2 * (len(widths) - 1))
        widths[-1] = min(widths[-1], left)
        lines = [[*line[:-1], shortened(line[-1], left)] for line in lines]
    for number, line in enumerate(lines):
        text = "  ".join(
            _padded(cell, width, right=right)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        click.secho(text, bold=number == 0)
        for name, cell in zip(names[len(names) - below :], told[number], strict=True):
            if number and cell != "-":
                say(cell, first=f"{_INDENT}{click.style(f'{name}:', dim=True)} ", rest=2 * _INDENT)
        remark = remarks[number - 1] if number and number <= len(remarks) else None
        if remark and width is None:
            say(shown(remark), first=_INDENT, rest=2 * _INDENT)
        elif remark and width is not None:
            click.secho(shortened_inside(f"{_INDENT}{one_line(shown(remark))}", width), dim=True)


def one_line(text: str) -> str:
    """A text without the ends of its lines."""
    return " ".join(text.splitlines())


def _without_room(lines: Sequence[Sequence[str]], width: int | None) -> int:
    """How many of the last columns a terminal has no room for; the first one always stays."""
    if width is None:
        return 0
    widths = [max(width_of(line[n]) for line in lines) for n in range(len(lines[0]))]
    fitting = len(widths)
    while fitting > 1 and sum(widths[:fitting]) + 2 * (fitting - 1) > width:
        fitting -= 1
    return len(widths) - fitting


def shortened(text: str, width: int) -> str:
    """A text that takes so many columns at most, with an ellipsis where something is cut off."""
    if width_of(text) <= width:
        return text
    # From the front: measured anew for each letter that goes, 10,000 failures took more than a minute.
    left, end = width - 1, 0
    while (left := left - width_of(text[end])) >= 0:
        end += 1
    return f"{text[:end].rstrip()}…"


def shortened_inside(text: str, width: int) -> str:
    """A text of so many columns at most, cut in its middle: reasons tell much at their end."""
    if width_of(text) <= width:
        return text
    begin = shortened(text, width // 2 + 1)
    end = text[-(width - width_of(begin)) :]
    while width_of(begin + end) > width:
        end = end[1:]
    return begin + end


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.isdecimal()


def _padded(cell: str, width: int, *, right: bool) -> str:
    space = " " * (width - width_of(cell))
    return space + cell if right else cell + space


def width_of(text: str) -> int:
    """Columns on a terminal: wide characters take two, marks above letters none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
