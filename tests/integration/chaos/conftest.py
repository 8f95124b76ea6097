import pytest


@pytest.fixture(autouse=True)
def _sessions_of_its_own(fresh_sessions: None) -> None:
    """What becomes of sessions is the matter of these tests."""
