"""The alerts and the dashboard that are shipped: what they ask for exists, and every alert fires."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from poddispatchd.observability.metrics import Metrics

_CONTRIB = Path(__file__).parents[3] / "contrib"
_RULES = _CONTRIB / "prometheus" / "poddispatchd.rules.yml"
_DASHBOARD = _CONTRIB / "grafana" / "poddispatchd.json"
_NAME = re.compile(r"\b(?:poddispatchd|process)_[a-z0-9_]+\b")


@pytest.fixture(scope="module")
def exposed() -> frozenset[str]:
    metrics = Metrics()
    metrics.add_managers(["first"])
    metrics.job_progress.labels("dispatcher")
    lines = metrics.exposition().decode().splitlines()
    return frozenset(re.split(r"[{ ]", line)[0] for line in lines if not line.startswith("#"))


def _expressions() -> Iterator[tuple[str, str]]:
    for rule in yaml.safe_load(_RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]:
        yield rule["alert"], rule["expr"]
    for panel in json.loads(_DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("name", "expression"), list(_expressions()))
def test_every_metric_that_is_asked_for_exists(exposed: frozenset[str], name: str, expression: str) -> None:
    asked = set(_NAME.findall(expression)) or {"up"}

    assert asked - {"up"} <= exposed, name
    # Prometheus' own name for a target that answers, and no other one without our prefix.
    assert _NAME.findall(expression) or expression.startswith('up{job="poddispatchd"}')


def test_every_alert_has_a_severity_and_says_what_to_do() -> None:
    for rule in yaml.safe_load(_RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]:
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), rule["alert"]
        assert rule["annotations"].keys() == {"summary", "description"}, rule["alert"]


def test_every_alert_is_tried() -> None:
    rules = yaml.safe_load(_RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]
    tried = yaml.safe_load(_RULES.with_name("poddispatchd.rules.test.yml").read_text(encoding="utf-8"))

    fired = {
        case["alertname"] for test in tried["tests"] for case in test["alert_rule_test"] if case["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in rules}


@pytest.mark.slow
def test_every_alert_fires_when_it_should_and_none_while_all_is_well() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        # Debian's prometheus brings it; the rest of this file needs nothing.
        pytest.skip("promtool is not installed: apt-get install prometheus")
    tests = _RULES.with_name("poddispatchd.rules.test.yml")
    done = subprocess.run(
        [promtool, "test", "rules", tests.name], cwd=tests.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_does_not_show_two_panels_in_one_place() -> None:
    panels = json.loads(_DASHBOARD.read_text(encoding="utf-8"))["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in panels}) == len(panels)
