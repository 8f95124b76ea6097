"""Files of the studio after their retention: deleted if that is configured and no recording needs them."""

import json
import os
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.app.composition import assembled, create_resources
from poddispatchd.domain.task import TaskStatus, TaskType
from poddispatchd.maintenance import opencast
from poddispatchd.pod.media.opencast import Removal, remove_entries
from poddispatchd.pod.media.tree import MediaPath
from poddispatchd.sandbox.pod.media import STUDIO_DIRECTORY
from poddispatchd.sandbox.pod.schema import SchemaVariant
from poddispatchd.sandbox.pod.world import add_task
from tests.integration.imports.bench import Bench, bench, settings_of
from tests.plugins.postgres import PodDatabase
from tests.plugins.shared_world import SharedWorldFactory
from tests.shared import SHARED

A_WEEK: Mapping[str, object] = {"opencast_files_days": 7}


@asynccontextmanager
async def pod_with(
    database: PodDatabase, media_root: Path, retention: Mapping[str, object]
) -> AsyncIterator[Bench]:
    async with bench(database, media_root, changes={"retention": retention}) as made:
        yield made


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with pod_with(pod_database, media_root, A_WEEK) as made:
        yield made


def entry_of(here: Bench, path: Path, *, days: float = 8) -> Path:
    """The entry in which a file lies, as old as this."""
    root = here.world.media_root / STUDIO_DIRECTORY
    entry = root / path.relative_to(root).parts[0]
    moment = here.clock.now().timestamp() - days * 86400
    os.utime(entry, (moment, moment))
    return entry


def upload(here: Bench, name: str, *, days: float = 8) -> Path:
    """What the studio left of a recording that nobody finished."""
    path = here.world.media_root / STUDIO_DIRECTORY / name / "presenter.webm"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    return entry_of(here, path, days=days)


async def recorded(here: Bench, *statuses: str, days: float = 8) -> Path:
    """The entry of a recording with studio tasks that are like this."""
    recording = await here.recording()
    async with here.pod.connection() as connection:
        for status in statuses:
            task = await add_task(connection, TaskType.STUDIO, recording=recording, status=TaskStatus.PENDING)
            await connection.execute("UPDATE runner_manager_task SET status = $2 WHERE id = $1", task, status)
    return entry_of(here, recording.source_file, days=days)


async def test_uploads_that_were_given_up_are_deleted_after_a_week(here: Bench) -> None:
    old, young = upload(here, "old"), upload(here, "young", days=6)
    await features.opencast_files(here.parts).purge()
    assert (old.exists(), young.exists()) == (False, True)
    assert here.parts.metrics.opencast_entries_purged._value.get() == 1


async def test_a_recording_goes_once_it_is_imported(here: Bench) -> None:
    old = await recorded(here, "failed", "completed")
    young = await recorded(here, "completed", days=6)
    await features.opencast_files(here.parts).purge()
    assert (old.exists(), young.exists()) == (False, True)


@pytest.mark.parametrize(
    "statuses",
    [
        (),
        ("pending",),
        ("running",),
        ("failed",),
        ("timeout",),
        ("warning",),
        ("completed", "pending"),
        ("completed", "running"),
        ("completed", "levitating"),
    ],
    ids=lambda statuses: "+".join(statuses) or "no task",
)
async def test_a_recording_that_may_still_be_imported_is_kept_however_old_it_is(
    here: Bench, statuses: tuple[str, ...]
) -> None:
    entry = await recorded(here, *statuses, days=1000)
    await features.opencast_files(here.parts).purge()
    assert entry.exists()


async def test_an_entry_of_two_recordings_is_kept_for_the_one_that_is_not_imported(here: Bench) -> None:
    entry = await recorded(here, "completed")
    other = await here.recording()
    await here.execute(
        "UPDATE recorder_recording SET source_file = $2 WHERE id = $1",
        *(other.id, f"/another/way/to/media/{STUDIO_DIRECTORY}/{entry.name}/second.xml"),
    )
    await features.opencast_files(here.parts).purge()
    assert entry.exists()


async def test_without_the_setting_everything_is_kept(pod_database: PodDatabase, media_root: Path) -> None:
    async with pod_with(pod_database, media_root, {}) as here:
        old = upload(here, "old", days=1000)
        await features.maintenance(here.parts).purge()
        assert old.exists()


async def test_a_pass_deletes_a_bounded_number_and_looks_in_batches(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opencast, "_BATCH", 2)
    monkeypatch.setattr(opencast, "_MOST", 3)
    entries = [upload(here, f"old-{number}", days=100 - number) for number in range(7)]
    for left in (3, 0):
        await features.opencast_files(here.parts).purge()
        assert [entry.exists() for entry in entries].count(True) == left
        assert not entries[0].exists()  # the oldest go first


async def test_files_that_take_long_to_delete_are_deleted_a_part_at_a_time(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow file server a pass took longer than any step may, and the daemon was killed."""
    monkeypatch.setattr(opencast, "_BATCH", 1)

    def slowly(directory: MediaPath, names: Collection[str], before: float) -> Removal:
        here.clock.ahead += 100
        return remove_entries(directory, names, before)

    monkeypatch.setattr(opencast, "remove_entries", slowly)
    entries = [upload(here, f"old-{number}", days=100) for number in range(6)]
    for left in (3, 0):
        await features.opencast_files(here.parts).purge()
        assert [entry.exists() for entry in entries].count(True) == left


async def test_those_that_were_tried_in_vain_come_behind_those_that_were_not(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow ones that cannot be deleted were tried first, hour by hour, and used up all the time."""
    monkeypatch.setattr(opencast, "_BATCH", 1)
    stubborn = [upload(here, name, days=20).name for name in ("first", "second", "third")]
    others = [upload(here, f"old-{number}") for number in range(3)]
    tried: list[str] = []

    def removing(directory: MediaPath, names: Collection[str], before: float) -> Removal:
        here.clock.ahead += 100
        tried.extend(names)
        if failed := [name for name in names if name in stubborn]:
            if failed == ["third"]:
                raise OSError(5, "Input/output error")
            return Removal(problems=dict.fromkeys(failed, "It cannot be deleted."))
        return remove_entries(directory, names, before)

    monkeypatch.setattr(opencast, "remove_entries", removing)
    purge = features.opencast_files(here.parts).purge
    for _ in range(3):
        await purge()
    assert [entry.exists() for entry in others] == [False] * 3
    assert tried[:6] == [*stubborn, *(entry.name for entry in others)]
    assert tried[6:] == stubborn


async def test_recordings_are_looked_at_before_their_tasks_are_purged(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with pod_with(pod_database, media_root, {**A_WEEK, "completed_days": 60}) as here:
        entry = await recorded(here, "completed", days=61)
        await here.execute("UPDATE runner_manager_task SET date_added = now() - interval '61 days'")
        await features.maintenance(here.parts).purge()
        assert await here.value("SELECT count(*) FROM runner_manager_task") == 0
        assert not entry.exists()


async def test_a_directory_that_cannot_be_read_is_survived(here: Bench) -> None:
    directory = here.world.media_root / STUDIO_DIRECTORY
    elsewhere = directory.with_name("elsewhere")
    upload(here, "old")
    directory.rename(elsewhere)
    directory.symlink_to(elsewhere)
    await features.maintenance(here.parts).purge()
    assert (elsewhere / "old").exists()


@pytest.mark.parametrize("name", [] if SHARED is None else ["st-clean-old"])
async def test_what_pod_deletes_at_an_import_is_deleted(shared_world: SharedWorldFactory, name: str) -> None:
    assert SHARED is not None
    case = json.loads((SHARED / "vectors" / "imports" / name / "case.podfile.json").read_text())
    world = await shared_world(case["variant"])
    await world.apply(case)
    root = world.media_root / STUDIO_DIRECTORY

    def files() -> set[str]:
        return {path.relative_to(world.media_root).as_posix() for path in root.rglob("*") if path.is_file()}

    async with world.database.connection() as connection:
        await connection.execute("UPDATE runner_manager_task SET status = 'completed'")
    before = files()
    settings = settings_of(
        world.database.dsn, world.media_root, SchemaVariant(case["variant"]), {"retention": A_WEEK}
    )
    async with assembled(create_resources(settings)) as parts:
        await features.opencast_files(parts).purge()
    removed = {path for path in case["expect"]["files"]["removed"] if path.startswith(STUDIO_DIRECTORY)}
    assert before - files() == removed


async def test_a_clock_that_is_ahead_deletes_nothing_before_its_time(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody was recording an hour ago was a year old for it."""
    entry = upload(here, "new", days=0.1)
    moment = here.clock.now() + timedelta(days=365)
    monkeypatch.setattr(type(here.clock), "now", lambda _: moment)
    await features.opencast_files(here.parts).purge()
    assert entry.exists()
