import asyncio
import json
import os
import signal
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

import pytest

from chaos.proxy import Proxy
from poddispatchd.domain.task import TaskType
from poddispatchd.sandbox.fake_runner_manager.faults import AnswerFault, FaultKind
from tests.acceptance.notifications import Notifications
from tests.acceptance.rig import Rig

_A_TWENTIETH = {
    "poddispatchd.database.pool._COMMAND_TIMEOUT": 3.0,
    "poddispatchd.database.pool._CONNECT_TIMEOUT": 0.5,
    "poddispatchd.database.connections._CLOSED_WITHIN": 0.1,
    "poddispatchd.runtime.database_session._FAREWELL": 0.1,
    "poddispatchd.app.jobs._STOP_SUBMISSIONS": 0.25,
    "poddispatchd.app.jobs._STOP_IMPORTS": 3.0,
}
"""What a stop waits for at most."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_an_idle_daemon_with_status_0(rig: Rig, number: signal.Signals) -> None:
    daemon = await rig.start()

    daemon.signal(number)

    assert await daemon.ended() == 0
    assert daemon.entries[-1]["event"] == "daemon.stopped"


async def test_a_stop_hands_work_in_progress_back_and_the_next_daemon_finishes_it(rig: Rig) -> None:
    # The result never comes while the first daemon lives.
    rig.manager.faults.inject("file", AnswerFault(kind=FaultKind.HANG), times=None)
    [task] = await rig.add(TaskType.ENCODING)
    first = await rig.start()
    await first.event("import.started", task=task)

    first.signal(signal.SIGTERM)

    assert await first.ended() == 0
    assert await rig.fetch("SELECT state, lease_owner, attempts FROM poddispatchd.import") == [
        {"state": "open", "lease_owner": None, "attempts": 0}
    ]
    rig.manager.faults.clear()
    second = await rig.start()
    await second.event("task.completed", task=task)


async def test_a_daemon_that_waits_for_its_database_can_be_stopped(rig: Rig) -> None:
    rig.use("postgresql://someone@127.0.0.1:1/pod")
    daemon = await rig.start(ready=False)
    await daemon.event("database.down")

    daemon.signal(signal.SIGTERM)

    assert await daemon.ended() == 0


@pytest.mark.parametrize("how", [Proxy.stall, Proxy.half_open, Proxy.cut], ids=lambda how: str(how.__name__))
async def test_a_stop_takes_its_time_and_no_more_though_the_database_does_not_answer(
    rig: Rig, how: Callable[[Proxy], None]
) -> None:
    """The unit gives it ninety seconds, here a twentieth. What was cut off was told with a traceback."""
    address = urlsplit(rig.database.dsn.get_secret_value())
    async with Proxy(int(address.port or 0)) as proxy:
        login = address.netloc.rpartition("@")[0]
        rig.use(urlunsplit(address._replace(netloc=f"{login}@127.0.0.1:{proxy.port}")))
        await rig.add(TaskType.ENCODING, TaskType.STUDIO)
        rig.manager.faults.inject("file", AnswerFault(kind=FaultKind.HANG), times=None)
        daemon = await rig.start(constants=_A_TWENTIETH)
        await daemon.event("import.started")

        how(proxy)
        daemon.signal(signal.SIGTERM)

        async with asyncio.timeout(20):
            assert await daemon.child.wait() == 0, daemon.text
    assert "Traceback" not in daemon.text


async def test_systemd_is_told_what_happens(rig: Rig, notifications: Notifications) -> None:
    environment = {"NOTIFY_SOCKET": notifications.address, "WATCHDOG_USEC": "400000"}
    daemon = await rig.start(env=environment)

    await notifications.until(lambda text: text == "WATCHDOG=1")
    daemon.signal(signal.SIGHUP)
    reloading = await notifications.until(lambda text: text.startswith("RELOADING=1"))
    await daemon.event("config.reloaded")
    daemon.signal(signal.SIGTERM)
    await daemon.ended()

    notifications.drain()
    told = notifications.received
    assert "MONOTONIC_USEC=" in reloading
    assert told.index("READY=1") < told.index("WATCHDOG=1") or "WATCHDOG=1" in told
    assert "READY=1" in told[told.index(reloading) :]
    assert "STOPPING=1" in told[told.index(reloading) :]
    figures = ("STATUS=not counted yet; scheduling", "STATUS=0 pending, 0 running, 0 importing; scheduling")
    assert any(text.startswith(figures) for text in told)


async def test_signals_of_a_log_rotation_end_nothing(rig: Rig) -> None:
    """`systemctl kill -s USR1` ended the daemon, which systemd then started again."""
    daemon = await rig.start()

    for number in (signal.SIGUSR1, signal.SIGUSR2):
        daemon.signal(number)
        entry = await daemon.event("signal.ignored", signal=number.name)
        assert entry["level"] == "info"

    daemon.signal(signal.SIGTERM)
    await daemon.ended()


async def test_a_reload_takes_over_what_it_can_and_names_what_wants_a_restart(rig: Rig) -> None:
    daemon = await rig.start()
    rig.set("dispatch", poll_interval="2s")
    rig.set("database", pool_size=7)
    rig.set("webhook", max_body="1MiB")
    assert rig.config.exists()

    daemon.signal(signal.SIGHUP)

    entry = await daemon.event("config.reloaded")
    assert entry["changed"] == "dispatch.poll_interval"
    assert entry["needs_restart"] == "database.pool_size, webhook.max_body"

    # A journal's line is read by nobody who has just typed "reload": a new password seemed to be in effect.
    words = (
        "The configuration has been changed, and database.pool_size, webhook.max_body are as before until "
        "the daemon is restarted: 'systemctl restart poddispatchd'."
    )
    assert words in json.loads((await rig.get("/api/status"))[1])["problems"]
    del rig.tree["database"]["pool_size"], rig.tree["webhook"]["max_body"]
    assert rig.config.exists()
    daemon.signal(signal.SIGHUP)
    await daemon.events("config.reloaded", 2)
    assert words not in json.loads((await rig.get("/api/status"))[1])["problems"]


async def test_a_reload_of_a_bad_file_says_why_and_keeps_what_is(rig: Rig) -> None:
    daemon = await rig.start()
    rig.set("log", level="loud")
    rig.set("dispatch", pol_interval="2s")
    assert rig.config.exists()

    daemon.signal(signal.SIGHUP)

    problems = [str(entry["problem"]) for entry in await daemon.events("config.invalid", 2)]
    assert any("log.level" in problem for problem in problems)
    assert any("did you mean dispatch.poll_interval?" in problem for problem in problems)
    [task] = await rig.add(TaskType.ENCODING)
    await daemon.event("task.completed", task=task)


async def test_a_file_that_a_full_disk_has_emptied_is_not_taken_over(rig: Rig) -> None:
    """All defaults were: nobody got mail any more, and the reload was called a success."""
    daemon = await rig.start()
    rig.config.write_text("", encoding="utf-8")

    daemon.signal(signal.SIGHUP)

    entry = await daemon.event("config.invalid")
    assert "it is empty" in str(entry["problem"])
    assert daemon.find("config.reloaded") is None


async def test_a_file_that_cannot_be_read_to_its_end_holds_up_nothing_and_is_told(rig: Rig) -> None:
    """The daemon stood still for as long as the disk of its configuration, until its watchdog ended it."""
    daemon = await rig.start(constants={"poddispatchd.app.reload._READ_WITHIN": 0.5})
    rig.config.unlink()
    os.mkfifo(rig.directory / "config.yaml")

    for number in (1, 2):
        daemon.signal(signal.SIGHUP)
        [task] = await rig.add(TaskType.ENCODING)
        await daemon.event("task.completed", task=task)
        problems = [str(entry["problem"]) for entry in await daemon.events("config.invalid", number)]
        assert "the file system that it is on does not answer" in problems[-1]

    # Whoever reads it hears that it has ended, and the next one can be read.
    (rig.directory / "config.yaml").write_bytes(b"")
    (rig.directory / "config.yaml").unlink()
    assert rig.config.exists()
    async with asyncio.timeout(30):
        while daemon.find("config.reloaded") is None:
            daemon.signal(signal.SIGHUP)
            await asyncio.sleep(0.1)


async def test_a_signal_at_the_very_moment_of_readiness_is_not_forgotten(
    rig: Rig, notifications: Notifications
) -> None:
    # The jobs are then taking their first connections, and a cancellation could get lost on the way.
    daemon = await rig.start(ready=False, env={"NOTIFY_SOCKET": notifications.address})
    await notifications.until(lambda text: text == "READY=1")

    daemon.signal(signal.SIGTERM)

    assert await daemon.ended() == 0


async def test_a_reload_with_an_unknown_site_is_refused_as_at_the_start_and_shown_until_a_good_one(
    rig: Rig, notifications: Notifications
) -> None:
    """A typo in dispatch.sites made the daemon serve no site at all, and say nothing of it."""
    daemon = await rig.start(env={"NOTIFY_SOCKET": notifications.address})
    rig.set("dispatch", sites=["pod.exmaple.org"])
    assert rig.config.exists()

    daemon.signal(signal.SIGHUP)

    entry = await daemon.event("config.invalid")
    assert "'pod.exmaple.org' is no site of this Pod" in str(entry["problem"])
    assert "did you mean pod.example.org?" in str(entry["problem"])
    await notifications.until(lambda text: "STATUS=" in text and "The configuration was not reloaded" in text)
    shown = (await rig.get("/api/status"))[1]
    assert "The configuration was not reloaded, the one before stays in effect: dispatch.sites: " in shown
    assert "\npoddispatchd_config_reload_success 0.0\n" in (await rig.get("/metrics"))[1]
    [task] = await rig.add(TaskType.ENCODING)
    await daemon.event("task.completed", task=task)

    rig.set("dispatch", sites=["pod.example.org"])
    assert rig.config.exists()
    daemon.signal(signal.SIGHUP)

    await daemon.event("config.reloaded")
    assert "The configuration was not reloaded" not in (await rig.get("/api/status"))[1]
    assert "\npoddispatchd_config_reload_success 1.0\n" in (await rig.get("/metrics"))[1]


async def test_a_bad_reload_while_the_daemon_waits_for_its_database_does_not_take_effect_when_it_comes(
    rig: Rig,
) -> None:
    address = urlsplit(rig.database.dsn.get_secret_value())
    async with Proxy(int(address.port or 0)) as proxy:
        login = address.netloc.rpartition("@")[0]
        rig.use(urlunsplit(address._replace(netloc=f"{login}@127.0.0.1:{proxy.port}")))
        proxy.cut()
        daemon = await rig.start(ready=False)
        await daemon.event("database.down")
        rig.set("dispatch", sites=["pod.exmaple.org"])
        assert rig.config.exists()
        daemon.signal(signal.SIGHUP)
        await daemon.event("config.reloaded")

        proxy.heal()

        await rig.is_ready(daemon)
        assert "is no site of this Pod" in str((await daemon.event("config.invalid"))["problem"])
        [task] = await rig.add(TaskType.ENCODING)
        await daemon.event("task.completed", task=task)


async def test_a_stop_while_its_address_is_waited_for_ends_it_in_order(
    rig: Rig, notifications: Notifications
) -> None:
    """One that this machine does not have yet ended the daemon as a wrong configuration does."""
    rig.set("webhook", listen="192.0.2.1:8765")
    daemon = await rig.start(ready=False, env={"NOTIFY_SOCKET": notifications.address})
    words = "STATUS=Waiting for webhook.listen: cannot listen on 192.0.2.1:8765: this machine has no such"
    await notifications.until(lambda text: text.startswith(words))
    daemon.signal(signal.SIGTERM)
    assert await daemon.ended() == 0
    assert daemon.find("daemon.stopped") is not None
    assert "Traceback" not in daemon.text
