"""``report``: what runners did for whom in a week, for those who must account for them."""

from datetime import timedelta
from pathlib import Path

import click
from msgspec.structs import asdict

from poddispatchd.cli.common import (
    Context,
    asynchronous,
    config_option,
    pass_context,
    print_json,
    takes_utf8,
)
from poddispatchd.cli.journal import open_journal
from poddispatchd.clock import Clock
from poddispatchd.config.notification import MailSettings
from poddispatchd.domain.display import escaped
from poddispatchd.domain.notice_texts import one_line
from poddispatchd.domain.notices import Mail
from poddispatchd.domain.report import PeriodReport, report_text
from poddispatchd.notify import queue
from poddispatchd.notify.smtp import Envelope
from poddispatchd.runtime.database_session import CHANNEL, QUEUES_CHANGED
from poddispatchd.tasks.report import read_report
from poddispatchd.web.report import report_page


@click.command(short_help="Tell what runners did for whom in a week.")
@click.option(
    "--days", default=7, show_default=True, type=click.IntRange(1, 35), help="Days until now, 35 at most."
)
@click.option(
    "--format",
    "form",
    default="text",
    show_default=True,
    type=click.Choice(["text", "json", "html"]),
    help="HTML is one file with plots.",
)
@click.option("--mail", is_flag=True, help="Send it to mail.admins, through the queue of deliveries.")
@config_option
@pass_context
@asynchronous
async def report(context: Context, config_path: Path | None, days: int, form: str, *, mail: bool) -> None:
    """Tell what runners did for whom: tasks, waits, run times, utilisation, failures, busiest owners."""
    settings = context.settings(config_path)
    if mail and not (settings.mail.enabled and settings.mail.admins):
        raise click.UsageError("--mail needs mail.enabled, and somebody in mail.admins.")
    until = Clock().now_in(settings.pod.time_zone)
    async with open_journal(settings) as database:
        found = await read_report(database, until - timedelta(days=days), until)
        if mail:
            envelope = Envelope.of(_mail(settings.mail, found))
            async with database.connection() as connection:
                await queue.add_mail(connection, envelope.to_content())
                await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, QUEUES_CHANGED)
            click.echo(f"It waits in the queue of deliveries, for {', '.join(settings.mail.admins)}.")
            return
    match form:
        case "json":
            print_json(asdict(found))
        case "html":
            page = report_page(found)
            # It says of itself that it is in UTF-8.
            click.echo(page if takes_utf8() else page.encode("ascii", "xmlcharrefreplace").decode(), nl=False)
        case _:
            click.echo(escaped(report_text(found)), nl=False)


def _mail(settings: MailSettings, found: PeriodReport) -> Mail:
    subject = f"poddispatchd, {found.since:%Y-%m-%d} to {found.until:%Y-%m-%d}: "
    return Mail(
        sender=settings.server_email or settings.from_email,
        to=tuple(settings.admins),
        subject=one_line(
            f"{settings.subject_prefix}{subject}{found.completed} completed, {found.failed} failed"
        ),
        text=report_text(found),
        html=report_page(found),
    )
