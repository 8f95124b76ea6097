"""The fault campaign in short: a minute of everything breaking; ``make chaos`` runs it at length."""

from pathlib import Path

import pytest

from chaos.campaign import Plan, run
from chaos.report import text


@pytest.mark.timeout(240)
async def test_whatever_breaks_every_task_comes_to_its_true_end(tmp_path: Path) -> None:
    result = await run(Plan(tasks=60, seed=20, minutes=0.5, settle=150, pace=0.5), tmp_path)
    assert not result.violations, text(result)
    assert sum(result.ends.values()) == 60
    assert sum(count for end, count in result.ends.items() if end.endswith(" completed")) > 30
    assert len(result.faults) >= 8
