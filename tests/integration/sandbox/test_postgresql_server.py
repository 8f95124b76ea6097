"""The sandbox's PostgreSQL starts anywhere, is shared, and leaves nothing behind however its users end."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest

from poddispatchd.errors import ConfigurationError, DatabaseUnavailableError
from poddispatchd.sandbox.postgresql import PostgresServer, binaries_directory

REPOSITORY = Path(__file__).resolve().parents[3]

# Under nohup, and in a shell's background, a program starts with SIGINT ignored.
USER_PROGRAM = """
import signal, time
from poddispatchd.sandbox.postgresql import PostgresServer, binaries_directory
signal.signal(signal.SIGINT, signal.default_int_handler)
with PostgresServer() as server:
    print(server.directory, server.address.port, flush=True)
    time.sleep(60)
"""

RUN_OF_TWO_WORKERS = """
import time, pytest
from pathlib import Path

@pytest.mark.parametrize("number", range(4))
def test_note_the_server(postgres, number, worker_id):
    Path(f"{number}.txt").write_text(f"{postgres.address.port} {postgres.directory} {worker_id}")
    time.sleep(0.3)
"""


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}


def _until_gone(directory: Path) -> bool:
    deadline = time.monotonic() + 20
    while directory.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return not directory.exists()


@pytest.mark.parametrize("unix_socket", [False, True])
async def test_it_answers_over_tcp_and_over_its_socket(postgres: PostgresServer, unix_socket: bool) -> None:
    connection = await asyncpg.connect(postgres.dsn(unix_socket=unix_socket).get_secret_value())
    try:
        assert await connection.fetchval("SHOW fsync") == "off"
        assert await connection.fetchval("SELECT lower('ÉTÉ')") == "été"
    finally:
        await connection.close()


def test_a_directory_without_its_programs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_POSTGRESQL_BIN", str(tmp_path))
    with pytest.raises(ConfigurationError, match=f"there is no initdb in {tmp_path}"):
        binaries_directory()


async def test_it_asks_for_its_password(postgres: PostgresServer) -> None:
    password = postgres.address.password.get_secret_value()
    wrong = postgres.dsn().get_secret_value().replace(password, "wrong")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(wrong)
    assert password not in repr(postgres.address)


async def test_nothing_is_left_behind() -> None:
    async with PostgresServer() as server:
        port = server.address.port
        assert _listens(port)
        assert server.directory.exists()
    assert not server.directory.exists()
    assert not _listens(port)
    with pytest.raises(DatabaseUnavailableError):
        server.start()


def test_a_server_that_was_never_started_leaves_nothing_either() -> None:
    server = PostgresServer()
    assert server.directory.exists()
    server.stop()
    assert not server.directory.exists()


def test_what_a_killed_process_reserved_is_swept_by_the_next() -> None:
    program = (
        "import os, signal; from poddispatchd.sandbox.postgresql import PostgresServer, binaries_directory;"
        " print(PostgresServer().directory, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program], env=_environment(), capture_output=True, text=True, check=False
    )
    abandoned = Path(killed.stdout.strip())
    assert abandoned.exists()
    os.utime(abandoned, (0, 0))
    held = PostgresServer()
    os.utime(held.directory, (0, 0))
    try:
        assert not abandoned.exists()
        PostgresServer().stop()
        assert held.directory.exists()
    finally:
        held.stop()


def test_it_stays_until_its_last_user_leaves() -> None:
    first = PostgresServer()
    second = PostgresServer(first.directory)
    assert first.start() == second.start()
    first.stop()
    assert _listens(second.address.port)
    second.stop()
    assert not second.directory.exists()


def test_a_server_that_cannot_start_says_why_and_leaves_nothing() -> None:
    server = PostgresServer(settings={"shared_buffers": "plenty"})
    with pytest.raises(DatabaseUnavailableError, match="shared_buffers"):
        server.start()
    server.stop()
    assert not server.directory.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_a_user_that_is_killed(number: signal.Signals) -> None:
    """A Ctrl-C reaches the whole process group of the terminal; SIGKILL gives no chance to clean up."""
    with subprocess.Popen(
        [sys.executable, "-c", USER_PROGRAM],
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as user:
        assert user.stdout is not None
        directory, port = user.stdout.readline().split()
        assert _listens(int(port))
        os.killpg(user.pid, number)
    assert _until_gone(Path(directory))
    assert not _listens(int(port))


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests here already run without rights")
def test_it_runs_for_a_user_without_rights() -> None:
    """As root the server runs as nobody; here its caller is nobody as well."""
    try:
        user = subprocess.run(
            [sys.executable, "-c", USER_PROGRAM.replace("time.sleep(60)", "pass")],
            env=_environment(),
            cwd="/",
            user="nobody",
            group=65534,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
    except PermissionError:
        pytest.skip("this Python lies where only root may enter")
    assert user.returncode == 0, user.stderr
    directory, port = user.stdout.split()
    assert not Path(directory).exists()
    assert not _listens(int(port))


@pytest.mark.slow
def test_the_workers_of_a_run_share_one_server_that_ends_with_the_run(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tests.plugins.postgres"]\n')
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    (tmp_path / "test_probe.py").write_text(RUN_OF_TWO_WORKERS)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    notes = [note.read_text().split() for note in tmp_path.glob("?.txt")]
    assert len({worker for _, _, worker in notes}) == 2
    ((port, directory),) = {(port, directory) for port, directory, _ in notes}
    assert not Path(directory).exists()
    assert not _listens(int(port))
