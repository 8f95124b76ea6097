"""What every test can ask for; the fixtures themselves lie in ``tests/plugins``."""

pytest_plugins = ["tests.plugins.postgres", "tests.plugins.shared_world", "tests.plugins.world"]
