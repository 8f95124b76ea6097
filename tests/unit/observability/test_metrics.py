"""What is shown before anybody has looked."""

import re
from math import isnan

import pytest

from poddispatchd.observability.metrics import Metrics


@pytest.mark.parametrize("name", ["media_free_bytes", "expected_drain_seconds"])
def test_what_nobody_has_looked_at_is_not_shown_as_nothing(name: str) -> None:
    """A daemon that waited for its database raised the alarm of a full disk: 0 bytes were free."""
    exposed = Metrics().exposition().decode()
    shown = re.findall(rf"^poddispatchd_{name}(?:\{{.*\}})? (\S+)$", exposed, re.MULTILINE)
    assert shown
    assert all(isnan(float(value)) for value in shown)


def test_what_was_found_out_before_the_first_question_stays() -> None:
    metrics = Metrics()
    metrics.expected_drain.labels("encoding", "low").set(60.0)
    assert 'expected_drain_seconds{bound="low",type="encoding"} 60.0' in metrics.exposition().decode()
