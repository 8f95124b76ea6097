"""What Pod's studio left on the disk: an entry of ``opencast-files`` for each recording, or upload."""

import os
import shutil
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries

_QUERIES = load_queries("poddispatchd.pod", "opencast.sql")


@dataclass(slots=True)
class Removal:
    """What was deleted, and why the rest was not, in words by name."""

    removed: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


async def needed_entries(connection: Connection, names: Collection[str]) -> frozenset[str]:
    """Those of these entries that a recording may still be imported from.

    That one was imported is shown by a completed task alone; wherever a recording's path has the name of an
    entry as a part, that entry counts as its own.
    """
    rows = await connection.fetch(_QUERIES["needed"], list(names))
    return frozenset(row["name"] for row in rows)


def old_entries(directory: Path, before: float) -> list[str]:
    """The entries that were last changed before a moment (Unix time), oldest first (blocking).

    As for Pod, a directory is as old as the last change of its list of files. Symbolic links are passed over,
    and so are names that no row can hold.

    Raises:
        OSError: the directory cannot be read, or is a symbolic link. One that does not exist is empty.
    """
    found: list[tuple[float, str]] = []
    try:
        with _opened(directory) as descriptor, os.scandir(descriptor) as entries:
            for entry in entries:
                changed = _last_change(descriptor, entry.name)
                if changed is not None and changed < before and _is_text(entry.name):
                    found.append((changed, entry.name))
    except FileNotFoundError:
        return []
    return [name for _, name in sorted(found)]


def remove_entries(directory: Path, names: Collection[str], before: float) -> Removal:
    """Delete entries with all that is in them, unless they were changed meanwhile (blocking).

    No symbolic link is followed, whatever is exchanged for one meanwhile.

    Raises:
        OSError: the directory cannot be read, or is a symbolic link.
    """
    done = Removal()
    with _opened(directory) as descriptor:
        for name in names:
            changed = _last_change(descriptor, name)
            if changed is None or changed >= before:
                continue
            try:
                if stat.S_ISDIR(os.lstat(name, dir_fd=descriptor).st_mode):
                    shutil.rmtree(name, dir_fd=descriptor)
                else:
                    os.unlink(name, dir_fd=descriptor)
            except OSError as error:
                done.problems[name] = f"{directory / name} cannot be deleted: {error.strerror or error}."
            else:
                done.removed.append(name)
    return done


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _last_change(directory: int, name: str) -> float | None:
    """When a file or directory was last changed; None for what is neither, or gone."""
    try:
        found = os.lstat(name, dir_fd=directory)
    except OSError:
        return None
    return found.st_mtime if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode) else None


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
