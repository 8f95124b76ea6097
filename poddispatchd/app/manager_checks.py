"""What a check hears from the runner managers."""

import asyncio

from poddispatchd.app.findings import CheckResult, fine, note, problem
from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.domain import certificate_ends
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.errors import RunnerManagerError
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.connections import open_session


async def manager_findings(settings: Settings, managers: list[RunnerManager]) -> list[CheckResult]:
    """How each runner manager answers, and whether there are enough."""
    if not any(manager.is_active for manager in managers):
        return [problem("runner managers", "There is no active one: add one in Pod's administration.")]
    async with open_session(settings.runners) as session:
        client = RunnerClient(session, request_timeout=min(settings.runners.request_timeout, 15.0))
        found = list(await asyncio.gather(*(_manager(client, manager) for manager in managers)))
    if sum(manager.is_active for manager in managers) < 2:
        words = "Only one is active: while it is down nothing runs. Pod's manual advises two."
        found.append(note("runner managers", words))
    return found


async def _manager(client: RunnerClient, manager: RunnerManager) -> CheckResult:
    subject = f"runner manager {manager.name}"
    if not manager.is_active:
        return note(subject, "It is inactive in Pod's administration.")
    try:
        health = await client.health(manager)
    except RunnerManagerError as error:
        return problem(subject, str(error))
    if not health.is_well:
        return problem(subject, health.words)
    end, now = client.certificate_end(manager), Clock().now()
    if end is None:
        return fine(subject, health.words)
    ends = certificate_ends.words_of(end, now)
    if certificate_ends.is_near(end, now):
        return note(
            subject,
            f"{health.words} But its TLS certificate {ends}, and it can be given nothing then: "
            "see why it has not been renewed.",
        )
    return fine(subject, f"{health.words} Its TLS certificate {ends}.")
