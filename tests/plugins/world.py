"""A small Pod of our own: database and media tree, seeded for each test that asks for it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from poddispatchd.database.pool import Connection
from poddispatchd.domain.secret import SecretStr
from poddispatchd.sandbox.pod.schema import SchemaVariant
from poddispatchd.sandbox.pod.seed import ManagerSpec, add_manager, seed_world
from poddispatchd.sandbox.pod.world import World
from tests.plugins.postgres import PodDatabase


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
    async with pod_database.connection() as connection:
        return await planted(
            connection, media_root, variant=pod_database.variant, managers=manager_specs, videos=True
        )


@dataclass(frozen=True, slots=True)
class _Seed:
    """What ``seed_world`` left: the rows as one script, the files, and what it returned."""

    script: str
    files: Mapping[str, bytes]
    world: World


_seeds: dict[tuple[SchemaVariant, str, bool], _Seed] = {}


async def planted(
    connection: Connection,
    media_root: Path,
    *,
    variant: SchemaVariant,
    site_domain: str = "pod.example.org",
    managers: Sequence[ManagerSpec] = (),
    videos: bool = False,
) -> World:
    """What ``seed_world`` does, its hundreds of statements sent at once: nearly every test begins so."""
    key = (variant, site_domain, videos)
    if key not in _seeds:
        _seeds[key] = await _seed(connection, media_root, *key)
        world = _seeds[key].world
    else:
        world = await _replant(connection, media_root, _seeds[key])
    return replace(world, managers=[await add_manager(connection, spec, world.site) for spec in managers])


async def _seed(
    connection: Connection, media_root: Path, variant: SchemaVariant, site_domain: str, videos: bool
) -> _Seed:
    async with connection.transaction():
        world = await seed_world(
            connection, media_root, variant=variant, site_domain=site_domain, videos=videos
        )
        script = await _rows_as_script(connection)
    return _Seed(script, await asyncio.to_thread(_files_below, media_root), world)


async def _replant(connection: Connection, media_root: Path, seed: _Seed) -> World:
    before, now = str(seed.world.media_root), str(media_root)
    async with connection.transaction():
        await connection.execute(seed.script.replace(before, now))
    await asyncio.to_thread(_put_files, media_root, seed.files)
    recordings = {
        name: replace(each, source_file=media_root / each.source_file.relative_to(before))
        for name, each in seed.world.recordings.items()
    }
    return replace(seed.world, media_root=media_root, recordings=recordings)


async def _rows_as_script(connection: Connection) -> str:
    """Statements that bring the rows of Pod's tables into empty ones; what was now is when they run."""
    # Rows come in as they were: nothing is checked or triggered.
    statements = ["SET LOCAL session_replication_role = replica"]
    now = await connection.fetchval("SELECT quote_literal(now()::text)")
    tables = (
        "SELECT quote_ident(relname) AS name, string_agg("
        "format('quote_nullable(%I::text)', attname), ' || '','' || ' ORDER BY attnum) AS columns"
        " FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped"
        " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace GROUP BY relname ORDER BY relname"
    )
    for table, columns in await connection.fetch(tables):
        rows = f"SELECT string_agg('(' || {columns} || ')', ', ') FROM {table}"
        if values := await connection.fetchval(rows):
            statements.append(
                f"INSERT INTO {table} OVERRIDING SYSTEM VALUE VALUES {values.replace(now, 'now()')}"
            )
    sequences = await connection.fetch(
        "SELECT format('%I', sequencename), last_value FROM pg_sequences"
        " WHERE schemaname = 'public' AND last_value IS NOT NULL ORDER BY 1"
    )
    statements += [f"SELECT setval({_quoted(name)}, {value})" for name, value in sequences]
    return ";\n".join(statements)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _files_below(root: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _put_files(root: Path, files: Mapping[str, bytes]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
