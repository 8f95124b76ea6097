"""A system call of an import fails once, or from then on: nothing is lost, and it ends well later.

A preloaded library counts the calls of a real process and lets one fail. Some of them are tried here, chosen
by the seed; ``make faults`` tries every one, or as many others: ``PODDISPATCHD_TEST_CALLS="300 seed 3"``.
"""

import asyncio
import errno
import json
import os
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.pod.media.tree import OURS
from poddispatchd.sandbox.pod.world import SampleVideo
from tests.forked import ForkedProcess, fork
from tests.integration.imports.bench import Bench, bench, settled
from tests.integration.imports.test_crashes import watchable
from tests.integration.imports.test_poor_file_systems import needs_gcc, refusing
from tests.plugins.postgres import PodDatabase

pytestmark = [needs_gcc, pytest.mark.slow, pytest.mark.timeout(3600)]

_WANTED, _, _SEED = os.environ.get("PODDISPATCHD_TEST_CALLS", "4 seed 7").partition(" seed ")
"""How many calls of each kind of import fail, or ``every``."""

_PARTS = 8 if _WANTED == "every" else 1
"""Each with a Pod of its own: what is looked at after each call grows with every recording that came in."""

_READS, _WRITES = 1, 2
_OF_READS = (errno.EIO, errno.ESTALE, errno.EACCES)
"""What reading can be refused with; the others are said to those who write only."""

_OLD = b"of the former encoding"


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon in a process of its own, whose calls fail as it is told."""

    process: ForkedProcess

    async def imports(self, **wanted: object) -> Mapping[str, int]:
        """Let it import what is due; how many calls there were, and how many failed."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        stdin.write(json.dumps(wanted).encode() + b"\n")
        said = b""
        async with asyncio.timeout(120):
            while line := await stdout.readline():
                if line.startswith(b"#"):
                    assert b"Traceback" not in said, said.decode()
                    answer: Mapping[str, int] = json.loads(line[1:])
                    return answer
                said += line
        raise AssertionError(said.decode())


@asynccontextmanager
async def daemon(here: Bench, library: Path, **environment: str) -> AsyncIterator[Daemon]:
    root = here.world.media_root
    process = await fork(
        "tests.integration.imports.importing",
        env={**os.environ, **refusing(library, root), **environment},
        writes=True,
    )
    assert process.stdin is not None
    pod = {
        "dsn": here.pod.dsn.get_secret_value(),
        "media_root": str(root),
        "variant": here.pod.variant.value,
    }
    process.stdin.write(json.dumps(pod).encode() + b"\n")
    try:
        yield Daemon(process)
    finally:
        process.stdin.close()
        await process.wait()


def files(here: Bench) -> dict[str, bytes]:
    """What lies in the tree, without what no two imports have in common."""
    return {
        settled(name, here.world.media_root): b"" if name.endswith((".log", ".json")) else content
        for name, content in here.files().items()
    }


async def make_old(here: Bench) -> None:
    """Let the files that can be watched now differ from those that come."""
    for name in await watchable(here):
        path = here.world.media_root / name
        if not path.read_bytes().endswith(_OLD):
            path.write_bytes(path.read_bytes() + _OLD)


async def end_well(here: Bench, there: Daemon, task: TaskPk) -> None:
    """Let time pass: what could not be deleted is deleted now, and the result is imported at last."""
    for _ in range(3):
        for table in ("import", "obsolete_file"):
            await here.execute(f"UPDATE poddispatchd.{table} SET next_attempt_at = now()")
        await there.imports(tidy=True)
    assert await here.status(task) == "completed", await here.imports_of(task)


async def count_calls(
    here: Bench, there: Daemon, kind: TaskType, video: SampleVideo | None, kinds: int
) -> int:
    """How many calls an import makes that nothing disturbs."""
    await here.ready(kind, video=video)
    return (await there.imports(call=10**9, errno=errno.EIO, kinds=kinds, tidy=True))["calls"]


async def fail_at(
    here: Bench, there: Daemon, kind: TaskType, video: SampleVideo | None, fault: Mapping[str, object]
) -> None:
    """One import during which calls fail, and what must be true of it then and after the next attempt."""
    task = await here.ready(kind, video=video)
    await make_old(here)
    before = files(here)
    await there.imports(**fault)
    status, [(state, attempts, words)] = await here.status(task), await here.imports_of(task)
    # Nothing is held against the result, however the disk fails (I16).
    assert (status, state, attempts) in {("running", "open", 0), ("completed", "done", 1)}, (fault, words)
    there_now = here.files()
    # Whatever can be watched is there, old or new (I5).
    assert all(there_now.get(name) for name in await watchable(here)), fault
    amid = files(here)
    assert status == "completed" or before.keys() <= amid.keys(), fault
    await end_well(here, there, task)
    after = files(here)
    for name, content in amid.items():
        if "poddispatchd-" not in name and not name.startswith("tasks/"):
            # No half of a file has ever had the name of a whole one.
            assert content in (before.get(name), after.get(name)), (fault, name)
    assert here.staged() == [], fault
    if kind is TaskType.ENCODING:
        assert not [name for name, content in after.items() if content.endswith(_OLD)], fault
    for table in ("import_file", "obsolete_file"):
        assert await here.value(f"SELECT count(*) FROM poddispatchd.{table}") == 0, fault


def chosen(calls: int) -> list[int]:
    """Which of so many calls fail, the first being 1."""
    every = range(1, calls + 1)
    if _WANTED == "every":
        return list(every)
    return sorted(random.Random(int(_SEED)).sample(every, min(int(_WANTED), calls)))


@pytest.mark.parametrize("part", range(_PARTS))
@pytest.mark.parametrize(
    "case",
    [
        (TaskType.ENCODING, errno.EIO, False),
        (TaskType.ENCODING, errno.ENOSPC, True),
        (TaskType.ENCODING, errno.ESTALE, True),
        (TaskType.STUDIO, errno.EDQUOT, False),
        (TaskType.STUDIO, errno.EIO, True),
        (TaskType.TRANSCRIPTION, errno.EROFS, True),
        (TaskType.TRANSCRIPTION, errno.EIO, False),
    ],
    ids=lambda case: f"{case[0]} {errno.errorcode[case[1]]} {'lasting' if case[2] else 'once'}",
)
async def test_whichever_call_of_an_import_fails_nothing_is_lost_and_it_ends_well_later(
    pod_database: PodDatabase,
    media_root: Path,
    library: Path,
    case: tuple[TaskType, int, bool],
    part: int,
) -> None:
    kind, number, is_lasting = case
    kinds = _READS | _WRITES if number in _OF_READS else _WRITES
    async with bench(pod_database, media_root) as here, daemon(here, library) as there:
        video = None
        if kind is not TaskType.STUDIO:
            video = await here.video(encoded=True, transcript="fr")
        calls = await count_calls(here, there, kind, video, kinds)
        assert calls > 50
        for call in chosen(calls)[part::_PARTS]:
            fault = {"call": call, "errno": number, "is_lasting": is_lasting, "kinds": kinds}
            await fail_at(here, there, kind, video, fault)


async def test_what_a_row_names_is_on_stable_storage_before_the_row_is(
    pod_database: PodDatabase, media_root: Path, library: Path, tmp_path: Path
) -> None:
    """Content before its name, names before the rows; a directory made for them has a name, too."""
    trace = tmp_path / "trace"
    async with bench(pod_database, media_root) as here:
        async with daemon(here, library, REFUSE_TRACE=str(trace)) as there:
            task = await here.ready(video=await here.video())
            await there.imports()
            assert await here.status(task) == "completed"
        named = {str(media_root / name) for name in await watchable(here)}
    written: set[str] = set()
    unnamed: set[str] = set()
    placed: set[str] = set()
    for line in trace.read_text().splitlines():
        call, path, other = (*line.split("\t"), "")[:3]
        match call:
            case "create" | "write":
                written.add(path)
            case "fsync":
                written.discard(path)
                unnamed.discard(path)
            case "rename" if path in written and OURS in other:
                # From one name in the staging directory to another: nothing of it outlives a crash.
                written.remove(path)
                written.add(other)
            case "link" | "rename":
                assert path not in written, f"{other} had its name before its content was safe"
                if other in named:
                    placed.add(other)
                if not other.rpartition("/")[2].startswith("."):
                    unnamed.add(other.rpartition("/")[0])
            case "mkdir":
                unnamed.add(path.rpartition("/")[0])
    assert placed == named
    # What is left lies in staging directories, or above them, and is taken away again.
    folders = {name.rpartition("/")[0] for name in named}
    above = {folder.rpartition("/")[0] for folder in folders}
    assert not (folders | above) & unnamed
