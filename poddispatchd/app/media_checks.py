"""What ``check`` finds about the media tree: access, an import rehearsed, free space, known files."""

from poddispatchd.app.findings import CheckResult, fine, note, problem, unseen
from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.config.units import format_size, rounded_size
from poddispatchd.database.pool import Database
from poddispatchd.errors import DatabaseError, MediaSlowError
from poddispatchd.pod.media.access import rehearse, trouble_with
from poddispatchd.pod.media.evidence import MediaEvidence
from poddispatchd.pod.media.files import free_space
from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.media.tree import MediaTree

_SUBJECT = "media tree"


async def media_findings(settings: Settings, tree: MediaTree) -> list[CheckResult]:
    """What can be found out without the database; nothing stays of what is written."""
    try:
        return await tree.look_within(tree.limits.space, Look.ACCESS, lambda: _examine(settings, tree))
    except MediaSlowError as error:
        return [problem(_SUBJECT, f"{error} Is the server of {tree.root} up?")]


async def known_files_findings(settings: Settings, database: Database, tree: MediaTree) -> list[CheckResult]:
    """Whether files that the database knows are in the media tree."""
    try:
        evidence = MediaEvidence(tree, database, Clock(), settings.pod, logs=False)
        words = await evidence.check()
    except DatabaseError as error:
        return unseen(_SUBJECT, error)
    if words is not None:
        return [problem(_SUBJECT, words)]
    return [fine(_SUBJECT, "Files that the database knows are there.")]


def _examine(settings: Settings, tree: MediaTree) -> list[CheckResult]:
    pod = settings.pod
    videos = tree.path(pod.videos_dir)
    # Where the whole tree is missing, so is all in it, for the same reason.
    for place in (tree.top, videos):
        if (trouble := trouble_with(place)) is not None:
            return [problem(_SUBJECT, trouble.words)]
    # The one of thumbnails and subtitles comes with the first of them.
    places = [pod.videos_dir, *([pod.files_dir] if tree.path(pod.files_dir).exists() else [])]
    rehearsals = [rehearse(tree, place, pod.file_permissions) for place in places]
    problems = [words for rehearsed in rehearsals for words in rehearsed.problems]
    findings = [problem(_SUBJECT, words) for words in problems]
    notes = dict.fromkeys(words for rehearsed in rehearsals for words in rehearsed.notes)
    findings += [note(_SUBJECT, words) for words in notes]
    findings += [
        note(_SUBJECT, f"{tree.root / name} is a link to {target}: it is followed as it was at the start.")
        for name, target in sorted(tree.first_level_links().items())
    ]
    free = free_space(tree)
    free_words = f"{rounded_size(free)} are free"
    if free < settings.imports.keep_free:
        keep_free = format_size(settings.imports.keep_free)
        words = f"{free_words} for {tree.root}, less than imports.keep_free ({keep_free}): make room there."
        return [*findings, problem(_SUBJECT, words)]
    return [*findings, *([] if problems else [fine(_SUBJECT, f"{tree.root} can be written; {free_words}.")])]
