"""A short run of what ``make fuzz`` does at length."""

from pathlib import Path

from fuzz.campaign import Plan, run
from fuzz.daemon import shown


async def test_whatever_is_said_to_it_nothing_comes_of_it_but_an_answer(tmp_path: Path) -> None:
    told: list[str] = []
    violations = await run(Plan(seed=20261, requests=800, answers=240), tmp_path, told.append)
    assert violations == [], shown(violations)
    assert any("240 answers" in words for words in told)
