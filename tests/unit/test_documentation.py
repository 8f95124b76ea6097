"""The documentation names only what exists; tests/integration builds its site."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from poddispatchd.cli.main import cli
from poddispatchd.config.keys import known_keys, known_sections
from poddispatchd.config.model import Settings
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md"]
WRITTEN = [path for path in PAGES if path.parent.name != "reference"]

_CODE = re.compile(r"```\w*\n(.*?)```|`([^`\n]+)`", re.DOTALL)
_TYPED = re.compile(r"\bpoddispatchd((?: [a-z][a-z-]*)+)")


def _code(path: Path) -> Iterator[str]:
    for block, inline in _CODE.findall(path.read_text(encoding="utf-8")):
        yield block or inline


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_a_page_names_exists(path: Path) -> None:
    unknown = []
    for text in _code(path):
        if "GRANT" in text or text.startswith(("DROP", "CREATE")):
            continue
        for words in _TYPED.findall(text):
            group: click.Command = cli
            for name in words.split():
                if not isinstance(group, click.Group):
                    break
                found = group.get_command(click.Context(group), name)
                if found is None:
                    unknown.append(words.strip())
                    break
                group = found

    assert unknown == []


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_setting_event_and_metric_that_a_page_names_exists(path: Path) -> None:
    known = {key.dotted for key in known_keys().values()} | {".".join(path) for path in known_sections()}
    first = {name.partition(".")[0] for name in (*known, *Event)}
    metrics = {family.name for family in Metrics().registry.collect()}
    # What a DBA may have made on Pod's table has such a name, too.
    made = (ROOT / "poddispatchd/pod/sql/trigger.sql").read_text(encoding="utf-8")
    metrics |= set(re.findall(r"\bpoddispatchd_[a-z_]+", made))
    unknown = []
    for text in _code(path):
        dotted = re.fullmatch(r"([a-z]+)\.[a-z_.]+(?<!\.conf)(?<!\.yaml)", text)
        if dotted and dotted[1] in first and text not in {*known, *Event} and not _is_module(text):
            unknown.append(text)
        for name in re.findall(r"\bpoddispatchd_[a-z_]+", text):
            plain = re.sub(r"_(total|bucket|count|sum|info)$", "", name)
            if not name.endswith("_") and name not in metrics and plain not in metrics:
                unknown.append(name)

    assert unknown == []


def _is_module(name: str) -> bool:
    return (ROOT / "poddispatchd" / f"{name.replace('.', '/')}.py").exists()


def test_the_line_for_apache_fits_the_webhook() -> None:
    """Connections that Apache keeps end before the daemon ends them: a callback would meet a closed one."""
    page = (DOCS / "cutover.md").read_text(encoding="utf-8")
    [(path, address, options)] = re.findall(
        r'^ProxyPass "([^"]+)" "http://([^"]+)" (.+)$', page, re.MULTILINE
    )
    chosen = dict(option.split("=") for option in options.split())
    webhook = Settings().webhook

    assert path == webhook.path
    assert address == f"{webhook.listen}{webhook.path}"
    assert int(chosen["ttl"]) < webhook.idle_timeout
    assert set(chosen) == {"retry", "connectiontimeout", "timeout", "ttl"}
