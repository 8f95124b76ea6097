"""Everything in its order: requests without the token, the ops listener, those with the token, answers."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fuzz.answers import ask_all
from fuzz.daemon import TOKEN, Target, daemon
from fuzz.requests import Requests

_AT_ONCE = 60


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is tried."""

    seed: int
    requests: int
    answers: int


async def run(plan: Plan, directory: Path, tell: Callable[[str], None]) -> list[str]:
    """Try everything; what must not be and was."""
    violations: list[str] = []
    if plan.requests:
        async with daemon(directory) as target:
            await _attack(target, plan, tell)
            violations += target.violations
    if plan.answers:
        outcome = await ask_all(plan.seed, plan.answers)
        tell(f"{outcome.asked} answers, {outcome.refused} refused, {len(outcome.violations)} violations")
        violations += outcome.violations
    return violations


async def _attack(target: Target, plan: Plan, tell: Callable[[str], None]) -> None:
    unauthenticated = plan.requests // 2
    others = plan.requests - unauthenticated
    # Warm: code that runs for the first time takes memory for good.
    await _send_all(target, target.webhook, Requests(plan.seed), unauthenticated // 5, "webhook")
    await _send_all(target, target.ops, Requests(plan.seed + 1, is_ops=True), others // 10, "ops")
    memory, descriptors, before = target.memory(), target.descriptors(), await target.rows()
    tell(f"warm: {memory:.0f} MiB, {descriptors} descriptors")

    await _send_all(
        target, target.webhook, Requests(plan.seed + 2), unauthenticated - unauthenticated // 5, "webhook"
    )
    if await target.callbacks():
        target.violations.append("a callback was recorded without the token")
    if await target.rows() != before:
        target.violations.append("rows of Pod's changed without the token")
    tell(f"{unauthenticated} requests without the token: {target.memory():.0f} MiB")

    await _send_all(target, target.ops, Requests(plan.seed + 3, is_ops=True), others // 4, "ops")
    tell(f"{others // 4} requests to the ops listener: {target.memory():.0f} MiB")

    signed = others - others // 4 - others // 10
    await _send_all(target, target.webhook, Requests(plan.seed + 4, token=TOKEN), signed, "webhook signed")
    tell(f"{signed} requests, half of them with the token: {target.memory():.0f} MiB")
    tell(f"{await target.callbacks()} callbacks recorded")

    await target.settled(descriptors, memory)
    target.judge_log()


async def _send_all(target: Target, port: int, requests: Requests, number: int, what: str) -> None:
    left = iter(range(number))

    async def some() -> None:
        for _ in left:
            request = requests.next()
            answer = await target.send(port, request.data)
            target.judge(answer, f"{what} {request.data[:200]!r}", is_signed=request.is_signed)

    await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
