import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import click
import pytest
from aiohttp import web

from poddispatchd.cli import check, common, endings
from poddispatchd.cli.daemon_state import State
from poddispatchd.cli.main import cli
from poddispatchd.cli.numbers import Number
from poddispatchd.cli.terminal import UnreadError
from poddispatchd.cli.unit import Unit
from poddispatchd.config.units import Address
from poddispatchd.domain.task import TaskType
from poddispatchd.sandbox.pod.world import add_task
from poddispatchd.web.listener import listening
from tests.integration.cli.conftest import Pod, invoke


def _commands(group: click.Group, *above: str) -> list[tuple[str, ...]]:
    context = click.Context(group)
    found: list[tuple[str, ...]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append((*above, name))
        if isinstance(command, click.Group):
            found += _commands(command, *above, name)
    return found


@pytest.mark.parametrize("words", [(), *_commands(cli)], ids=" ".join)
def test_every_help_fits_a_terminal_and_cuts_no_sentence(words: tuple[str, ...]) -> None:
    said = invoke(*words, "--help")

    assert (said.status, said.err) == (0, "")
    assert max(map(len, said.out.splitlines())) <= 100
    assert "..." not in said.out.partition("Commands:")[2]


def _options(group: click.Group) -> list[click.Parameter]:
    context = click.Context(group)
    commands = [group.get_command(context, name) for name in group.list_commands(context)]
    below = [_options(each) for each in commands if isinstance(each, click.Group)]
    own = [each.params for each in commands if each is not None]
    return [option for options in (*below, *own) for option in options]


def test_every_number_has_bounds_that_keep_out_what_is_none() -> None:
    """`demo --timeout -5` and `tasks watch --interval nan` were taken: a traceback, or over at once."""
    numbers = [option for option in _options(cli) if option.type.name.startswith(("integer", "float"))]

    assert len(numbers) > 8
    assert [
        option.name
        for option in numbers
        if not (
            isinstance(option.type, Number)
            or (isinstance(option.type, click.IntRange) and None not in (option.type.min, option.type.max))
        )
    ] == []


@pytest.mark.parametrize(
    "words",
    [
        "nonsense",
        "run --nonsense",
        "tasks",
        "tasks show",
        "tasks show x",
        "tasks show 9223372036854775808",
        "tasks restart 1 9223372036854775808",
        "tasks list --status nonsense",
        "tasks list --since 9999999d",
        "tasks list --since 0001-01-01T00:00+12:00",
        "failures list --since 9999999d",
        "runners pause x --from 2915000d",
        "runners pause x --from 2999-12-31 --until 9999d",
        "campaigns create x --type encoding --encoded-before 0001-01-01",
        "campaigns create x --type encoding --videos 0",
        "demo --timeout -5",
        "demo --timeout nan",
        "demo --timeout inf",
        "demo --seconds nan",
        "tasks watch --interval nan",
        "once --max-tasks 99999999999999999999",
        "campaigns create x --type encoding --videos 9223372036854775808",
    ],
)
def test_a_mistake_on_the_command_line_is_status_2(words: str) -> None:
    said = invoke(*words.split())

    assert said.status == 2, said.err
    assert "Traceback" not in said.err


async def test_root_is_told_the_settings_that_the_unit_gives_its_daemon(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"PODDISPATCHD_WEBHOOK__PATH": "/of-the-unit/", "PODDISPATCHD_POD__TITLE_SITE": "Unit"}
    monkeypatch.setattr(common, "_unit_for_root", lambda _: Unit("poddispatchd.service", environment=given))
    monkeypatch.setenv("PODDISPATCHD_POD__TITLE_SITE", "Root")

    said = await pod.run("config", "show")

    assert "path: /of-the-unit/" in said.out
    assert "title_site: Root" in said.out


def test_an_argument_that_is_no_text_is_told_by_its_number_and_not_shown() -> None:
    """The database was said to refuse "data"."""
    said = invoke("-c", "/nonexistent/config.yaml", "tasks", "list", "--search", "caf\udce9")

    assert (said.status, said.out) == (2, "")
    assert "Argument 6 is no text in UTF-8" in said.err
    assert "caf" not in said.err


def test_a_configuration_that_is_not_there_is_status_2_and_one_sentence() -> None:
    said = invoke("-c", "/nonexistent/config.yaml", "check")

    assert (said.status, said.out) == (2, "")
    words = "/nonexistent/config.yaml: there is no such file: 'poddispatchd config import' makes one"
    assert said.err == f"poddispatchd: {words}\n"


def test_whoever_closes_the_standard_streams_gets_the_same_status() -> None:
    """There was no stream to write to, and the daemon ended with a traceback that nobody saw."""
    code = "from poddispatchd.cli.main import main; main(['-c', '/nowhere/config.yaml', 'run'])"

    ran = subprocess.run(
        ["/bin/sh", "-c", '"$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code], check=False
    )

    assert ran.returncode == 2


@pytest.mark.parametrize("nowhere", ["2> /dev/full", "2>&1 > /dev/null | :", "2>&-"])
@pytest.mark.parametrize("arguments", ["tasks show 0", "-c /nowhere/config.yaml run"])
def test_that_nobody_hears_the_words_of_a_mistake_changes_nothing_of_its_status(
    nowhere: str, arguments: str
) -> None:
    """A refused configuration was status 1, with which systemd starts the daemon again and again."""
    code = "import sys; from poddispatchd.cli.main import main; main(sys.argv[1:])"
    script = f'exec 3>&1; {{ "$@"; echo $? >&3; }} {nowhere}'

    ran = subprocess.run(
        ["/bin/sh", "-c", script, "sh", sys.executable, "-c", code, *arguments.split()],
        capture_output=True,
        check=False,
        text=True,
    )

    assert ran.stdout == "2\n"


async def test_what_cannot_be_written_is_one_sentence(pod: Pod) -> None:
    """`tasks list > file` on a full disk ended with a traceback."""
    code = "import sys; from poddispatchd.cli.main import main; main(sys.argv[1:])"
    for command in ("tasks list", "check", "config show"):
        process = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", '"$@" > /dev/full', "sh", sys.executable, "-c", code),
            *("-c", str(pod.config), *command.split()),
            stderr=asyncio.subprocess.PIPE,
        )
        said = (await process.communicate())[1].decode()

        words = "poddispatchd: What is to be said cannot be written: No space left on device.\n"
        assert (process.returncode, said) == (1, words)


async def test_what_nobody_reads_any_more_ends_without_a_word(pod: Pod) -> None:
    """`tasks list | head -1` ended with status 120 and a complaint of Python's."""
    code = "import sys; from poddispatchd.cli.main import main; main(sys.argv[1:])"
    for command in ("tasks list", "config show", "--help", "nonsense"):
        read, write = os.pipe()
        os.close(read)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code, "-c", str(pod.config), *command.split()),
            # What is not held back is not flushed at the end.
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
            stdout=write,
            stderr=write if command == "nonsense" else asyncio.subprocess.PIPE,
        )
        os.close(write)
        said = (await process.communicate())[1]

        status = 2 if command == "nonsense" else 1
        assert (process.returncode, said or b"") == (status, b""), command


async def test_a_refused_configuration_keeps_nobody_from_asking_the_daemon_that_runs(pod: Pod) -> None:
    """`status` told a mistake in the file, and not that the daemon works on with what it has read before."""

    async def answer(_: web.Request) -> web.Response:
        told = dict.fromkeys(State.__required_keys__) | {"queue": [], "managers": [], "notices": []}
        return web.json_response(
            {**told, "version": "1", "pooling": "none", "problems": ["It was not reloaded."]}
        )

    site = web.Application()
    site.router.add_get("/api/status", answer)
    async with listening(site, Address("127.0.0.1", 0), "test") as address:
        pod.set("ops", listen=str(address))
        pod.set("pod", use_podfiles=True)
        said = await pod.run("status", "--json")
        state = cast("State", said.json())
        assert (said.status, state["problems"]) == (2, ["It was not reloaded."])
        assert "unknown key pod.use_podfiles" in said.err

    said = await pod.run("status")
    assert (said.status, said.out) == (2, "")
    assert "unknown key pod.use_podfiles" in said.err


def test_ctrl_c_while_the_command_is_imported_prints_no_traceback() -> None:
    # In a shell's background a program starts with SIGINT ignored.
    code = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Interrupting:
    def find_spec(self, name, *_):
        if name == "asyncio.base_events":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
import runpy
runpy.run_module("poddispatchd", run_name="__main__")
"""

    ran = subprocess.run([sys.executable, "-c", code, "--version"], check=False, capture_output=True)

    assert (ran.returncode, ran.stdout, ran.stderr) == (-signal.SIGINT, b"", b"")


async def test_ctrl_c_is_status_130(pod: Pod) -> None:
    """click took it for an answer of "no", which is status 1."""
    async with pod.database.connection() as connection:
        await add_task(connection, TaskType.ENCODING)
    # In a shell's background a program starts with SIGINT ignored.
    code = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from poddispatchd.cli.main import main
main(sys.argv[1:])
"""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, "-c", str(pod.config), "tasks", "watch"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    said = (await process.communicate())[1]

    assert (process.returncode, said.strip()) == (130, b"")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
async def test_what_root_looks_for_as_another_user_ends_like_any_command(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`check | head` as root ended with a traceback of the process that looks as the unit's user."""
    monkeypatch.setattr(common, "_unit_for_root", lambda _: Unit("poddispatchd.service", "nobody"))
    statuses = []

    def run_as(_: object, function: Callable[[], int], **__: object) -> int:
        statuses.append(function())
        return statuses[-1]

    def nobody_reads(*_: object, **__: object) -> None:
        raise UnreadError

    monkeypatch.setattr(check, "run_as", run_as)
    monkeypatch.setattr(check, "say", nobody_reads)
    monkeypatch.setattr(endings, "leave", lambda *_: None)

    said = await pod.run("check")

    assert (said.status, statuses, said.err) == (1, [1], "")


async def test_a_database_that_does_not_answer_is_status_1(pod: Pod) -> None:
    pod.set("database", dsn="postgresql://pod@127.0.0.1:1/pod")

    said = await pod.run("tasks", "list")

    assert said.status == 1
    assert said.err.startswith("poddispatchd: The database cannot be reached: ")
    assert "Traceback" not in said.err


async def test_a_role_without_rights_is_told_what_to_do(pod: Pod) -> None:
    """Each command said that tables or rights have changed, and not what is to be done about it."""
    upgraded = await pod.run("db", "upgrade")
    role = f"{pod.database.name}_poor"
    await pod.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'of-the-poor-role'")
    address = urlsplit(pod.database.dsn.get_secret_value())
    pod.set(
        "database",
        dsn=f"postgresql://{role}:of-the-poor-role@{address.hostname}:{address.port}{address.path}",
    )
    try:
        ours, pods = await pod.run("queues", "list"), await pod.run("runners", "list")
        checked = await pod.run("check")
    finally:
        await pod.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

    assert (upgraded.status, ours.status, pods.status, checked.status) == (0, 1, 1, 3)
    assert "'poddispatchd db setup'" in ours.err
    assert "'poddispatchd check' tells what is wrong" in pods.err
    assert "own schema: The database role may not use the schema 'poddispatchd'" in checked.out


async def test_a_command_without_a_configuration_says_so_where_it_finds_no_database(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It told of a connection that was refused, at an address that nobody had given it."""
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", "9")
    monkeypatch.delenv("PODDISPATCHD_CONFIG", raising=False)
    monkeypatch.delenv("PODDISPATCHD_DATABASE__DSN", raising=False)
    monkeypatch.chdir(tmp_path)

    said = await asyncio.to_thread(invoke, "tasks", "list")
    # It handles signals, which only the main thread of a process may.
    once = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "poddispatchd", "once"], capture_output=True, text=True
    )

    assert (said.status, once.returncode) == (1, 1)
    for words in (said.err, once.stderr):
        assert "connection refused" in words
        assert "make one with 'poddispatchd config import'" in words


async def test_status_without_a_daemon_is_status_1_with_words(pod: Pod) -> None:
    said = await pod.run("status")

    assert (said.status, said.out) == (1, "")
    assert "No daemon answers at http://127.0.0.1:9/api/status" in said.err
    assert "systemctl status poddispatchd" in said.err
