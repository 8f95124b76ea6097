"""Whatever a person got wrong is one clear sentence, and never a traceback."""

import asyncio
import html
import os
import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import pytest

from poddispatchd.domain.task import TaskType
from poddispatchd.sandbox.ports import free_ports
from tests.acceptance.gate import Gate
from tests.acceptance.notifications import Notifications
from tests.acceptance.rig import Rig
from tests.plugins import postgres

pod_database = postgres.pod_database
"""A Pod on which no daemon has ever run."""


async def _refusal(rig: Rig) -> str:
    """The sentences of a daemon that refuses to start, and nothing else."""
    daemon = await rig.start(ready=False)
    status = await daemon.ended()
    assert (status, "Traceback" in daemon.text) == (2, False), daemon.text
    problems = [str(entry["problem"]) for entry in daemon.entries if entry["event"] == "config.invalid"]
    return "\n".join(problems) or daemon.text


async def test_wrong_yaml_is_refused_with_its_line(rig: Rig) -> None:
    path = rig.directory / "broken.yaml"
    path.write_text("webhook:\n  listen: [127.0.0.1\n")

    outcome = await rig.run("-c", str(path), "run")

    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith(f"poddispatchd: {path}:")
    assert "Traceback" not in outcome.err


async def test_every_unknown_key_is_named_with_what_was_meant(rig: Rig) -> None:
    rig.set("pod", media_rot="/srv")
    rig.set("webhok", listen="127.0.0.1:1")

    words = await _refusal(rig)

    assert "did you mean pod.media_root?" in words
    assert "webhok" in words


async def test_a_port_in_use_is_named(rig: Rig) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        rig.set("webhook", listen=address)

        words = await _refusal(rig)

    assert (
        words == f"webhook.listen: cannot listen on {address}: "
        "another program listens there (another poddispatchd?)."
    )


def _changed(dsn: str, **parts: str) -> str:
    """An address with another password or database."""
    split = urlsplit(dsn)
    netloc = f"{split.username}:{parts.get('password', split.password)}@{split.hostname}:{split.port}"
    return urlunsplit(split._replace(netloc=netloc, path=parts.get("path", split.path)))


async def test_a_wrong_password_is_refused(rig: Rig) -> None:
    rig.use(_changed(rig.database.dsn.get_secret_value(), password="another-password"))

    words = await _refusal(rig)

    assert words.startswith("database.dsn: password authentication failed")
    assert "write the right one there" in words
    assert "another-password" not in rig.everything_said()


async def test_a_wrong_database_is_refused(rig: Rig) -> None:
    rig.use(_changed(rig.database.dsn.get_secret_value(), path="/no_such_pod"))

    words = await _refusal(rig)

    assert words == 'database.dsn: there is no database "no_such_pod".'


async def test_an_address_that_is_none_is_refused_without_being_shown(rig: Rig) -> None:
    rig.use("mysql://pod:quite-secret@127.0.0.1/pod")

    words = await _refusal(rig)

    assert "database.dsn" in words
    assert "quite-secret" not in rig.everything_said()


async def test_an_unknown_host_is_waited_for(rig: Rig, notifications: Notifications) -> None:
    rig.use("postgresql://pod@no-such-host.invalid/pod")

    daemon = await rig.start(ready=False, env={"NOTIFY_SOCKET": notifications.address})

    status = await notifications.until(lambda text: text.startswith("STATUS="))
    assert status.startswith("STATUS=Waiting for the database: ")
    assert "Traceback" not in daemon.text


@pytest.mark.parametrize("table", ["runner_manager_task", "runner_manager", "django_site"])
async def test_a_missing_table_is_named(rig: Rig, table: str) -> None:
    await rig.execute(f"DROP TABLE {table} CASCADE")

    assert table in await _refusal(rig)


async def test_a_role_without_rights_is_told_how_to_get_them(rig: Rig) -> None:
    await rig.execute(f"CREATE ROLE {rig.database.name}_poor LOGIN PASSWORD 'poor-password'")
    split = urlsplit(rig.database.dsn.get_secret_value())
    rig.use(f"postgresql://{rig.database.name}_poor:poor-password@{split.hostname}:{split.port}{split.path}")

    try:
        words = await _refusal(rig)
        checked = await rig.run("check")
    finally:
        await rig.execute(f"DROP ROLE {rig.database.name}_poor")

    assert "runner_manager_task" in words
    assert "poddispatchd db grants" in words
    assert checked.status == 3


async def test_another_podfile_setting_is_refused(rig: Rig) -> None:
    rig.set("pod", use_podfile=False)

    words = await _refusal(rig)

    assert words.startswith("pod.use_podfile: ")
    assert words.endswith("set it to true.")


async def test_an_unknown_site_is_refused_with_the_known_ones(rig: Rig) -> None:
    rig.set("pod", site_id=77)

    words = await _refusal(rig)

    assert "pod.site_id: 77 is no site of this Pod" in words
    assert "pod.example.org" in words


async def test_a_media_root_that_does_not_exist_is_refused(rig: Rig) -> None:
    rig.set("pod", media_root=str(rig.directory / "nowhere"))

    words = await _refusal(rig)

    assert words.startswith("pod.media_root: ")
    assert "does not exist" in words


async def test_a_media_root_that_is_a_file_is_refused(rig: Rig) -> None:
    path = rig.directory / "file"
    path.touch()
    rig.set("pod", media_root=str(path))

    assert "is not a directory" in await _refusal(rig)


if os.geteuid() != 0:  # nothing is unreadable to root

    async def test_a_media_root_that_cannot_be_read_is_refused(rig: Rig) -> None:
        rig.world.media_root.chmod(0)
        try:
            words = await _refusal(rig)
        finally:
            rig.world.media_root.chmod(0o755)

        assert "cannot be read by this user" in words


async def test_several_problems_of_the_start_are_told_at_once(rig: Rig) -> None:
    rig.set("pod", use_podfile=False, media_root=str(rig.directory / "nowhere"))

    words = await _refusal(rig)

    assert ("pod.media_root: " in words, "pod.use_podfile: " in words) == (True, True)


async def test_a_manager_whose_certificate_nobody_trusts_is_named_everywhere(rig: Rig) -> None:
    certificate = Path(__file__).parents[1] / "integration" / "runner" / "localhost.pem"
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await rig.execute("UPDATE runner_manager SET url = $1", f"https://localhost:{port}")
        [task] = await rig.add(TaskType.ENCODING)
        daemon = await rig.start()

        told = await daemon.event("runner_manager.misconfigured")
        _, page = await rig.get("/status")
        checked = await rig.run("check")

    assert "The TLS certificate of runner manager 'encoders' is not trusted" in html.unescape(page)
    assert "set runners.ca_file" in str(told["error"])
    assert "Traceback" not in daemon.text
    assert (checked.status, "is not trusted" in checked.out) == (3, True)
    assert await rig.statuses() == {task: "pending"}


async def test_a_date_that_is_none_for_python_spoils_nothing(rig: Rig) -> None:
    """One row with the date 'infinity', or of the year 10000, and the daemon ended with a traceback."""
    dates = ("infinity", "-infinity", "10000-01-01", "0044-03-15 BC")
    tasks = await rig.add(*[TaskType.ENCODING] * (len(dates) + 1))
    for task, moment in zip(tasks, dates, strict=False):
        await rig.execute(f"UPDATE runner_manager_task SET date_added = '{moment}' WHERE id = $1", task)
    daemon = await rig.start()
    for task in tasks:
        await daemon.event("task.completed", task=task)
    assert not [entry for entry in daemon.entries if entry["level"] == "error"]
    for command in (("tasks", "list"), ("tasks", "show", str(tasks[0])), ("report",)):
        assert (await rig.run(*command)).status == 0


async def test_a_database_that_is_down_at_the_start_is_waited_for(
    rig: Rig, gate: Gate, notifications: Notifications
) -> None:
    rig.use(gate.dsn)
    # The listeners have no fixed port, and their addresses are only told when all is ready.
    port = free_ports(1)[0]
    rig.set("webhook", listen=f"127.0.0.1:{port}")
    daemon = await rig.start(ready=False, env={"NOTIFY_SOCKET": notifications.address})

    waiting = await notifications.until(lambda text: text.startswith("STATUS=Waiting for the database"))
    status, _ = await rig.get("/runner/notify_task_end/", f"http://127.0.0.1:{port}")
    refused = await _call(port)
    assert "READY=1" not in notifications.received
    await gate.open()
    await notifications.until(lambda text: text == "READY=1")
    await rig.is_ready(daemon)

    assert (status, refused) == (405, 503)
    assert "Traceback" not in daemon.text + waiting


async def test_a_start_that_waits_asks_systemd_for_more_time_and_is_ready_when_it_is(
    rig: Rig, gate: Gate, notifications: Notifications
) -> None:
    """systemd killed it after each two minutes."""
    rig.use(gate.dsn)
    daemon = await rig.start(ready=False, env={"NOTIFY_SOCKET": notifications.address})

    for _ in range(2):
        notifications.received.clear()
        await notifications.until(lambda text: text == "EXTEND_TIMEOUT_USEC=300000000")
        assert "READY=1" not in notifications.received
    await gate.open()
    await notifications.until(lambda text: text == "READY=1")
    await rig.is_ready(daemon)

    assert "failed" not in daemon.text


async def test_an_upgrade_of_our_schema_may_take_longer_than_a_start_may(
    rig: Rig, notifications: Notifications
) -> None:
    """A step may take an hour, and systemd would kill the daemon after two minutes, each time."""
    daemon = await rig.start(ready=False, env={"NOTIFY_SOCKET": notifications.address})
    await notifications.until(lambda text: text == "EXTEND_TIMEOUT_USEC=3600000000")
    await notifications.until(lambda text: text == "READY=1")
    assert "STATUS=Upgrading our schema: 0001 journal" in notifications.received
    await rig.is_ready(daemon)


async def test_a_table_that_somebody_alters_at_the_start_is_waited_for(
    rig: Rig, notifications: Notifications
) -> None:
    """The fault campaign found a daemon that had ended."""
    async with rig.database.connection() as other:
        async with other.transaction():
            await other.execute("LOCK TABLE runner_manager")
            daemon = await rig.start(ready=False, env={"NOTIFY_SOCKET": notifications.address})
            words = "STATUS=Waiting for the database: Another database session holds"
            await notifications.until(lambda text: text.startswith(words))
        await notifications.until(lambda text: text == "READY=1")
    assert "Traceback" not in daemon.text


async def test_a_database_that_can_only_be_read_at_the_start_is_told_as_such(
    rig: Rig, notifications: Notifications
) -> None:
    """All that was told of a standby server was that the daemon is starting."""
    assert (await rig.run("db", "init")).status == 0  # else making our schema would meet it before
    read_only = f'ALTER DATABASE "{rig.database.name}" SET default_transaction_read_only'
    await rig.execute(f"{read_only} = on")
    daemon = await rig.start(ready=False, env={"NOTIFY_SOCKET": notifications.address})
    words = "STATUS=Waiting for the database: The database cannot be used now: it is read-only"
    await notifications.until(lambda text: text.startswith(words))
    await rig.execute(f"SET default_transaction_read_only = off; {read_only} = off")
    await notifications.until(lambda text: text == "READY=1")
    assert "Traceback" not in daemon.text


async def test_sessions_that_end_while_our_schema_is_made_are_waited_for(
    rig: Rig, notifications: Notifications
) -> None:
    await rig.execute(
        "CREATE FUNCTION kill() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60); END $$"
    )
    await rig.execute("CREATE EVENT TRIGGER kill ON ddl_command_start EXECUTE FUNCTION kill()")
    daemon = await rig.start(ready=False, env={"NOTIFY_SOCKET": notifications.address})
    words = "STATUS=Waiting for the database: The database ends the session over a statement"
    await notifications.until(lambda text: text.startswith(words))
    await rig.execute("DROP EVENT TRIGGER kill")
    await notifications.until(lambda text: text == "READY=1")
    assert "Traceback" not in daemon.text


async def _call(port: int) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"http://127.0.0.1:{port}/runner/notify_task_end/",
            json={"task_id": "x", "status": "completed"},
            headers={"Authorization": "Bearer some-token"},
        ) as answer,
    ):
        return answer.status
