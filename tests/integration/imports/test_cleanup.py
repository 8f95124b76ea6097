"""What nobody needs is deleted outside of any transaction (I1), and never while an import brings it again."""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from unittest.mock import AsyncMock

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from poddispatchd.app import features
from poddispatchd.errors import DatabaseUnavailableError
from poddispatchd.imports import commit, deletion, recorded_files
from poddispatchd.pod.media.directory import Directory
from poddispatchd.pod.media.files import Undeleted
from poddispatchd.pod.media.tree import FileTimeouts, MediaTree
from poddispatchd.runtime.queue_tables import FILES
from tests.integration.imports.bench import Bench, bench, idle, release_dead, until
from tests.plugins.postgres import PodDatabase

DEAD = "UPDATE poddispatchd.obsolete_file SET claimed_by = $1, claimed_until = now() + interval '2 minutes'"


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root) as made:
        yield made


async def put_obsolete(here: Bench, *paths: str) -> None:
    """Files of which no row knows, to be deleted."""
    for path in paths:
        file = here.world.media_root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"old")
        await here.execute("INSERT INTO poddispatchd.obsolete_file (path, task_pk) VALUES ($1, 1)", path)


async def obsolete(here: Bench) -> int:
    return int(await here.value("SELECT count(*) FROM poddispatchd.obsolete_file"))


class SlowDeletion:
    """A file system that takes its time for the first deletion."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._delete = deletion._delete
        self._loop = asyncio.get_running_loop()
        self.begun = asyncio.Event()
        self._may_end = threading.Event()
        monkeypatch.setattr(deletion, "_delete", self._slowly)

    def _slowly(
        self, tree: MediaTree, paths: list[str], is_ours: Callable[[str], bool]
    ) -> dict[str, Undeleted]:
        if not self.begun.is_set():
            self._loop.call_soon_threadsafe(self.begun.set)
            assert self._may_end.wait(60)
        return self._delete(tree, paths, is_ours)

    def end(self) -> None:
        self._may_end.set()


@pytest.fixture
async def slow(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SlowDeletion]:
    slow = SlowDeletion(monkeypatch)
    yield slow
    slow.end()


async def test_no_transaction_and_no_connection_is_held_while_files_are_deleted(
    here: Bench, slow: SlowDeletion
) -> None:
    await put_obsolete(here, "videos/x/a.mp4", "videos/x/b.mp4")
    deleting = asyncio.create_task(features.deletion(here.parts).delete_obsolete())
    await slow.begun.wait()
    open_ones = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
    )
    assert (await here.value(open_ones), here.parts.database.connections_in_use) == (0, 0)
    assert await here.value("SELECT path FROM poddispatchd.obsolete_file FOR UPDATE NOWAIT")
    slow.end()
    await deleting
    assert (here.staged(), await obsolete(here)) == ([], 0)
    assert "videos/x/a.mp4" not in here.files()


async def test_an_import_waits_for_the_deletion_of_a_file_that_it_brings_again(
    here: Bench, slow: SlowDeletion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the new file would be deleted in place of the old one."""
    waited = asyncio.Event()
    reclaim = recorded_files.reclaim_files

    async def watched(*arguments: object) -> bool:
        is_free = await reclaim(*arguments)  # type: ignore[arg-type] # as it was called
        if not is_free:
            waited.set()
        return is_free

    monkeypatch.setattr(recorded_files, "reclaim_files", watched)
    monkeypatch.setattr(commit, "_OTHERS_WITHIN", 10**6)
    video = await here.video()
    task = await here.ready(video=video)
    path = f"{video.output_directory}/info_video.json"
    await put_obsolete(here, path)
    deleting = asyncio.create_task(features.deletion(here.parts).delete_obsolete())
    await slow.begun.wait()
    importer = features.importer(here.parts)
    await importer.step()
    await waited.wait()
    assert here.files()[path] == b"old"
    slow.end()
    await deleting
    await idle(importer)
    assert await here.status(task) == "completed"
    assert here.files()[path] not in (b"old", b"")
    assert await obsolete(here) == 0


async def test_an_import_that_waits_too_long_for_a_deletion_is_postponed_without_counting(
    here: Bench, slow: SlowDeletion
) -> None:
    video = await here.video()
    task = await here.ready(video=video)
    path = f"{video.output_directory}/info_video.json"
    await put_obsolete(here, path)
    deleting = asyncio.create_task(features.deletion(here.parts).delete_obsolete())
    await slow.begun.wait()
    await here.import_due()
    [(state, attempts, reason)] = await here.imports_of(task)
    assert (state, attempts, here.staged()) == ("open", 0, [])
    assert "being deleted just now" in str(reason)
    slow.end()
    await deleting
    await here.import_again()
    assert await here.status(task) == "completed"
    assert path in here.files()


async def test_a_deletion_keeps_its_claims_however_long_it_takes(
    here: Bench, slow: SlowDeletion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FILES, "table", replace(FILES.table, lease_seconds=0.4))
    await put_obsolete(here, "videos/x/a.mp4")
    deleting = asyncio.create_task(features.deletion(here.parts).delete_obsolete())
    await slow.begun.wait()
    await here.execute("UPDATE poddispatchd.obsolete_file SET claimed_until = now() - interval '1 day'")
    await until(lambda: here.value("SELECT bool_and(claimed_until > now()) FROM poddispatchd.obsolete_file"))
    slow.end()
    await deleting
    assert await obsolete(here) == 0


async def test_a_daemon_that_was_cut_off_for_longer_than_its_leases_deletes_no_file_of_a_new_result(
    here: Bench, slow: SlowDeletion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machine had neither the database nor the file server; when they were back, it went on."""
    monkeypatch.setattr(FILES, "renew", AsyncMock(side_effect=DatabaseUnavailableError))
    video = await here.video()
    task = await here.ready(video=video)
    path = f"{video.output_directory}/info_video.json"
    await put_obsolete(here, path, "videos/x/a.mp4")
    deleting = asyncio.create_task(features.deletion(here.parts).delete_obsolete())
    await slow.begun.wait()

    await here.execute("UPDATE poddispatchd.obsolete_file SET claimed_until = now() - interval '1 second'")
    here.clock.ahead += FILES.table.lease_seconds
    async with here.another() as there:
        await there.import_due()
    assert await here.status(task) == "completed"
    slow.end()
    await deleting

    assert here.files()[path] not in (b"old", b"")
    assert await here.value("SELECT array_agg(path) FROM poddispatchd.obsolete_file") == ["videos/x/a.mp4"]


async def test_a_thread_that_deletes_for_too_long_deletes_nothing_that_was_brought_again(
    here: Bench, slow: SlowDeletion
) -> None:
    """After its time the file was anybody's: a new result took its place, and the thread deleted that."""
    video = await here.video()
    task = await here.ready(video=video)
    path = f"{video.output_directory}/info_video.json"
    await put_obsolete(here, path)
    here.parts.media.limits = FileTimeouts(step=0.05)
    deletion = features.deletion(here.parts)
    await deletion.delete_obsolete()
    here.parts.media.limits = FileTimeouts()
    await here.import_due()
    [(state, attempts, reason)] = await here.imports_of(task)
    assert (state, attempts) == ("open", 0)
    assert "being deleted just now" in str(reason)
    # Nor does another thread begin to hang in it.
    await put_obsolete(here, "videos/x/a.mp4")
    await deletion.delete_obsolete()
    assert "videos/x/a.mp4" in here.files()
    slow.end()

    async def is_deleted() -> bool:
        # Not all the files: whoever deletes takes directories away, too, while they are listed.
        return not (here.world.media_root / path).exists()

    await until(is_deleted)
    await here.execute("UPDATE poddispatchd.obsolete_file SET claimed_until = now() - interval '1 second'")
    await here.import_again()
    assert (await here.status(task), path in here.files()) == ("completed", True)
    assert await here.value("SELECT coalesce(sum(attempts), 0) FROM poddispatchd.obsolete_file") == 0


@pytest.mark.parametrize("number", [errno.EROFS, errno.ESTALE, errno.EIO, errno.EDQUOT])
async def test_files_wait_uncounted_while_their_file_system_takes_no_change_and_others_do_not(
    here: Bench, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """After a weekend with a read-only tree all of them were set aside, and stayed for ever."""
    monkeypatch.setattr(deletion, "_BATCH", 2)
    unlink = Directory.unlink

    def refuse(self: Directory, name: str, *, missing_ok: bool = False) -> None:
        if self.path.endswith("/archive"):
            raise OSError(number, os.strerror(number))
        unlink(self, name, missing_ok=missing_ok)

    kept = [f"archive/{letter}.mp4" for letter in "abcde"]
    with monkeypatch.context() as refusing:
        refusing.setattr(Directory, "unlink", refuse)
        await put_obsolete(here, *kept, "videos/x/a.mp4")
        with capture_logs() as logged:
            for _ in range(3):
                await features.deletion(here.parts).delete_obsolete()
        assert "videos/x/a.mp4" not in here.files()
        for _ in range(FILES.table.max_attempts):
            await here.execute("UPDATE poddispatchd.obsolete_file SET next_attempt_at = now()")
            await features.deletion(here.parts).delete_obsolete()
    assert {line["event"] for line in logged} == {"queue.item_postponed"}
    assert await here.value("SELECT array_agg(DISTINCT attempts) FROM poddispatchd.obsolete_file") == [0]
    assert kept == [name for name in here.files() if name in kept]
    await here.execute("UPDATE poddispatchd.obsolete_file SET next_attempt_at = now()")
    await features.deletion(here.parts).delete_obsolete()
    assert (await obsolete(here), [name for name in here.files() if name in kept]) == (0, [])


async def test_two_daemons_never_delete_the_same_file(here: Bench, slow: SlowDeletion) -> None:
    await put_obsolete(here, "videos/x/a.mp4")
    deleting = asyncio.create_task(features.deletion(here.parts).delete_obsolete())
    await slow.begun.wait()
    async with here.another() as there:
        await features.deletion(there.parts).delete_obsolete()
    assert "videos/x/a.mp4" in here.files()
    slow.end()
    await deleting
    assert "videos/x/a.mp4" not in here.files()


async def test_what_a_dead_daemon_of_this_host_was_deleting_is_deleted_by_the_next(here: Bench) -> None:
    await put_obsolete(here, "videos/x/a.mp4")
    host = here.parts.instance.partition(":")[0]
    await here.execute(DEAD, f"{host}:1:0")
    await features.deletion(here.parts).delete_obsolete()
    assert await obsolete(here) == 1
    await release_dead(here)
    await features.deletion(here.parts).delete_obsolete()
    assert (await obsolete(here), "videos/x/a.mp4" in here.files()) == (0, False)


async def test_what_a_daemon_of_another_host_was_deleting_is_left_to_it_until_its_claim_runs_out(
    here: Bench,
) -> None:
    await put_obsolete(here, "videos/x/a.mp4")
    await here.execute(DEAD, "elsewhere:1:1")
    await release_dead(here)
    await features.deletion(here.parts).delete_obsolete()
    assert await obsolete(here) == 1
    await here.execute("UPDATE poddispatchd.obsolete_file SET claimed_until = now() - interval '1 second'")
    await features.deletion(here.parts).delete_obsolete()
    assert await obsolete(here) == 0


async def test_files_that_cannot_be_deleted_never_hide_the_others(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "_BATCH", 2)
    await put_obsolete(here, "videos/x/dir", "videos/x/pit", "videos/x/file")
    for name in ("dir", "pit"):
        (here.world.media_root / f"videos/x/{name}").unlink()
        (here.world.media_root / f"videos/x/{name}").mkdir()
    for _ in range(2):
        await features.deletion(here.parts).delete_obsolete()
    assert "videos/x/file" not in here.files()
    assert await obsolete(here) == 2


async def test_directories_of_a_video_that_hold_nothing_any_more_go_and_no_others(here: Bench) -> None:
    gone = ("videos/x/0001/sub/dir/a.ts", "videos/x/0001/sub/b.ts", "videos/x/0002/a.ts", "files/y/a.png")
    await put_obsolete(here, *gone)
    (here.world.media_root / "videos/x/0002/kept.ts").write_bytes(b"")
    await features.deletion(here.parts).delete_obsolete()
    root = here.world.media_root
    there = [(root / path).exists() for path in ("videos/x", "videos/x/0001", "videos/x/0002", "files/y")]
    assert there == [True, False, True, True]


async def test_files_wait_uncounted_while_a_table_that_may_name_them_has_another_name(
    here: Bench,
) -> None:
    """They were counted out one by one, with a line for each of them at every import."""
    names = [f"videos/x/{number}.mp4" for number in range(5)]
    await put_obsolete(here, *names)
    await here.execute("ALTER TABLE video_encode_transcript_playlistvideo RENAME TO away")
    with capture_logs() as logged:
        for _ in range(FILES.table.max_attempts + 1):
            await here.execute("UPDATE poddispatchd.obsolete_file SET next_attempt_at = now()")
            await features.deletion(here.parts).delete_obsolete()
    assert await here.value("SELECT sum(attempts) FROM poddispatchd.obsolete_file") == 0
    assert [name for name in here.files() if name in names] == names
    told = [line for line in logged if line["event"] == "queue.item_postponed"]
    assert {(line["items"], line["log_level"]) for line in told} == {(5, "warning")}
    assert len(logged) == len(told) == FILES.table.max_attempts + 1
    await here.execute("ALTER TABLE away RENAME TO video_encode_transcript_playlistvideo")
    await here.execute("UPDATE poddispatchd.obsolete_file SET next_attempt_at = now()")
    await features.deletion(here.parts).delete_obsolete()
    assert (await obsolete(here), [name for name in here.files() if name in names]) == (0, [])


async def test_a_file_that_trips_us_up_is_set_aside_in_the_end_and_the_others_are_deleted(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete = deletion._delete

    def trip(tree: MediaTree, paths: list[str], is_ours: Callable[[str], bool]) -> dict[str, Undeleted]:
        if "videos/x/odd.mp4" in paths:
            raise ValueError("a bug")
        return delete(tree, paths, is_ours)

    monkeypatch.setattr(deletion, "_delete", trip)
    await put_obsolete(here, "videos/x/a.mp4", "videos/x/odd.mp4", "videos/x/z.mp4")
    await features.deletion(here.parts).delete_obsolete()
    left = [name for name in here.files() if name.startswith("videos/x/")]
    assert left == ["videos/x/odd.mp4"]
    for _ in range(FILES.table.max_attempts):
        await here.execute("UPDATE poddispatchd.obsolete_file SET next_attempt_at = now()")
        await features.deletion(here.parts).delete_obsolete()
    async with here.pod.connection() as connection:
        [item] = await FILES.set_aside_items(connection, 10)
    assert (item.key, item.attempts) == ("videos/x/odd.mp4", FILES.table.max_attempts)
    assert "ValueError" in item.words


async def test_so_many_files_that_they_take_hours_are_deleted_a_part_at_a_time(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watchdog took the job for stuck after ten minutes, and the daemon was killed, again and again."""
    monkeypatch.setattr(deletion, "_BATCH", 2)
    await put_obsolete(here, *(f"videos/x/{number}.mp4" for number in range(8)))
    delete, spent = deletion._delete, []

    def slowly(tree: MediaTree, paths: list[str], is_ours: Callable[[str], bool]) -> dict[str, Undeleted]:
        problems = delete(tree, paths, is_ours)
        here.clock.ahead += 120
        spent.append(120)
        return problems

    monkeypatch.setattr(deletion, "_delete", slowly)
    obsolete_files = features.deletion(here.parts)
    due = await obsolete_files.delete_all()
    assert (sum(spent), await obsolete(here)) == (240, 4)
    assert due is not None
    await obsolete_files.delete_all()
    assert (await obsolete(here), here.staged()) == (0, [])
