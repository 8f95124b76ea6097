"""A first configuration out of Pod's own settings."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath

from msgspec import Struct, field

from poddispatchd.config.consistency import contradictions
from poddispatchd.config.keys import KeyPath, known_keys
from poddispatchd.config.literals import Assignments, Unreadable, read_assignments
from poddispatchd.config.model import Settings
from poddispatchd.config.pod_database import database_address, without_password

Tree = dict[str, dict[str, object]]


class _UnusableError(Exception):
    """A value that has no place in our configuration; the words say why."""


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


def import_pod_settings(source: str | bytes, path: PurePosixPath) -> Imported:
    """The settings of a ``settings_local.py`` that poddispatchd has as well.

    The file is parsed and never executed. Settings it does not name keep Pod's defaults, which are ours;
    where they are not, what Pod takes an absent setting for is written.

    Args:
        source: the text of the file, or its bytes as Python reads them.
        path: its absolute path.

    Raises:
        SyntaxError: it is no Python.
        RecursionError: it is nested too deeply.
    """
    found = read_assignments(source, path)
    imported = Imported()
    for name, readers in _READERS.items():
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


class _Reader(Struct, frozen=True):
    key: KeyPath
    convert: Callable[[object], object]


def _put(imported: Imported, name: str, reader: _Reader, value: object) -> None:
    key = known_keys().get(reader.key)
    dotted = ".".join(reader.key)
    if key is None:
        return
    try:
        converted = reader.convert(value)
    except _UnusableError as error:
        imported.notes.append(f"{name}: {error}")
        return
    if converted is _ABSENT:
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


_ABSENT = object()


def _same(value: object) -> object:
    return value


def _inside(name: str) -> Callable[[object], object]:
    def convert(value: object) -> object:
        return value.get(name, _ABSENT) if isinstance(value, dict) else _ABSENT

    return convert


def _french(value: object) -> object:
    """Our words are in French besides the English that is the default."""
    return "fr" if isinstance(value, str) and value.partition("-")[0] == "fr" else _ABSENT


def _mode(value: object) -> object:
    return f"{value:04o}" if isinstance(value, int) else value


def _days_kept(value: object) -> object:
    """Pod keeps all where the number is none, or not a positive one."""
    try:
        return max(0, int(str(value)))
    except ValueError:
        return 0


def _directory_url(value: object) -> object:
    return f"{str(value).rstrip('/')}/"


def _first_of_each(value: object) -> object:
    """The codes of Django's choices."""
    if not isinstance(value, list):
        raise _UnusableError("it is no list of choices: set it yourself.")
    return [str(item[0]) if isinstance(item, list) and item else str(item) for item in value]


def _addresses(value: object) -> object:
    """The addresses of Django's (name, address) pairs."""
    if not isinstance(value, list):
        raise _UnusableError("it is no list of people: set it yourself.")
    return [str(item[1]) if isinstance(item, list) and len(item) == 2 else str(item) for item in value]


def _by_establishment(value: object) -> object:
    pairs = [item for item in value if isinstance(item, list)] if isinstance(value, list) else []
    grouped: dict[str, list[str]] = {}
    for pair in pairs:
        if len(pair) == 2:
            grouped.setdefault(str(pair[0]).lower(), []).append(str(pair[1]))
    return grouped or _ABSENT


def _security(wanted: str) -> Callable[[object], object]:
    def convert(value: object) -> object:
        return wanted if value is True else _ABSENT

    return convert


def _one(key: str, convert: Callable[[object], object] = _same) -> list[_Reader]:
    section, _, name = key.partition(".")
    return [_Reader((section, name), convert)]


_READERS: Mapping[str, list[_Reader]] = {
    "SITE_ID": _one("pod.site_id"),
    "SECURE_SSL_REDIRECT": _one("pod.https"),
    "TEMPLATE_VISIBLE_SETTINGS": [
        *_one("pod.title_site", _inside("TITLE_SITE")),
        *_one("pod.title_etb", _inside("TITLE_ETB")),
    ],
    "MEDIA_ROOT": _one("pod.media_root"),
    "MEDIA_URL": _one("pod.media_url", _directory_url),
    "VIDEOS_DIR": _one("pod.videos_dir"),
    "FILES_DIR": _one("pod.files_dir"),
    "OPENCAST_FILES_DIR": _one("pod.opencast_files_dir"),
    "FILE_UPLOAD_PERMISSIONS": _one("pod.file_permissions", _mode),
    "USE_PODFILE": _one("pod.use_podfile"),
    "USE_TRANSCRIPTION": _one("pod.use_transcription"),
    "TRANSCRIPTION_TYPE": _one("pod.transcription_type"),
    "TRANSCRIPTION_NORMALIZE": _one("pod.transcription_normalize"),
    "CAPTIONS_STRICT_ACCESSIBILITY": _one("pod.captions_strict_accessibility"),
    "LANGUAGE_CODE": [*_one("pod.language"), *_one("pod.output_language", _french)],
    "LANGUAGES": _one("pod.languages", _first_of_each),
    "TIME_ZONE": _one("pod.time_zone"),
    "ENCODING_CHOICES": _one("pod.encoding_choices", _first_of_each),
    "ACCOMMODATION_YEARS": _one("pod.accommodation_years"),
    "DEFAULT_YEAR_DATE_DELETE": _one("pod.default_year_date_delete"),
    "RM_TASKS_DELETED_AFTER_DAYS": _one("retention.completed_days", _days_kept),
    "EMAIL_HOST": _one("mail.host"),
    "EMAIL_PORT": _one("mail.port"),
    "EMAIL_USE_TLS": _one("mail.security", _security("starttls")),
    "EMAIL_USE_SSL": _one("mail.security", _security("tls")),
    "EMAIL_HOST_USER": _one("mail.username"),
    "EMAIL_HOST_PASSWORD": _one("mail.password"),
    "DEFAULT_FROM_EMAIL": _one("mail.from_email"),
    "SERVER_EMAIL": _one("mail.server_email"),
    "EMAIL_SUBJECT_PREFIX": _one("mail.subject_prefix"),
    "ADMINS": _one("mail.admins", _addresses),
    "MANAGERS": [
        *_one("mail.managers", _addresses),
        *_one("mail.establishment_managers", _by_establishment),
    ],
    "USE_ESTABLISHMENT_FIELD": _one("mail.use_establishment"),
    "EMAIL_ON_ENCODING_COMPLETION": _one("mail.on_encoding_completion"),
    "EMAIL_ON_TRANSCRIPTING_COMPLETION": _one("mail.on_transcripting_completion"),
    "DEBUG": _one("mail.debug"),
    "USE_NOTIFICATIONS": _one("push.enabled"),
    "WEBPUSH_SETTINGS": [
        *_one("push.vapid_public_key", _inside("VAPID_PUBLIC_KEY")),
        *_one("push.vapid_private_key", _inside("VAPID_PRIVATE_KEY")),
        *_one("push.admin_email", _inside("VAPID_ADMIN_EMAIL")),
    ],
}
"""Pod's settings by their name, and what becomes of them."""
