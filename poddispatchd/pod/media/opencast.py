"""What Pod's studio left on the disk: an entry of ``opencast-files`` for each recording (blocking)."""

from collections.abc import Collection

from msgspec import Struct, field

from poddispatchd.pod.media.directory import Directory
from poddispatchd.pod.media.tree import MediaPath


class Removal(Struct):
    """What was deleted, and why the rest was not, in words by name."""

    removed: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


def old_entries(directory: MediaPath, before: float) -> list[str]:
    """The entries that were last changed before a moment (Unix time), oldest first.

    As for Pod, a directory is as old as the last change of its list of files. Symbolic links are passed over,
    and so are names that no row can hold.

    Raises:
        OSError: the directory cannot be read, or is a symbolic link. One that does not exist is empty.
    """
    try:
        with directory.opened() as opened:
            found = [
                (status.changed_at, name)
                for name, status in opened.statuses()
                if (status.is_file or status.is_directory) and status.changed_at < before and _is_text(name)
            ]
    except FileNotFoundError:
        return []
    return [name for _, name in sorted(found)]


def remove_entries(directory: MediaPath, names: Collection[str], before: float) -> Removal:
    """Delete entries with all that is in them, unless they were changed meanwhile.

    No symbolic link is followed, whatever is exchanged for one meanwhile.

    Raises:
        OSError: the directory cannot be read, or is a symbolic link.
    """
    done = Removal()
    with directory.opened() as opened:
        for name in names:
            if not _is_old(opened, name, before):
                continue
            try:
                opened.remove_tree(name)
            except OSError as error:
                done.problems[name] = f"{directory / name} cannot be deleted: {error.strerror or error}."
            else:
                done.removed.append(name)
    return done


def _is_old(directory: Directory, name: str, before: float) -> bool:
    status = directory.status(name)
    return status is not None and (status.is_file or status.is_directory) and status.changed_at < before


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
