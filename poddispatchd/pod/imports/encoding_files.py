"""The files of an encoding: read, checked and planned in the staging directory, then put into place."""

from collections.abc import Mapping

from msgspec import Struct

from poddispatchd.domain.encoding_check import LeftOut, check_file, check_files, reconciled
from poddispatchd.domain.encoding_plan import (
    MASTER_PLAYLIST,
    EncodingContent,
    PodChoices,
    plan_content,
)
from poddispatchd.domain.encoding_result import INFO_FILE, Findings, parse_info
from poddispatchd.domain.manifest import left_out_words
from poddispatchd.domain.media import output_directory
from poddispatchd.domain.thumbnails import ThumbnailChoice
from poddispatchd.pod.imports.facts import Renditions, VideoFacts
from poddispatchd.pod.imports.plan import StagedResult
from poddispatchd.pod.imports.screening import screen
from poddispatchd.pod.imports.stored import choose_stored_name, stored_files_directory
from poddispatchd.pod.media.files import DERIVED, read_text
from poddispatchd.pod.media.placing import Move, move_into_place, write_staged
from poddispatchd.pod.media.tree import MediaPath

LOG_FILE = "encoding.log"

_PATH_LENGTH = 255
_TOO_LONG = f"would have a path of more than {_PATH_LENGTH} characters in Pod"
_WRITTEN_HERE = frozenset({LOG_FILE, MASTER_PLAYLIST})
_BELOW_OURS = "lies below a file that is written beside the result"

_LARGEST_INFO = 2 * 2**20
"""Bytes of ``info_video.json``, which has some kilobytes: parsed, it takes many times its size in memory."""


def read_staged(
    staging: MediaPath,
    output_directory: str,
    choices: PodChoices,
    *,
    also_required: Mapping[str, str],
    left_out: Mapping[str, str],
) -> tuple[EncodingContent, tuple[str, ...]]:
    """Read and check a staged result (blocking); nothing outside the staging directory is touched.

    Args:
        staging: where the result was downloaded to; its captions are written anew there.
        output_directory: where it will go, relative to MEDIA_ROOT.
        choices: what this Pod makes of it.
        also_required: further files that must be there, with their meaning in words.
        left_out: files that were not downloaded, with the reason.

    Returns:
        What it brings, and the names of all its files.

    Raises:
        ResultIncompleteError: something is missing or cut short; every finding is told.
        ResultRefusedError: the result must not be imported; every finding is told.
    """
    with staging.held():
        return _read(staging, output_directory, choices, also_required, left_out)


def _read(
    staging: MediaPath,
    output_directory: str,
    choices: PodChoices,
    also_required: Mapping[str, str],
    left_out: Mapping[str, str],
) -> tuple[EncodingContent, tuple[str, ...]]:
    findings = Findings()
    screened = screen(staging)
    longest = _PATH_LENGTH - len(output_directory) - 1
    problems = {name: _place_problem(name, longest) for name in screened.listing}
    listing = {name: size for name, size in screened.listing.items() if problems[name] is None}
    misplaced = {name: problem for name, problem in sorted(problems.items()) if problem is not None}
    without = LeftOut({**left_out, **screened.left_out, **misplaced}, screened.cut)
    for name, meaning in also_required.items():
        check_file(name, meaning, listing, without, findings)
    info = None
    if INFO_FILE in listing:
        info = parse_info(read_text(staging / INFO_FILE, most=_LARGEST_INFO), findings)
    else:
        check_file(INFO_FILE, "", listing, without, findings)
    content = None
    if info is not None:
        info = reconciled(info, listing, findings)
        check_files(info, listing, without, lambda name: _read_playlist(staging / name), findings)
        findings.warnings += [*screened.warnings, *left_out_words(without.reasons)]
        content = plan_content(info, listing, choices, findings)
    findings.raise_any()
    assert content is not None  # noqa: S101 - without info there are findings; tells mypy
    return content, tuple(listing)


def _place_problem(name: str, longest: int) -> str | None:
    """Why a file has no place in the output directory, in words; None when it has one."""
    if len(name) > longest:
        return _TOO_LONG
    first, *below = name.split("/")
    # Its directory would be in the way of ours; some stores know no case.
    return _BELOW_OURS if below and first.casefold() in _WRITTEN_HERE else None


def _read_playlist(path: MediaPath) -> str:
    return read_text(path).decode("utf-8", "replace")


class Encoded(Struct, frozen=True):
    """A checked encoding, and where every file of it goes.

    Args:
        result: what it came in.
        content: what it brings.
        names: of all its files.
        output_directory: where they go, relative to MEDIA_ROOT.
        thumbnail: where the thumbnail is stored besides, relative to MEDIA_ROOT; None without one.
        elsewhere: result files that do not go to the output directory, with their paths.
    """

    result: StagedResult
    content: EncodingContent
    names: tuple[str, ...]
    output_directory: str
    thumbnail: str | None
    elsewhere: Mapping[str, str]

    def targets(self) -> dict[str, str]:
        """Paths relative to MEDIA_ROOT of all files in the output directory, by name."""
        names = {*self.names, LOG_FILE} - self.elsewhere.keys()
        if self.content.master is not None:
            names.add(MASTER_PLAYLIST)
        return {name: f"{self.output_directory}/{name}" for name in names}

    @property
    def brought(self) -> frozenset[str]:
        """Paths relative to MEDIA_ROOT of all files, wherever they go."""
        return frozenset((*self.targets().values(), *self.elsewhere.values(), *self.stored))

    @property
    def stored(self) -> tuple[str, ...]:
        """Those of them whose names were chosen because nothing was there."""
        return () if self.thumbnail is None else (self.thumbnail,)

    def apply(self) -> None:
        """Write our own files into the staging directory, then rename everything into place (blocking).

        It can be redone after a crash, before or after any rename.

        Raises:
            ResultError: a file cannot be put in place; nothing watchable was destroyed.
        """
        with self.result.directory.held():
            self._apply()

    def _apply(self) -> None:
        staging, tree = self.result.directory, self.result.tree
        derived = self._derive()
        moves = [
            Move(derived.get(name, staging / name), tree.path(path)) for name, path in self.targets().items()
        ]
        moves.extend(Move(staging / name, tree.path(path)) for name, path in self.elsewhere.items())
        if self.thumbnail is not None and self.content.thumbnail is not None:
            # A copy of its own: Pod deletes or rewrites a custom image without the video's files.
            copy = staging / DERIVED / "thumbnail"
            source = staging / self.content.thumbnail
            if source.is_file():
                write_staged(copy, b"", behind=source)
            moves.append(Move(copy, tree.path(self.thumbnail), is_new=True))
        move_into_place(moves, self.result.settings.file_permissions)

    def _derive(self) -> dict[str, MediaPath]:
        """The files that we make ourselves, by name."""
        staging = self.result.directory
        derived = {LOG_FILE: staging / DERIVED / LOG_FILE}
        # The runner's log if it may come in, or else the one in place, with the end added once.
        logs = [self.result.tree.path(f"{self.output_directory}/{LOG_FILE}")]
        if LOG_FILE in self.names:
            logs.insert(0, staging / LOG_FILE)
        end = f"\n\nEnd : {self.result.ended_at}".encode()
        write_staged(derived[LOG_FILE], end, behind=next((log for log in logs if log.is_file()), None))
        if (master := self.content.master) is not None:
            derived[MASTER_PLAYLIST] = staging / DERIVED / MASTER_PLAYLIST
            write_staged(derived[MASTER_PLAYLIST], master.encode())
        return derived


async def prepare_encoded(
    result: StagedResult,
    video: VideoFacts,
    renditions: Renditions,
    *,
    elsewhere: Mapping[str, str] | None = None,
    also_required: Mapping[str, str] | None = None,
) -> Encoded:
    """Check the encoding in a staged result and plan its import; nothing visible is touched.

    Args:
        result: what was downloaded.
        video: whose encoding it is; it need not exist yet.
        renditions: Pod's.
        elsewhere: files that do not go to the video's output directory, with their paths.
        also_required: further files that must be there, with their meaning in words.

    Raises:
        ResultIncompleteError: something is missing or cut short; every finding is told.
        ResultRefusedError: the result must not be imported; every finding is told.
    """
    settings, tree = result.settings, result.tree
    directory = output_directory(video.video, video.id)
    # Checked before anything is read: a row may name a file outside of MEDIA_ROOT.
    tree.path(directory)
    content, names = await tree.run(
        read_staged,
        result.directory,
        directory,
        PodChoices(
            renditions,
            settings.encoding_choices,
            ThumbnailChoice.by_version(settings.version),
        ),
        also_required=also_required or {},
        left_out=result.left_out,
    )
    thumbnail = None
    if content.thumbnail is not None:
        thumbnail = await choose_stored_name(
            result,
            table=result.capabilities.image_table,
            directory=stored_files_directory(result, video),
            name=content.thumbnail,
            staged=result.directory / content.thumbnail,
        )
    return Encoded(result, content, names, directory, thumbnail, elsewhere or {})
