"""Help is quick: it imports nothing that only a command needs."""

import subprocess
import sys


def test_help_imports_neither_the_daemon_nor_its_libraries() -> None:
    heavy = ("aiohttp", "asyncpg", "structlog", "prometheus_client", "jinja2", "yaml")
    code = (
        "import sys\n"
        "from poddispatchd.cli.main import main\n"
        "main(['--help'])\n"
        f"print([name for name in {heavy!r} if name in sys.modules])\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.rstrip().endswith("[]")
    for command in ("run", "once", "check", "status", "tasks", "runners", "config", "db", "demo"):
        assert f"\n  {command} " in done.stdout
