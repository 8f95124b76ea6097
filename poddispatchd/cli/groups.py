"""Groups of commands that say what was probably meant."""

import difflib

import click


class SuggestingGroup(click.Group):
    """Names the nearest commands when one does not exist."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that was meant, or an error that names those like it."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=3, cutoff=0.5)
            if near and "Did you mean" not in error.message:
                words = f"{error.message.rstrip('.')}. Did you mean {' or '.join(near)}?"
                raise click.UsageError(words, ctx) from None
            raise
