"""Runner managers as metrics show them: by name, without a false alarm and without one that is missing."""

import re

import pytest
from msgspec.structs import replace

from poddispatchd.clock import Clock
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.task import ManagerId, SiteId
from poddispatchd.errors import RunnerManagerUnavailableError
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.observability.metrics import Metrics

_FIRST = RunnerManager(ManagerId(1), "encoders", 1, "http://one", SecretStr("a-token"), SiteId(1))
_NAMESAKE = RunnerManager(ManagerId(2), "encoders", 1, "http://two", SecretStr("a-token"), SiteId(2))
_OTHER = RunnerManager(ManagerId(3), "gpu", 1, "http://three", SecretStr("a-token"), SiteId(1))
_FAILS = RunnerManagerUnavailableError("It failed with status 500.")


def _shown(*managers: RunnerManager, down: RunnerManager) -> dict[str, tuple[bool, bool]]:
    """Whether each name is shown as up, and as active, after one of them has failed."""
    metrics = Metrics()
    registry = ManagerRegistry(Clock(), metrics)
    registry.refresh(managers, {}, {})
    for _ in range(2):
        registry.learn(down, _FAILS)
    found = re.findall(
        r'^poddispatchd_runner_manager_(up|active)\{runner_manager="(\w+)"\} (\d)',
        metrics.exposition().decode(),
        re.MULTILINE,
    )
    by_name: dict[str, dict[str, bool]] = {}
    for what, name, value in found:
        by_name.setdefault(name, {})[what] = value == "1"
    return {name: (each["up"], each["active"]) for name, each in by_name.items()}


@pytest.mark.parametrize("down", [_FIRST, _NAMESAKE])
def test_one_of_two_of_a_name_that_is_down_is_not_hidden_by_the_other(down: RunnerManager) -> None:
    """Whichever came last in Pod's table was shown: an alert for the other one never came."""
    assert _shown(_FIRST, _NAMESAKE, _OTHER, down=down) == {"encoders": (False, True), "gpu": (True, True)}


def test_one_that_is_inactive_is_told_apart() -> None:
    """What was switched off for good, and made inactive in Pod, was an alarm for ever."""
    retired = replace(_OTHER, is_active=False)
    assert _shown(_FIRST, retired, down=retired) == {"encoders": (True, True), "gpu": (False, False)}


def test_one_that_is_inactive_does_not_spoil_an_active_one_of_its_name() -> None:
    retired = replace(_NAMESAKE, is_active=False)
    assert _shown(_FIRST, retired, down=retired) == {"encoders": (True, True)}
