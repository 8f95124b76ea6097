"""A small Pod of our own: database and media tree, seeded for each test that asks for it."""

import asyncio
import pickle
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import pytest

from poddispatchd.domain.secret import SecretStr
from poddispatchd.sandbox.pod.seed import ManagerSpec, add_manager, seed_world
from poddispatchd.sandbox.pod.world import World
from tests.plugins.copies import Copy
from tests.plugins.postgres import PodDatabase, ensure_template


@pytest.fixture
def media_root(tmp_path: Path) -> Path:
    """An empty folder that is the test's MEDIA_ROOT."""
    folder = tmp_path / "media"
    folder.mkdir()
    return folder


@pytest.fixture
def manager_specs() -> tuple[ManagerSpec, ...]:
    """The runner managers of ``world``; a test module overrides this fixture to have others."""
    return (
        ManagerSpec("first", "http://127.0.0.1:9/first/", SecretStr("token-of-first")),
        ManagerSpec("second", "http://127.0.0.1:9/second", SecretStr("token-of-second")),
    )


@pytest.fixture
async def world(pod_database: PodDatabase, media_root: Path, manager_specs: tuple[ManagerSpec, ...]) -> World:
    """The small world, in ``pod_database`` and ``media_root``, without any task."""
    return await planted(pod_database, media_root, managers=manager_specs, videos=True)


@dataclass(frozen=True, slots=True)
class _Seed:
    """A template of databases in which ``seed_world`` was, the files that it left and what it returned."""

    template: str
    files: Mapping[str, bytes]
    world: World


_seeds: dict[tuple[str, bool], _Seed] = {}
"""Those that this process knows, by the template that they are made of, and whether there are videos."""


async def planted(
    database: PodDatabase,
    media_root: Path,
    *,
    managers: Sequence[ManagerSpec] = (),
    videos: bool = False,
) -> World:
    """What ``seed_world`` does; it is done once for all databases that are still to be made.

    To add it to one that is there takes hundreds of statements.
    """
    copy = database.copy
    if copy is None or copy.is_made:
        async with database.connection() as connection:
            return await seed_world(
                connection,
                media_root,
                variant=database.variant,
                managers=managers,
                videos=videos,
            )
    seed = await _seed(database, copy, videos)
    copy.template = seed.template
    await asyncio.to_thread(_put_files, media_root, seed.files)
    before, now = seed.world.media_root, media_root
    recordings = {
        name: replace(each, source_file=now / each.source_file.relative_to(before))
        for name, each in seed.world.recordings.items()
    }
    async with database.connection() as connection:
        if recordings:
            await connection.execute(_MOVED, str(before), str(now))
        added = [await add_manager(connection, spec, seed.world.site) for spec in managers]
    return replace(seed.world, media_root=now, recordings=recordings, managers=added)


_MOVED = "UPDATE recorder_recording SET source_file = replace(source_file, $1, $2)"


async def _seed(database: PodDatabase, copy: Copy, videos: bool) -> _Seed:
    """Of the first worker that wants it; the others read what that one has kept beside the server."""
    key = (copy.template, videos)
    if key not in _seeds:
        name = f"{copy.template}_{'with_videos' if videos else 'seeded'}"
        kept = copy.server.directory / f"{name}.pickle"

        async def fill(connection: "asyncpg.Connection[asyncpg.Record]", _dsn: SecretStr) -> None:
            with tempfile.TemporaryDirectory() as folder:
                world = await seed_world(
                    connection,
                    Path(folder),
                    variant=database.variant,
                    videos=videos,
                )
                kept.write_bytes(pickle.dumps(_Seed(name, _files_below(Path(folder)), world)))

        await ensure_template(copy.server, name, fill, of=copy.template)
        _seeds[key] = pickle.loads(kept.read_bytes())
    return _seeds[key]


def _files_below(root: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _put_files(root: Path, files: Mapping[str, bytes]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
