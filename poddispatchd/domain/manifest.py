"""The list of result files that a runner manager gives, and which of them are fetched.

The names come from another machine and become names in Pod's media tree: a result with a single unsafe
name is refused whole, since no honest runner sends one.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from poddispatchd.domain.file_policy import name_problem, path_problem
from poddispatchd.domain.task import RunnerTaskId, TaskType
from poddispatchd.errors import ResultIncompleteError, ResultRefusedError, UnusableAnswerError

MOST_FILES = 10_000
"""A long video has some dozens of files; far more than this is not a result but a mistake or an attack."""

_MOST_NAMED = 10

_SHA256_DIGITS = 64
_TRANSCRIPTION_SUFFIXES = (".vtt", ".json")


class ResultFile(Struct, frozen=True):
    """One file of a result.

    ``path`` is relative, with ``/`` between its parts, and safe to append to a directory; it is also the
    name to ask the runner manager for. ``sha256`` is in lower case, None when the manager gives none (all
    released ones).
    """

    path: str
    sha256: str | None = None


class Manifest(Struct, frozen=True):
    """The files of a result: at least one, each only once, in the order of the runner manager."""

    task_id: RunnerTaskId
    files: tuple[ResultFile, ...]


def parse_manifest(data: Mapping[str, object], task_id: RunnerTaskId) -> Manifest:
    """Read the answer to ``GET /task/result/<task_id>``.

    As Pod does, entries that name no file at all (numbers, nulls, empty texts) are skipped, a file listed
    twice is fetched once, and a sha256 that is none is ignored.

    Raises:
        UnusableAnswerError: it is no manifest, or that of another task.
        ResultIncompleteError: it lists no file.
        ResultRefusedError: a name is unsafe, two names mean one file, or there are too many files.
    """
    answered_id = data.get("task_id")
    if isinstance(answered_id, str) and answered_id != task_id:
        raise UnusableAnswerError("The runner manager answered with the result of another task.")
    entries = data.get("files")
    if not isinstance(entries, list):
        raise UnusableAnswerError("The runner manager answered a result without a list of files.")
    if len(entries) > MOST_FILES:
        raise ResultRefusedError(f"The result lists {len(entries)} files; at most {MOST_FILES} are accepted.")
    files = _distinct(_named(entries))
    findings = [
        f"the name {_shown(file.path)} {problem}"
        for file in files
        if (problem := path_problem(file.path)) is not None
    ]
    findings = findings or _clashes(files)
    if findings:
        raise ResultRefusedError(*findings)
    if not files:
        raise ResultIncompleteError("The result lists no file.")
    return Manifest(task_id, files)


def wanted(manifest: Manifest, task_type: TaskType) -> tuple[ResultFile, ...]:
    """The files to fetch, but those of ``left_out``; of a transcription only subtitles and JSON."""
    files = tuple(file for file in manifest.files if name_problem(file.path) is None)
    if task_type is TaskType.TRANSCRIPTION:
        return tuple(file for file in files if file.path.lower().endswith(_TRANSCRIPTION_SUFFIXES))
    return files


def left_out(manifest: Manifest, task_type: TaskType) -> dict[str, str]:
    """The files that are not fetched because Pod must not serve them, with the reason of each.

    Of a transcription nothing but the subtitles is kept: what is not needed is not spoken of.
    """
    reasons = {}
    for file in manifest.files:
        is_of_interest = task_type is not TaskType.TRANSCRIPTION or file.path.lower().endswith(
            _TRANSCRIPTION_SUFFIXES
        )
        problem = name_problem(file.path)
        if problem is not None and is_of_interest:
            reasons[file.path] = problem
    return reasons


def left_out_words(reasons: Mapping[str, str]) -> list[str]:
    """What people are told of files that were left out: the first few by name, the rest by number."""
    words = [
        f"{_shown(name)} was left out: it {reason}." for name, reason in list(reasons.items())[:_MOST_NAMED]
    ]
    more = len(reasons) - _MOST_NAMED
    return [*words, f"Files left out besides these: {more}."] if more > 0 else words


def _named(entries: Iterable[object]) -> Iterator[ResultFile]:
    for entry in entries:
        if isinstance(entry, str):
            path, sha256 = entry, None
        elif isinstance(entry, dict):
            path = next((entry[key] for key in ("file_path", "path") if _is_text(entry.get(key))), "")
            sha256 = _sha256(entry.get("sha256"))
        else:
            continue
        if path:
            yield ResultFile(path, sha256)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _sha256(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    digest = value.strip().lower()
    is_digest = len(digest) == _SHA256_DIGITS and all(digit in "0123456789abcdef" for digit in digest)
    return digest if is_digest else None


def _distinct(files: Iterable[ResultFile]) -> tuple[ResultFile, ...]:
    """Each path once; the entry that gives a sha256 wins over one that does not.

    Raises:
        ResultRefusedError: a path is listed with two different sums.
    """
    by_path: dict[str, ResultFile] = {}
    for file in files:
        known = by_path.setdefault(file.path, file)
        if file.sha256 is None or file == known:
            continue
        if known.sha256 is not None:
            raise ResultRefusedError(f"the name {_shown(file.path)} is listed with two different sha256 sums")
        by_path[file.path] = file
    return tuple(by_path.values())


def _clashes(files: Iterable[ResultFile]) -> list[str]:
    """Names that some file system takes for one file, and files that others use as a directory.

    The outcome is the same on every store, whether or not it tells ``A`` from ``a``.
    """
    stored = [(file.path, _stored_as(file.path)) for file in files]
    spellings: dict[str, str] = {}
    directories: dict[str, str] = {}
    twice = [path for path, name in stored if spellings.setdefault(name, path) != path]
    twice += [
        parent
        for path, name in stored
        for parent, plain in zip(_parents(path), _parents(name), strict=True)
        if directories.setdefault(plain, parent) != parent
    ]
    below = [path for path, name in stored if any(parent in spellings for parent in _parents(name))]
    return [
        *(f"the name {_shown(path)} stands twice, in two spellings" for path in dict.fromkeys(twice)),
        *(f"the name {_shown(path)} lies below another file" for path in below),
    ]


def _parents(path: str) -> Iterator[str]:
    """The directories that a name lies in."""
    parts = path.split("/")
    return ("/".join(parts[:depth]) for depth in range(1, len(parts)))


def _stored_as(path: str) -> str:
    """One spelling for all that a file system may take for the same name."""
    # Folding may leave a text that is not normalised any more.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _shown(path: str) -> str:
    """A name as a person can read it in a log: quoted, escaped and not too long."""
    return ascii(path if len(path) <= 80 else path[:77] + "...")
