"""The status page in a browser: everyone can use it."""

import shutil
from itertools import product
from pathlib import Path

import pytest

from poddispatchd.web.report import report_page
from tests.integration.web.browser import browser
from tests.unit.domain.test_report import REPORT
from tests.unit.web.samples import PAGES

_PAGES = {**PAGES, "report": report_page(REPORT)}

_AXE = Path(__file__).parents[3] / ".venv" / "axe" / "node_modules" / "axe-core" / "axe.min.js"

_FOUND = """
    axe.run(document, {resultTypes: ["violations"]}).then(results => [
        results.passes.length,
        results.violations.map(each => [each.impact, each.id, each.nodes.map(node => node.html)]),
    ])
"""


@pytest.mark.slow
async def test_axe_finds_nothing_on_any_page_however_wide_and_in_either_scheme(tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None or not _AXE.exists():
        pytest.skip("needs Debian's chromium, and axe-core in .venv/axe (make axe)")
    axe, file, found = _AXE.read_text(), tmp_path / "page.html", {}
    async with browser(chromium, tmp_path / "profile") as page:
        for name, width, scheme in product(_PAGES, (360, 1100), ("light", "dark")):
            file.write_text(_PAGES[name], encoding="utf-8")
            await page.show(file, width=width, scheme=scheme)
            seen = f"[innerWidth, matchMedia('(prefers-color-scheme: {scheme})').matches]"
            assert await page.value(seen) == [width, True]
            await page.value(f"{axe}; true")
            passed, violations = await page.value(_FOUND)
            assert passed > 10
            if violations:
                found[name, width, scheme] = violations
    assert found == {}
