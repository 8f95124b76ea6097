"""Recorded Pod databases and media trees, copied for each test, and the start states of vectors."""

import asyncio
import base64
import gzip
import os
import subprocess
import tarfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

import asyncpg
import pytest

from poddispatchd.domain.secret import SecretStr
from poddispatchd.sandbox.pod.schema import SchemaVariant
from poddispatchd.sandbox.postgresql import PostgresServer, binaries_directory
from tests.plugins.postgres import PodDatabase, cloned_database, ensure_template, make_journal
from tests.shared import SHARED

RECORDED_MEDIA_ROOT = "/srv/pod/media"
"""How recordings write MEDIA_ROOT."""

RECORDED_RUNNER_BASE = "http://127.0.0.1:54401"
"""How recordings write the address of the runner managers."""

Case: TypeAlias = Mapping[str, object]
"""A recorded case, as its JSON says it."""


@dataclass(frozen=True, slots=True)
class SharedWorld:
    """A copy of a recorded Pod: its database, and its media tree in a folder of the test."""

    database: PodDatabase
    media_root: Path

    async def apply(self, case: Case, runner_base: str = RECORDED_RUNNER_BASE) -> None:
        """Bring this copy to a case's start state."""
        async with self.database.connection() as connection:
            await apply_case(connection, self.media_root, case, runner_base)


SharedWorldFactory: TypeAlias = Callable[[SchemaVariant | str], Awaitable[SharedWorld]]


@pytest.fixture
async def shared_world(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[SharedWorldFactory]:
    """A function that gives a fresh copy of the recorded world of a variant; all copies go after the test."""
    async with AsyncExitStack() as copies:

        async def copy(variant: SchemaVariant | str) -> SharedWorld:
            return await copies.enter_async_context(copied_world(postgres, SchemaVariant(variant), tmp_path))

        yield copy


@asynccontextmanager
async def copied_world(
    postgres: PostgresServer, variant: SchemaVariant, folder: Path
) -> AsyncIterator[SharedWorld]:
    """A fresh copy of the recorded world of a variant, its media tree somewhere in ``folder``."""
    template = await ensure_template(postgres, f"shared_{variant}", _restore(variant))
    async with cloned_database(postgres, template, variant) as database:
        media_root = folder / f"media-{database.name}"
        await asyncio.to_thread(_put_media, variant, media_root)
        async with database.connection() as connection:
            await connection.execute(
                "UPDATE recorder_recording SET source_file = replace(source_file, $1, $2)",
                f"{RECORDED_MEDIA_ROOT}/",
                f"{media_root}/",
            )
        yield SharedWorld(database, media_root)


async def apply_case(
    connection: "asyncpg.Connection[asyncpg.Record]", media_root: Path, case: Case, runner_base: str
) -> None:
    """Bring a copy of the recorded world to a case's start state: its SQL first, then its files.

    ``runner_base`` (scheme, host and port, no closing slash) takes the place of the recorded one, in the rows
    of ``runner_manager`` as well; ``media_root`` that of the recorded MEDIA_ROOT.
    """
    await connection.execute(
        "UPDATE runner_manager SET url = replace(url, $1, $2)", RECORDED_RUNNER_BASE, runner_base
    )
    for statement in _texts(case.get("setup_sql")):
        await connection.execute(localise(statement, media_root, runner_base))
    operations = case.get("setup_files") or []
    assert isinstance(operations, Sequence)
    for operation in operations:
        _apply_operation(media_root, operation)


def localise(text: str, media_root: Path, runner_base: str) -> str:
    """A recorded text with this test's media root and runner address."""
    return (
        text.replace(RECORDED_MEDIA_ROOT, str(media_root))
        .replace(RECORDED_RUNNER_BASE, runner_base)
        .replace(RECORDED_RUNNER_BASE.removeprefix("http://"), runner_base.partition("://")[2])
    )


def blob(sha256: str) -> bytes:
    """The recorded file with this checksum."""
    return (_shared() / "vectors" / "imports" / "_blobs" / sha256).read_bytes()


def _shared() -> Path:
    assert SHARED is not None, "this test needs the recorded material beside the checkout"
    return SHARED


def _texts(value: object) -> list[str]:
    assert value is None or (isinstance(value, list) and all(isinstance(text, str) for text in value))
    return value or []


def _apply_operation(media_root: Path, operation: Mapping[str, object]) -> None:
    path = media_root / str(operation["path"])
    match operation["op"]:
        case "write":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_content(operation))
        case "mkdir":
            path.mkdir(parents=True, exist_ok=True)
        case "utime":
            days = operation["days_ago"]
            assert isinstance(days, (int, float))
            moment = time.time() - days * 86400
            os.utime(path, (moment, moment))
        case other:
            raise AssertionError(f"a case asks for {other!r}, which is not known here")


def _content(operation: Mapping[str, object]) -> bytes:
    if "text" in operation:
        return str(operation["text"]).encode()
    if "b64" in operation:
        return base64.b64decode(str(operation["b64"]))
    return blob(str(operation["blob"]))


def _restore(
    variant: SchemaVariant,
) -> Callable[["asyncpg.Connection[asyncpg.Record]", SecretStr], Awaitable[None]]:
    async def restore(_connection: "asyncpg.Connection[asyncpg.Record]", dsn: SecretStr) -> None:
        await asyncio.to_thread(_run_psql, _shared() / "pod-db" / f"world_{variant}.sql.gz", dsn)
        await make_journal(dsn)

    return restore


def _run_psql(dump: Path, dsn: SecretStr) -> None:
    done = subprocess.run(
        [
            str(binaries_directory() / "psql"),
            "--no-psqlrc",
            "--quiet",
            "--single-transaction",
            "--set=ON_ERROR_STOP=1",
            "--output=/dev/null",
            dsn.get_secret_value(),
        ],
        input=gzip.decompress(dump.read_bytes()),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


@cache
def _recorded_media(variant: SchemaVariant) -> tuple[tuple[str, int, bytes | None], ...]:
    """The recorded media tree: path, permission bits and content; None is that of a directory."""
    found = []
    with tarfile.open(_shared() / "pod-db" / f"media_{variant}.tar.gz") as archive:
        for member in archive:
            assert member.isdir() or member.isfile()
            content = archive.extractfile(member)
            found.append((member.name, member.mode, None if content is None else content.read()))
    return tuple(found)


def _put_media(variant: SchemaVariant, media_root: Path) -> None:
    """Everything is as old as the test: some imports delete what is older than a week."""
    media_root.mkdir()
    for name, mode, content in _recorded_media(variant):
        path = media_root / name
        if content is None:
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(content)
        path.chmod(mode)
