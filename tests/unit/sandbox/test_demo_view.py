"""What the demo tells to try can be typed."""

import shlex
import sys

import pytest

from poddispatchd.sandbox.demo_view import _command


@pytest.mark.parametrize("called", [".venv/bin/poddispatchd", "/opt/my pod/bin/poddispatchd"])
def test_the_command_is_the_one_that_was_typed(called: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [called, "demo"])

    assert shlex.split(_command()) == [called]


def test_a_module_is_run_by_its_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/srv/poddispatchd/__main__.py", "demo"])

    assert shlex.split(_command()) == [sys.executable, "-m", "poddispatchd"]
