"""``failures``: tasks that failed, by their reasons; restart or dismiss all of one reason at once."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from poddispatchd.cli.common import (
    Context,
    asynchronous,
    config_option,
    json_option,
    pass_context,
    person,
    print_json,
    shown,
)
from poddispatchd.cli.groups import SuggestingGroup
from poddispatchd.cli.journal import open_journal
from poddispatchd.cli.moments import Since
from poddispatchd.cli.tables import print_table, say
from poddispatchd.cli.task_changes import (
    MOST_AT_ONCE,
    RestartOptions,
    restart_found,
    restart_options,
)
from poddispatchd.cli.task_filter import FAILED, age
from poddispatchd.domain.failure_groups import FailureGroup
from poddispatchd.errors import PoddispatchdError
from poddispatchd.journal import dismissals
from poddispatchd.pod import task_list
from poddispatchd.pod.task_list import TaskFilter
from poddispatchd.runtime.database_session import CHANNEL
from poddispatchd.tasks import failure_listing
from poddispatchd.tasks.failure_listing import Failures, failures_since

_since_option = click.option(
    "--since",
    type=Since(),
    default="30d",
    show_default=True,
    help="Only what failed within this time (2h, 7d) or since this date (2026-03-01).",
)
_group_argument = click.argument("key", metavar="GROUP")


@click.group(cls=SuggestingGroup)
def failures() -> None:
    """Tasks that failed, by reason: list the groups, show, restart or dismiss one."""


@failures.command("list", short_help="List failures by their reasons.")
@_since_option
@click.option("--all", "with_dismissed", is_flag=True, help="Also those that were dismissed.")
@config_option
@json_option
@pass_context
@asynchronous
async def list_(
    context: Context, config_path: Path | None, since: datetime, *, with_dismissed: bool, as_json: bool
) -> None:
    """List failures by their reasons, the most frequent first.

    A reason is the last line of a failure's words without numbers, ids, paths and times. A task that is
    restarted is in no group any more until it fails again.
    """
    async with open_journal(context.settings(config_path)) as database:
        groups = _told(await failures_since(database, since, with_dismissed=with_dismissed))
    if as_json:
        print_json([_as_dict(group) for group in groups])
        return
    print_table(
        ("group", "tasks", "first", "last", "reason"),
        [
            (group.key, len(group.failures), age(group.first), age(group.last), group.reason)
            for group in groups
        ],
        empty="Nothing has failed that was not restarted or dismissed.",
    )


@failures.command(short_help="Show the failures of one reason.")
@_group_argument
@_since_option
@config_option
@json_option
@pass_context
@asynchronous
async def show(
    context: Context, config_path: Path | None, key: str, since: datetime, *, as_json: bool
) -> None:
    """Show the failures of one reason, dismissed ones as well: examples of their words, and the tasks."""
    async with open_journal(context.settings(config_path)) as database:
        groups = _told(await failures_since(database, since, with_dismissed=True))
        group = _chosen(groups, key, with_dismissed=True)
    if as_json:
        print_json(_as_dict(group))
        return
    say(f"{group.key}: {shown(group.reason)}", rest="  ")
    for example in group.examples:
        say(shown(example), first="  ", rest="    ")
    click.echo()
    print_table(
        ("task", "type", "failed at", "owner", "title"),
        [(item.pk, item.type, item.at, item.owner, item.title) for item in group.failures],
        empty="",
    )


@failures.command(short_help="Let all tasks that failed for one reason begin again.")
@_group_argument
@_since_option
@restart_options
@pass_context
@asynchronous
async def restart(
    context: Context,
    config_path: Path | None,
    key: str,
    since: datetime,
    *,
    options: RestartOptions,
) -> None:
    """Let all tasks that failed for one reason begin again, last in the queue, as `tasks restart` does.

    On a terminal it asks first; where it cannot ask, it needs --yes. Those that were dismissed stay as they
    are. Exit status 1 when a task could not be restarted.
    """
    settings = context.settings(config_path)
    async with open_journal(settings) as database:
        group = _chosen(_told(await failures_since(database, since)), key)
        if len(group.failures) > MOST_AT_ONCE:
            raise click.UsageError(f"These are more than {MOST_AT_ONCE} tasks: choose fewer, by --since.")
        wanted = TaskFilter(tasks=[item.pk for item in group.failures])
        listed = await task_list.listed_tasks(database, wanted, limit=MOST_AT_ONCE)
        failed_at = {item.pk: item.date_added for item in group.failures}
        # Some may have been restarted since their group was read: their status or date tells.
        found = [row for row in listed if row.status in FAILED and row.date_added == failed_at.get(row.pk)]
    pks = [row.pk for row in found]
    await restart_found(settings, found, pks, options, is_chosen=True)


@failures.command(short_help="Have the failures of one reason not shown any more.")
@_group_argument
@_since_option
@config_option
@pass_context
@asynchronous
async def dismiss(context: Context, config_path: Path | None, key: str, since: datetime) -> None:
    """Have the failures of one reason not shown any more; the tasks stay as they are.

    What fails for the same reason later is shown.
    """
    async with open_journal(context.settings(config_path)) as database:
        group = _chosen(_told(await failures_since(database, since)), key)
        async with database.connection() as connection:
            tasks = {item.pk: item.date_added for item in group.failures}
            await dismissals.dismiss(connection, tasks, by=person())
            # Whoever looks at the status page now sees it.
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, "administration")
    click.echo(f"{len(group.failures)} of {group.key} are dismissed: {shown(group.reason)}")


def _told(failures: Failures) -> list[FailureGroup]:
    """The groups, once it is said where they are not all: nobody may take what was looked at for that."""
    if failures.is_cut:
        click.echo(
            f"Only the newest {failure_listing.MOST} failed tasks were looked at: there are older ones. "
            "'poddispatchd tasks list --failed' has them, and 'poddispatchd tasks restart --failed' begins "
            "them again.",
            err=True,
        )
    return failures.groups


def _chosen(groups: Sequence[FailureGroup], key: str, *, with_dismissed: bool = False) -> FailureGroup:
    """The group whose key begins like that.

    Raises:
        PoddispatchdError: there is none, or more than one.
    """
    # An empty text begins all of them: in a script it is a variable that nobody has set.
    found = [group for group in groups if key and group.key.startswith(key.lower())]
    if not found:
        which = "" if with_dismissed else " of failures that were not dismissed"
        raise PoddispatchdError(
            f"There is no group {key!r}{which}: 'poddispatchd failures list' shows them, with "
            "--since older ones."
        )
    if len(found) > 1:
        raise PoddispatchdError(
            f"Several groups begin with {key!r}: {', '.join(each.key for each in found)}."
        )
    return found[0]


def _as_dict(group: FailureGroup) -> dict[str, object]:
    return {
        "group": group.key,
        "reason": group.reason,
        "tasks": len(group.failures),
        "first": group.first,
        "last": group.last,
        "examples": group.examples,
        "failures": [
            {
                "task": item.pk,
                "type": item.type,
                "at": item.at,
                "owner": item.owner,
                "title": item.title,
                "words": item.words,
            }
            for item in group.failures
        ],
    }
