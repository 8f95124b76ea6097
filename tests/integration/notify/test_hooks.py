"""The command after an import, from the commit to its end."""

import asyncio
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.app.parts import Parts
from poddispatchd.config.model import ImportsSettings
from poddispatchd.domain.task import Task, TaskStatus, TaskType
from poddispatchd.errors import ConfigurationError
from poddispatchd.notify.checks import check_hook
from poddispatchd.sandbox.pod.world import World, add_task, add_video
from tests.integration.imports.bench import bench
from tests.integration.notify.bench import (
    Telling,
    counted,
    daemon_parts,
    mail_settings,
    make_due,
    postbox,
    queue_of,
    record_completion,
    settings_of,
    task_of,
)
from tests.plugins.postgres import PodDatabase


def command(tmp_path: Path, script: str) -> list[str]:
    """A command that is a script with an argument of its own."""
    file = tmp_path / "hook.sh"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return [str(file), "own argument"]


async def completed(parts: Parts, world: World, pod: PodDatabase) -> Task:
    async with pod.connection() as connection:
        video = await add_video(connection, world)
        pk = await add_task(connection, TaskType.ENCODING, video=video, status=TaskStatus.COMPLETED)
    task = await task_of(parts, pk)
    await record_completion(parts, task)
    return task


async def test_it_runs_once_for_each_import_in_their_order(
    pod_database: PodDatabase, world: World, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    settings = settings_of(
        pod_database,
        world.media_root,
        {"imports": {"after": command(tmp_path, f'printf "%s|" "$@" >> {said}; echo >> {said}')}},
    )
    async with daemon_parts(settings) as parts:
        made = [await completed(parts, world, pod_database) for _ in range(3)]
        await Telling(parts).step()
        hooks = features.hooks(parts)
        await hooks.drain()
        assert await hooks.step() > 60.0  # nothing is due: the next import rings

        expected = [f"own argument|{task.pk}|encoding|{task.video_id}|" for task in made]
        assert said.read_text().splitlines() == expected
        assert await queue_of(parts) == [("hook", "done", 1)] * 3
        assert counted(parts, "import_hooks", "completed") == 3


@pytest.mark.parametrize(
    ("script", "seconds", "outcome", "words"),
    [
        ("echo no index; exit 3", "10s", "failed", "It ended with status 3."),
        ("echo hangs; sleep 60", "300ms", "timed_out", "It was killed after 0.3 s."),
        ("yes", "60s", "failed", "It was killed: it wrote more than 16 MiB."),
    ],
)
async def test_its_failure_is_logged_and_counted_and_it_is_not_run_again(
    pod_database: PodDatabase,
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    script: str,
    seconds: str,
    outcome: str,
    words: str,
) -> None:
    imports = {"after": command(tmp_path, script), "after_timeout": seconds}
    async with daemon_parts(settings_of(pod_database, world.media_root, {"imports": imports})) as parts:
        await completed(parts, world, pod_database)
        await Telling(parts).step()
        await features.hooks(parts).drain()

        assert await queue_of(parts) == [("hook", "failed", 1)]
        assert counted(parts, "import_hooks", outcome) == 1
        row = await parts.database.fetchrow("SELECT last_error FROM poddispatchd.delivery")
        assert row is not None
        assert row["last_error"] == words
    said = capsys.readouterr().out
    assert "hook.failed" in said
    assert script.split(";", maxsplit=1)[0].removeprefix("echo ").replace("yes", "bytes …]") in said


async def test_a_stop_kills_it_and_it_runs_again_after_the_next_start(
    pod_database: PodDatabase, world: World, tmp_path: Path
) -> None:
    begun, go_on = tmp_path / "begun", tmp_path / "go-on"
    script = f"echo x >> {begun}; test -e {go_on} || sleep 60"
    settings = settings_of(pod_database, world.media_root, {"imports": {"after": command(tmp_path, script)}})
    async with daemon_parts(settings) as parts:
        await completed(parts, world, pod_database)
        await Telling(parts).step()
        step = asyncio.create_task(features.hooks(parts).step())
        async with asyncio.timeout(20):
            while not begun.exists():  # noqa: ASYNC110 - a process does it
                await asyncio.sleep(0.01)
        step.cancel()
        await asyncio.gather(step, return_exceptions=True)
        assert await queue_of(parts) == [("hook", "open", 0)]
        go_on.touch()
        await features.hooks(parts).drain()
        assert await queue_of(parts) == [("hook", "done", 1)]
    assert begun.read_text() == "x\nx\n"


async def test_it_runs_once_though_somebody_holds_its_row_when_it_ends(
    pod_database: PodDatabase, world: World, tmp_path: Path
) -> None:
    """That it had ended could not be written down, and it was run again."""
    begun, go_on = tmp_path / "begun", tmp_path / "go-on"
    script = f"echo x >> {begun}; until test -e {go_on}; do sleep 0.05; done"
    settings = settings_of(pod_database, world.media_root, {"imports": {"after": command(tmp_path, script)}})
    async with daemon_parts(settings) as parts, pod_database.connection() as other:
        await completed(parts, world, pod_database)
        await Telling(parts).step()
        hooks = features.hooks(parts)
        step = asyncio.create_task(hooks.step())
        async with asyncio.timeout(20):
            while not begun.exists():  # noqa: ASYNC110 - a process does it
                await asyncio.sleep(0.01)
        async with other.transaction():
            await other.execute("SELECT FROM poddispatchd.delivery FOR UPDATE")
            go_on.touch()
            await step
        await make_due(parts)
        await hooks.drain()
        assert await queue_of(parts) == [("hook", "done", 1)]
        assert counted(parts, "import_hooks", "completed") == 1
    assert begun.read_text() == "x\n"


async def test_it_is_not_run_any_more_when_it_is_removed_from_the_settings(
    pod_database: PodDatabase, world: World, tmp_path: Path
) -> None:
    with_hook = settings_of(
        pod_database, world.media_root, {"imports": {"after": command(tmp_path, "exit 0")}}
    )
    async with daemon_parts(with_hook) as parts:
        await completed(parts, world, pod_database)
        await Telling(parts).step()
    async with daemon_parts(settings_of(pod_database, world.media_root, {})) as parts:
        await features.hooks(parts).drain()
        assert await queue_of(parts) == [("hook", "dropped", 0)]


@pytest.mark.parametrize("kind", [TaskType.ENCODING, TaskType.STUDIO])
async def test_a_real_import_is_told_and_followed_by_the_command(
    pod_database: PodDatabase, media_root: Path, tmp_path: Path, kind: TaskType
) -> None:
    said = tmp_path / "said"
    async with postbox() as box:
        changes: dict[str, dict[str, object]] = {
            "mail": mail_settings(box),
            "imports": {"after": command(tmp_path, f'echo "$4" > {said}'), "keep_free": "1B"},
        }
        async with bench(pod_database, media_root, changes=changes) as here:
            task = await here.ready(kind)
            await here.import_due()
            assert await here.status(task) == "completed"
            assert box.received == []  # the import waits for nobody
            await Telling(here.parts).drain()
            await features.hooks(here.parts).drain()
            video = await here.value("SELECT max(id) FROM video_video")

    assert box.subjects == [
        f"[Django] [Pod] Encodage du #{video} est terminée",
        f"[Pod] Encodage du #{video} est terminée",
    ]
    assert said.read_text() == f"{video}\n"


def test_the_check_finds_a_program_that_cannot_be_run(tmp_path: Path) -> None:
    file = tmp_path / "program"
    with pytest.raises(ConfigurationError, match="does not exist"):
        check_hook(ImportsSettings(after=(str(file),)))
    file.touch(mode=0o644)
    with pytest.raises(ConfigurationError, match="cannot be executed"):
        check_hook(ImportsSettings(after=(str(file),)))
    file.chmod(0o755)
    assert check_hook(ImportsSettings(after=(str(file),))) == f"{file} is run after each import."
