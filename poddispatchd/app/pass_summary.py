"""What one pass did, site by site: the line that CRON mails."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

from msgspec import Struct

from poddispatchd.app.parts import Parts
from poddispatchd.domain.task import SiteId, TaskPk
from poddispatchd.pod import open_tasks
from poddispatchd.pod.open_tasks import OpenTask

_ENDINGS = {"completed": "completed", "failed": "failed", "timeout": "failed"}
_SHOWN = ("submitted", "completed", "failed", "pending", "running")


class SiteSummary(Struct, frozen=True):
    """The counts of one site: what a pass did, and what waits and runs at its end.

    ``domain`` is empty for tasks of no site that is served.
    """

    domain: str
    counts: Mapping[str, int]

    def words(self) -> str:
        """``pod.example.org: 2 submitted, 1 completed, 0 failed, 4 pending, 3 running``."""
        shown = ", ".join(f"{self.counts.get(name, 0)} {name}" for name in _SHOWN)
        return f"{self.domain or '(no site served)'}: {shown}"


def summary_line(now: datetime, sites: Iterable[SiteSummary]) -> str:
    """One line for one pass, with the time and its zone."""
    words = "; ".join(site.words() for site in sites) or "no site is served"
    return f"{now.astimezone():%Y-%m-%d %H:%M:%S %Z} {words}"


def summarise(
    before: Iterable[OpenTask],
    became: Mapping[TaskPk, tuple[str, str | None]],
    after: Iterable[OpenTask],
    *,
    site_of: Mapping[tuple[SiteId, ...], str],
    domains: Iterable[str],
) -> tuple[SiteSummary, ...]:
    """The counts of each site, in the order of ``domains``.

    Args:
        before: the tasks that waited or ran when the pass began.
        became: their statuses and the ids of their runs at its end.
        after: the tasks that wait or run at its end.
        site_of: the domain for each set of sites that occurs; empty when none of them is served.
        domains: the sites that are shown whether they have tasks or not.
    """
    counts: dict[str, Counter[str]] = {domain: Counter() for domain in domains}
    for task in before:
        found = counts.setdefault(site_of[task.site_ids], Counter())
        status, task_id = became.get(task.pk, (task.status, task.task_id))
        # Another run, whatever became of it: what fails because it can never be submitted has none.
        found["submitted"] += task_id is not None and task_id != task.task_id
        if status in _ENDINGS:
            found[_ENDINGS[status]] += 1
    for task in after:
        found = counts.setdefault(site_of[task.site_ids], Counter())
        found["pending" if task.status == "pending" else "running"] += 1
    return tuple(SiteSummary(domain, found) for domain, found in counts.items())


async def end_of_pass(parts: Parts, before: list[OpenTask]) -> tuple[SiteSummary, ...]:
    """The summary of a pass that began with these tasks."""
    after = await open_tasks.open_tasks_on_sites(parts.database)
    became = await open_tasks.statuses_of(parts.database, [task.pk for task in before])
    choose = parts.sites.chooser()
    combinations = {task.site_ids for task in (*before, *after)}
    site_of = {
        sites: "" if (chosen := choose(sites)) is None else parts.sites.known[chosen].domain
        for sites in combinations
    }
    domains = [site.domain for pk, site in sorted(parts.sites.known.items()) if pk in parts.sites.served]
    return summarise(before, became, after, site_of=site_of, domains=domains)
