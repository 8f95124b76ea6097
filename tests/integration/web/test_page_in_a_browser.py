"""The status page in a browser: everyone can use it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from poddispatchd.web.report import report_page
from tests.unit.domain.test_report import REPORT
from tests.unit.web.samples import PAGES

_PAGES = {**PAGES, "report": report_page(REPORT)}

_AXE = Path(__file__).parents[3] / ".venv" / "axe" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1100])
@pytest.mark.parametrize("name", _PAGES)
def test_axe_finds_nothing(tmp_path: Path, name: str, width: int, scheme: str) -> None:
    chromium = shutil.which("chromium")
    if chromium is None or not _AXE.exists():
        pytest.skip("needs Debian's chromium, and axe-core in .venv/axe (make axe)")
    run = (
        "axe.run(document).then(function (r) { var p = document.createElement('pre'); p.id = 'axe'; "
        "p.textContent = JSON.stringify(r.violations.map(function (v) { return [v.impact, v.id, "
        "v.nodes.map(function (n) { return n.html; })]; })); document.body.appendChild(p); });"
    )
    page = _PAGES[name].replace(
        "</body>", f"<script>{_AXE.read_text()}</script><script>{run}</script></body>"
    )
    # The colours of the scheme, whatever the browser would choose.
    page = page.replace(
        "prefers-color-scheme: dark", "min-width: 1px" if scheme == "dark" else "max-width: 1px"
    )
    file = tmp_path / "page.html"
    file.write_text(page, encoding="utf-8")
    done = subprocess.run(
        [
            *(chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"),
            *(f"--window-size={width},1200", "--virtual-time-budget=15000", "--dump-dom", file.as_uri()),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    [found] = re.findall(r'<pre id="axe">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    assert json.loads(found) == []
