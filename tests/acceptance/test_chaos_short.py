"""The fault campaign in short: a few seconds of everything breaking; ``make chaos`` runs it at length."""

from pathlib import Path

import pytest

from chaos.campaign import Plan, run
from chaos.report import text
from chaos.sabotage import KINDS
from chaos.stage import Tempo
from chaos.timeline import Kind

_LONG = (
    Kind.RATE_LIMIT,
    Kind.MANAGER_LINK_STALL,
    Kind.MANAGER_LINK_HALF_OPEN,
    Kind.LINK_STALL,
    Kind.LINK_HALF_OPEN,
)
"""Faults that are found out after half a minute at the earliest, or keep a manager away for longer."""


@pytest.mark.timeout(240)
async def test_whatever_breaks_every_task_comes_to_its_true_end(tmp_path: Path) -> None:
    plan = Plan(
        tasks=30,
        seed=25,
        minutes=0.15,
        settle=150,
        pace=0.15,
        brevity=0.2,
        kinds={kind: 1 for kind in KINDS if kind not in _LONG},
        tempo=Tempo(interval="1s", running_after="2s"),
        second_look=11.0,
    )
    result = await run(plan, tmp_path)
    assert not result.violations, text(result)
    assert sum(result.ends.values()) >= 30
    assert sum(count for end, count in result.ends.items() if end.endswith(" completed")) > 15
    assert sum(effect.happened > 0 for effect in result.effects) >= 14, text(result)
