"""The recorded exchanges are not part of the project: without them their tests are not collected."""

from tests.shared import SHARED

collect_ignore = [] if SHARED is not None else ["test_fake_recorded.py"]
