"""The site of the documentation: built strictly, and of nobody else's parts."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"

_FROM_ELSEWHERE = re.compile(
    r"""(?:<(?:script|img|iframe|source)[^>]+src|<link[^>]+href)="(?:https?:)?//|url\(["']?(?:https?:)?//|@import"""
)


def _build(source: Path, target: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-E", "-b", "html"]
    return subprocess.run([*command, str(source), str(target)], capture_output=True, text=True, check=False)


def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    built = _build(DOCS, tmp_path)

    assert (built.returncode, built.stderr) == (0, "")
    assert len(list(tmp_path.rglob("*.html"))) >= len(list(DOCS.rglob("*.md")))
    assert _reachable(tmp_path) >= {path.relative_to(tmp_path) for path in _pages(tmp_path)}
    parts = [path for path in tmp_path.rglob("*") if path.suffix in {".html", ".css"}]
    assert [path.name for path in parts if _FROM_ELSEWHERE.search(path.read_text(encoding="utf-8"))] == []


def _pages(site: Path) -> list[Path]:
    return [site / path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")]


def _reachable(site: Path) -> set[Path]:
    """The pages to which links lead from the first one, by way of others."""
    found, ahead = set(), [Path("index.html")]
    while ahead:
        page = ahead.pop()
        if page in found:
            continue
        found.add(page)
        for link in re.findall(r'href="([^"#:]+\.html)[#"]', (site / page).read_text(encoding="utf-8")):
            linked = (site / page.parent / link).resolve()
            if linked.exists():
                ahead.append(linked.relative_to(site.resolve()))
    return found


def test_a_link_that_leads_nowhere_fails_the_build_and_a_page_that_no_list_names_does_not(
    tmp_path: Path,
) -> None:
    source, site = tmp_path / "docs", tmp_path / "site"
    source.mkdir()
    shutil.copy(DOCS / "conf.py", source)
    (source / "index.md").write_text("# Index\n\n[a](nowhere.md) [b](page.md#no-such-heading)\n")
    (source / "page.md").write_text("# Page\n\nListed by itself.\n")

    built = _build(source, site)

    assert built.returncode != 0
    warnings = [line for line in built.stderr.splitlines() if "WARNING: " in line]
    assert len(warnings) == 2
    assert "nowhere.md" in warnings[0]
    assert "no-such-heading" in warnings[1]
    assert Path("page.html") in _reachable(site)
