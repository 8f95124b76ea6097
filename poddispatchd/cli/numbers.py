"""Numbers that people give to commands."""

import math

import click


class Number(click.FloatRange):
    """A number between two bounds; ``nan`` is between none, which click takes for between all."""

    def __init__(self, least: float, most: float) -> None:
        super().__init__(least, most)

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number that was typed, if it is one between the bounds."""
        number: float = super().convert(value, param, ctx)  # type: ignore[arg-type]  # click gives it a text
        if math.isnan(number):
            self.fail(f"{value!r} is no number.", param, ctx)
        return number


class TaskId(click.IntRange):
    """What Pod's primary keys can be (bigint)."""

    def __init__(self) -> None:
        super().__init__(1, 2**63 - 1)

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number that was typed; who has none is told how tasks are found."""
        if not str(value).strip().lstrip("+-").isdecimal():
            self.fail(
                f"{value!r} is no number of a task: 'poddispatchd tasks list --search TEXT' finds tasks by "
                "title, owner or the address of the video's page.",
                param,
                ctx,
            )
        number: int = super().convert(value, param, ctx)  # type: ignore[arg-type]  # click gives it a text
        return number
