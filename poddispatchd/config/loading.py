"""Where settings come from, and every problem with them at once.

Precedence, the last one wins, key by key:

1. the defaults of the model;
2. the file: the path given, else ``$PODDISPATCHD_CONFIG``, else ``DEFAULT_PATH`` if it exists;
3. credentials: ``$CREDENTIALS_DIRECTORY/<section>.<key>``, as systemd's ``LoadCredential=`` lays them; for
   commands of root, the files that the unit's ``LoadCredential=`` names;
4. the environment: ``PODDISPATCHD_SECTION__KEY``.

A credential beats the file, so that a file meant for everyone may keep a harmless default; the environment
beats everything, because it is what somebody types to try something out.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from msgspec import Struct, field

from poddispatchd.config.consistency import contradictions
from poddispatchd.config.document import Document, parse_yaml
from poddispatchd.config.files import LONGEST, TooLongError, bytes_of, is_blank
from poddispatchd.config.findings import under, words_of
from poddispatchd.config.keys import Key, KeyPath, known_keys, known_sections, suggestion
from poddispatchd.config.model import Settings
from poddispatchd.config.section import UnfitSettingsError
from poddispatchd.errors import ConfigurationError

DEFAULT_PATH = Path("/etc/poddispatchd/config.yaml")

PREFIX = "PODDISPATCHD_"

NOT_SETTINGS = frozenset({"PODDISPATCHD_CONFIG"})
"""Variables with our prefix that name no setting."""

_CLOSED = (
    "it cannot be read: Permission denied. Root and the daemon's user may; "
    "'systemd-tmpfiles --create poddispatchd.conf' gives it to that user"
)

_NULL = frozenset({"null", "~"})


def load_settings(
    path: Path | None,
    *,
    environ: Mapping[str, str],
    default_path: Path = DEFAULT_PATH,
    credentials: Mapping[str, Path] = MappingProxyType({}),
    was_there: bool = False,
) -> Settings:
    """The settings of file, credentials and environment together.

    Args:
        path: the file asked for; None takes ``$PODDISPATCHD_CONFIG``, else ``default_path`` if it exists.
        environ: the environment, ``os.environ`` but in tests.
        default_path: the file that is allowed to be missing.
        credentials: files of credentials by their names, where no ``$CREDENTIALS_DIRECTORY`` has them.
        was_there: the file was there when it was read before (``is_there``): that it is gone now is an
            accident, and no wish for the defaults.

    Raises:
        ConfigurationError: it holds every problem of all three sources, each with its place; no secret.
    """
    gathered = _Gathered()
    chosen = _chosen(path, environ)
    gathered.read_file(chosen or default_path, may_be_missing=chosen is None and not was_there)
    if environ.get("CREDENTIALS_DIRECTORY"):
        gathered.read_credentials(Path(environ["CREDENTIALS_DIRECTORY"]))
    else:
        for name, file in credentials.items():
            gathered.read_credential(name, file)
    gathered.read_environment(environ)
    return gathered.validate()


def is_there(path: Path | None, *, environ: Mapping[str, str], default_path: Path = DEFAULT_PATH) -> bool:
    """Whether there is a file that ``load_settings`` reads; False of a pipe, which is read once."""
    try:
        return (_chosen(path, environ) or default_path).is_file()
    except OSError:
        return False


def _chosen(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    named = environ.get("PODDISPATCHD_CONFIG")
    return path or (Path(named) if named else None)


class _Gathered(Struct):
    """What has been read so far, where it came from, and what was wrong with it."""

    data: dict[str, object] = field(default_factory=dict)
    origins: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    broken: set[KeyPath] = field(default_factory=set)

    def read_file(self, path: Path, *, may_be_missing: bool) -> None:
        try:
            data = bytes_of(path)
            text = data.decode("utf-8-sig")
        except TooLongError:
            self._file_lost(f"{path}: it is longer than {LONGEST >> 20} MiB")
            return
        except FileNotFoundError:
            if not may_be_missing:
                self._file_lost(f"{path}: there is no such file: 'poddispatchd config import' makes one")
            return
        except PermissionError:
            self._file_lost(f"{path}: {_CLOSED}")
            return
        except OSError as error:
            self._file_lost(f"{path}: it cannot be read: {error.strerror}")
            return
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            self._file_lost(f"{path}:{line}: it is not UTF-8")
            return
        if is_blank(data) and path.is_file():  # of no pipe, nor /dev/null: those nothing has emptied
            self._file_lost(f"{path}: it is empty, as after a full disk: write it anew ({{}}: all defaults)")
            return
        document = parse_yaml(text)
        for fault in document.faults:
            place = path if fault.line is None else f"{path}:{fault.line}"
            self._file_lost(f"{place}: {fault.words}")
        if not isinstance(document.data, dict):
            if document.data is not None:
                self._file_lost(f"{path}: it must hold sections with keys, as webhook: and listen: below it")
            return
        self._take(path, document)

    def _file_lost(self, problem: str) -> None:
        # What the file would have said is not known, so nothing can be said about how it fits together.
        self.problems.append(problem)
        self.broken.add(())

    def _take(self, path: Path, document: Document) -> None:
        for at, line in document.lines.items():
            self.origins[at] = f"{path}:{line}"
        self.data = self._section(document.data, ())

    def _section(self, value: object, at: KeyPath) -> dict[str, object]:
        """A section as written; an empty one has no keys, and what is no section at all is a problem."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            # The value may be a misplaced address with its password: it is not shown.
            self.problems.append(
                f"{self._origin(at)}: {'.'.join(at)}: this is a section: write its keys below it, indented"
            )
            self.broken.add(at)
            return {}
        found: dict[str, object] = {}
        for name, inner in value.items():
            path = (*at, str(name))
            found[str(name)] = self._section(inner, path) if path in known_sections() else inner
        return found

    def _origin(self, path: KeyPath) -> str:
        return next((self.origins[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.origins), "")

    def read_credentials(self, directory: Path) -> None:
        try:
            files = sorted(entry for entry in directory.iterdir() if not entry.name.startswith("."))
        except OSError as error:
            self.problems.append(f"$CREDENTIALS_DIRECTORY: {directory} cannot be read: {error.strerror}")
            return
        for file in files:
            self.read_credential(file.name, file)

    def read_credential(self, name: str, file: Path) -> None:
        path = tuple(name.split("."))
        key = known_keys().get(path)
        if key is None:
            # The directory may hold files for other uses, as certificates; a misspelt key is a mistake.
            hint = suggestion(path) if len(path) > 1 else ""
            if path[:-1] in known_sections() or hint:
                self.problems.append(f"credential {name}: unknown key{hint}")
            return
        try:
            text = bytes_of(file).decode("utf-8-sig")
        except TooLongError:
            self.problems.append(f"credential {name}: it is longer than {LONGEST >> 20} MiB")
        except OSError as error:
            self.problems.append(f"credential {name}: it cannot be read: {error.strerror}")
        except UnicodeDecodeError:
            self.problems.append(f"credential {name}: it is not UTF-8")
        else:
            # Editors, and echo, end a file with a line end that belongs to no password.
            self._put(key, text.removesuffix("\n").removesuffix("\r"), f"credential {name}")

    def read_environment(self, environ: Mapping[str, str]) -> None:
        # In one order: the same problems are told in the same way each time.
        for name in sorted(environ):
            if not name.startswith(PREFIX) or name in NOT_SETTINGS:
                continue
            path = tuple(part.lower() for part in name.removeprefix(PREFIX).split("__"))
            key = known_keys().get(path)
            if key is not None and name == variable(path):
                self._put(key, environ[name], name)
            else:
                self.problems.append(f"{name}: unknown variable{_meant(path)}")

    def _put(self, key: Key, text: str, origin: str) -> None:
        section = self.data
        for name in key.path[:-1]:
            inner = section.setdefault(name, {})
            if not isinstance(inner, dict):  # pragma: no cover -- sections were made mappings above
                return
            section = inner
        section[key.path[-1]] = _value(key, text)
        # Nothing of the file stands in the value any more: its lines would lead astray.
        for path in [path for path in self.origins if path[: len(key.path)] == key.path]:
            del self.origins[path]
        self.origins[key.path] = origin

    def validate(self) -> Settings:
        settings: Settings | None = None
        try:
            settings = Settings.read(self.data)
        except UnfitSettingsError as error:
            for path, words in words_of(error.findings, self._origin):
                self.problems.append(words)
                self.broken.add(path)
            settings = self._without_broken()
        if settings is not None:
            for keys, words in contradictions(settings):
                if not any(under(key, self.broken) for key in keys):
                    place = next(filter(None, map(self._origin, reversed(keys))), "")
                    self.problems.append(f"{place}: {words}" if place else words)
        if self.problems or settings is None:
            # Each once: several rules may meet the same key.
            raise ConfigurationError(*dict.fromkeys(self.problems))
        return settings

    def _without_broken(self) -> Settings | None:
        """The settings with defaults for what is wrong, to look for contradictions in the rest."""
        for path in self.broken:
            section: object = self.data
            for name in path[:2][:-1]:
                section = section.get(name) if isinstance(section, dict) else None
            if path and isinstance(section, dict):
                section.pop(path[:2][-1], None)
        try:
            return Settings.read(self.data)
        except UnfitSettingsError:
            return None


def variable(path: KeyPath) -> str:
    """The environment variable of a key: ``PODDISPATCHD_WEBHOOK__LISTEN``."""
    return PREFIX + "__".join(path).upper()


def _meant(path: KeyPath) -> str:
    joined = "_".join(part for part in path if part)
    for known in known_keys():
        # A single underscore between section and key is the likeliest slip.
        if "_".join(known) == joined:
            return f"; did you mean {variable(known)}?"
    hint = suggestion(path if len(path) > 1 else tuple(joined.split("_", 1)))
    words = hint.removeprefix("; did you mean ").removesuffix("?").split(" or ")
    known_names = {".".join(known): variable(known) for known in known_keys()}
    names = [known_names[word] for word in words if word in known_names]
    return f"; did you mean {' or '.join(names)}?" if names else ""


def _value(key: Key, text: str) -> object:
    """The value a variable or a credential stands for.

    A setting that can take the text as it stands gets it so (``"007"`` stays text, ``30s`` a duration);
    otherwise it is read as YAML, so that lists, mappings, null and a bare 0 can be written.
    """
    if key.takes_null and text.strip() in _NULL:
        return None
    if key.is_secret or key.accepts(text):
        return text
    document = parse_yaml(text)
    if document.faults or (not isinstance(document.data, (dict, list)) and not key.accepts(document.data)):
        return text
    return document.data
