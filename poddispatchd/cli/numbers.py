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
