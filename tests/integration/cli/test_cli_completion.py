"""What a shell is offered, as it asks for it."""

import asyncio

import pytest
from click.shell_completion import BashComplete

from poddispatchd.cli import completion
from poddispatchd.cli.main import cli
from tests.integration.cli.conftest import Pod


async def _offered(pod: Pod, *words: str) -> list[str]:
    shell = BashComplete(cli, {}, "poddispatchd", "_PODDISPATCHD_COMPLETE")
    arguments = ["-c", str(pod.config), *words[:-1]]
    found = await asyncio.to_thread(shell.get_completions, arguments, words[-1])
    return [item.value for item in found]


@pytest.mark.parametrize(
    "words", [("runners", "pause"), ("runners", "test", "second"), ("tasks", "list", "--manager")]
)
async def test_names_of_runner_managers_are_completed(pod: Pod, words: tuple[str, ...]) -> None:
    assert await _offered(pod, *words, "") == ["first", "second"]
    assert await _offered(pod, *words, "fi") == ["first"]


async def test_a_name_that_a_shell_would_tear_apart_is_offered_by_its_id(pod: Pod) -> None:
    await pod.execute("UPDATE runner_manager SET name = 'the $(reboot) one' WHERE name = 'first'")

    assert await _offered(pod, "runners", "pause", "") == [str(pod.world.managers[0].id), "second"]


async def test_without_a_database_nothing_is_completed_and_nothing_is_said(
    pod: Pod, capfd: pytest.CaptureFixture[str]
) -> None:
    pod.set("database", dsn="postgresql://nobody@127.0.0.1:1/nowhere")

    assert await _offered(pod, "runners", "pause", "") == []
    assert capfd.readouterr() == ("", "")


async def test_nobody_waits_long_for_what_a_key_completes(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a database that did not answer a shell stood still for fifteen seconds."""
    monkeypatch.setattr(completion, "_PATIENCE", 0.05)
    callers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, caller: callers.append(caller), "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        pod.set("database", dsn=f"postgresql://nobody@127.0.0.1:{port}/nowhere")
        pod.set("ops", listen=f"127.0.0.1:{port}")
        async with asyncio.timeout(4):
            assert await _offered(pod, "runners", "pause", "") == []
        for caller in callers:
            caller.close()
