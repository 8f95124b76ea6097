"""The pages about the command line."""

from references.command_tree import STATUSES, commands, program_options
from references.markdown import code, prose, table


def page() -> str:
    """Every command with its options."""
    parts = [
        "# Commands\n\n`poddispatchd [-c config.yaml] COMMAND [OPTION]... [ARGUMENT]...`, also "
        "`python -m poddispatchd`. Every listing has `--json`.\n\n",
        _options(program_options()),
    ]
    for command in commands():
        parts.append(f"\n## {command.name}\n\n")
        parts.append(f"```text\npoddispatchd {command.name} {command.usage}\n```\n\n")
        parts += [f"{prose(paragraph)}\n\n" for paragraph in command.paragraphs]
        parts.append(_options(command.options))
    return "".join(parts)


def statuses_page() -> str:
    """Every exit status."""
    rows = [(str(status), prose(words)) for status, words in STATUSES]
    return (
        "# Exit statuses\n\nOf every command, and of the daemon.\n\n"
        + table(("status", "meaning"), [*rows, ("130", "Interrupted from the keyboard.")])
        + "\nA command that does something to several things (tasks, items of a queue, runner managers) goes "
        "on after one that failed, and ends with 1.\n"
    )


def _options(options: tuple[tuple[str, str], ...]) -> str:
    return table(("option", "meaning"), [(code(name), prose(words)) for name, words in options])
