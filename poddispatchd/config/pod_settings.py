"""A first configuration out of Pod's own settings."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from msgspec import Struct, field

from poddispatchd.config.consistency import contradictions
from poddispatchd.config.keys import known_keys
from poddispatchd.config.literals import Assignments, Unreadable, read_assignments
from poddispatchd.config.model import Settings
from poddispatchd.config.pod_database import database_address, without_password
from poddispatchd.config.pod_readers import ABSENT, READERS, Reader, UnusableError

Tree = dict[str, dict[str, object]]


class Imported(Struct):
    """What was found: ``tree`` for a config.yaml, its ``secrets``, ``notes`` on what wants a look.

    ``remarks`` say what was concluded from a setting that is absent; nobody has to do anything.
    """

    tree: Tree = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)

    def without_secrets(self) -> Tree:
        """The tree without what nobody else may read; an address of the database loses its password."""
        tree: Tree = {}
        for section, values in self.tree.items():
            for name, value in values.items():
                path = (section, name)
                if path == ("database", "dsn"):
                    tree.setdefault(section, {})[name] = without_password(str(value))
                elif not known_keys()[path].is_secret:
                    tree.setdefault(section, {})[name] = value
        return tree


def version_of_pod(source: str | bytes, path: PurePosixPath) -> str | None:
    """VERSION in the ``settings.py`` that Pod ships; None when it is not there, or no Python.

    Args:
        source: the text of the file, or its bytes as Python reads them.
        path: its absolute path.
    """
    try:
        version = read_assignments(source, path).values.get("VERSION")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return version if isinstance(version, str) and version else None


def import_pod_settings(source: str | bytes, path: PurePosixPath, *, version: str | None) -> Imported:
    """The settings of a ``settings_local.py`` that poddispatchd has as well.

    The file is parsed and never executed. Settings it does not name keep Pod's defaults, which are ours;
    where they are not, what Pod takes an absent setting for is written.

    Args:
        source: the text of the file, or its bytes as Python reads them.
        path: its absolute path.
        version: of this Pod, unless the file sets it itself; None when nobody knows.

    Raises:
        SyntaxError: it is no Python.
        RecursionError: it is nested too deeply.
    """
    found = read_assignments(source, path)
    imported = Imported()
    if version is not None:
        imported.tree["pod"] = {"version": version}
    elif not _is_named("VERSION", found):
        imported.notes.append("VERSION, which Pod's own settings.py sets, was not found: check pod.version.")
    for name, readers in READERS.items():
        if name in found.unreadable:
            keys = ", ".join(".".join(reader.key) for reader in readers)
            imported.notes.append(
                f"{name} could not be read ({found.unreadable[name]}): set {keys} yourself."
            )
            continue
        if name not in found.values:
            continue
        for reader in readers:
            _put(imported, name, reader, found.values[name])
    _take_database(imported, found)
    _take_absent(imported, found)
    if "EMAIL_HOST" in found.values:
        imported.tree.setdefault("mail", {}).setdefault("enabled", True)
    if "MEDIA_ROOT" not in found.values and "MEDIA_ROOT" not in found.unreadable:
        imported.notes.append("MEDIA_ROOT is not set here: check pod.media_root.")
    imported.notes += [f"{words}, which is not read: see what it sets." for words in found.elsewhere]
    order = list(dict.fromkeys(path[0] for path in known_keys()))
    imported.tree = {section: imported.tree[section] for section in order if section in imported.tree}
    imported.notes += _contradictions(imported.tree)
    return imported


def _contradictions(tree: Tree) -> list[str]:
    """What the daemon would refuse at its start, as mail that nobody sends."""
    return [f"{words.rstrip('.')}." for _, words in contradictions(Settings.read(tree))]


def _take_database(imported: Imported, found: Assignments) -> None:
    """The address of Pod's database; what is missing of it is named, and the rest is kept."""
    if "DATABASES" in found.unreadable:
        imported.notes.append(
            f"DATABASES could not be read ({found.unreadable['DATABASES']}): set database.dsn yourself."
        )
        return
    address = database_address(found.values.get("DATABASES"))
    imported.notes += address.notes
    if address.dsn is not None:
        if without_password(address.dsn) != address.dsn:
            imported.secrets.append("database.dsn")
        imported.tree.setdefault("database", {})["dsn"] = address.dsn


def _take_absent(imported: Imported, found: Assignments) -> None:
    """What Pod takes an absent setting for, where our default is another."""
    if not _is_named("SECURE_SSL_REDIRECT", found):
        imported.tree.setdefault("pod", {})["https"] = False
        imported.remarks.append(
            "SECURE_SSL_REDIRECT is not set here: Pod's addresses start with http:// then, and so do ours "
            "(pod.https: false)."
        )
    if not _is_named("TIME_ZONE", found):
        imported.tree.setdefault("pod", {})["time_zone"] = "UTC"
        imported.remarks.append(
            "TIME_ZONE is not set here: Pod's logs and dates are in UTC then, and so are ours "
            "(pod.time_zone: UTC)."
        )
    if not _is_named("DEBUG", found):
        imported.tree.setdefault("mail", {})["debug"] = True
        imported.remarks.append(
            "DEBUG is not set here: Pod takes it for True then, and owners get no mail of their own; nor do "
            "they from us (mail.debug: true). Where another file of Pod's sets it to False, make that false."
        )
    if not _is_named("TRANSCRIPTION_TYPE", found):
        imported.tree.setdefault("pod", {})["transcription_type"] = None
    use = found.values.get("USE_RUNNER_MANAGER")
    if "USE_RUNNER_MANAGER" in found.unreadable:
        imported.notes.append(
            f"USE_RUNNER_MANAGER could not be read ({found.unreadable['USE_RUNNER_MANAGER']}): Pod hands its "
            "tasks to runner managers only where it is True."
        )
    elif not use:
        how = "not set here" if use is None else repr(use)
        imported.notes.append(
            f"USE_RUNNER_MANAGER is {how}: this Pod makes no tasks for runner managers. Set it to True in "
            "Pod, or poddispatchd has nothing to do."
        )


def _is_named(name: str, found: Assignments) -> bool:
    return name in found.values or name in found.unreadable


def _put(imported: Imported, name: str, reader: Reader, value: object) -> None:
    key = known_keys().get(reader.key)
    dotted = ".".join(reader.key)
    if key is None:
        return
    try:
        converted = reader.convert(value)
    except UnusableError as error:
        imported.notes.append(f"{name}: {error}")
        return
    if converted is ABSENT:
        return
    unreadable = next(_unreadable_in(converted), None)
    if unreadable is not None:
        imported.notes.append(f"{name}: {dotted} could not be read ({unreadable.why}): set it yourself.")
        return
    if not key.accepts(converted):
        shown = "its value" if key.is_secret else repr(converted)
        imported.notes.append(f"{name}: {shown} is nothing that {dotted} takes: set it yourself.")
        return
    if key.is_secret and converted:
        imported.secrets.append(dotted)
    imported.tree.setdefault(reader.key[0], {})[reader.key[1]] = converted


def _unreadable_in(value: object) -> Iterator[Unreadable]:
    match value:
        case Unreadable():
            yield value
        case dict():
            for inner in value.values():
                yield from _unreadable_in(inner)
        case list():
            for inner in value:
                yield from _unreadable_in(inner)
