"""The judge: what the managers' own records say against what is in Pod, on the disk, and in the logs.

It looks at evidence only, so that each of its rules can be seen to fail (``tests/unit/chaos``).
"""

from collections import Counter
from collections.abc import Iterator

from chaos import files
from chaos.causes import uncaused
from chaos.evidence import Evidence
from chaos.pod_rows import Row, VideoRows
from chaos.scenarios import HOPELESS, Scenario
from chaos.stage import MAX_ATTEMPTS
from chaos.violation import Violation

_SPOILT = (Scenario.PARTIAL, Scenario.UNFINISHED, Scenario.FORGOTTEN)

_NOTHING = (0, 0, 0)

Found = Iterator[Violation]


def judge(evidence: Evidence) -> list[Violation]:
    """Every violation, with the life of its task."""
    found = [
        *_lost(evidence),
        *(finding for row in evidence.rows.values() for finding in _end(evidence, row)),
        *_imports(evidence),
        *_committed(evidence),
        *(Violation("files", words, pk) for words, pk in files.check(evidence)),
        *_journal(evidence),
        *_double(evidence),
        *(Violation("log", f"{name}: {line.text[:3000]}", line.task) for name, line in uncaused(evidence)),
        *(Violation("process", words) for words in evidence.surprises),
        *_secrets(evidence),
    ]
    return [_with_life(evidence, violation) for violation in found]


def _secrets(evidence: Evidence) -> Found:
    """A token that is written where people read."""
    for row in evidence.rows.values():
        if _tells(evidence, row.output):
            yield Violation("secret", f"the output of task {row.pk} shows a token", row.pk)
    for name, lines in evidence.logs.items():
        for line in lines:
            if _tells(evidence, line.text):
                yield Violation("secret", f"{name} logs a token: {line.event}", line.task)
    for whose, text in evidence.texts:
        if _tells(evidence, text):
            yield Violation("secret", f"{whose} shows a token")
    for path in evidence.media_root.rglob("encoding.log"):
        if _tells(evidence, path.read_text(encoding="utf-8", errors="replace")):
            yield Violation("secret", f"{path.relative_to(evidence.media_root)} shows a token")


def _tells(evidence: Evidence, text: str) -> bool:
    return any(secret in text for secret in evidence.secrets)


def _with_life(evidence: Evidence, violation: Violation) -> Violation:
    row = None if violation.task is None else evidence.rows.get(violation.task)
    if row is None:
        return violation
    return Violation(violation.rule, violation.words, violation.task, tuple(evidence.life(row)))


# --- ends ------------------------------------------------------------------------------------------------


def _lost(evidence: Evidence) -> Found:
    for pk in sorted(set(evidence.tasks) - evidence.rows.keys()):
        yield Violation("lost", f"task {pk} has no row any more", pk)


def _end(evidence: Evidence, row: Row) -> Found:
    run = evidence.run_of(row)
    match row.status:
        case "completed":
            if row.task_id is None and _follows(evidence, row):
                pass
            elif run is None:
                yield Violation("untrue", f"task {row.pk} is completed by a run that nobody made", row.pk)
            elif not run.had("completed", "warning") or run.scenario in _SPOILT:
                yield Violation("untrue", f"task {row.pk} is completed, its run was: {run.scenario}", row.pk)
        case "failed":
            yield from _failure(evidence, row)
        case "timeout":
            if not (row.task_id is None and _follows(evidence, row)) and (
                run is None or not run.had("timeout")
            ):
                yield Violation("untrue", f"task {row.pk} is a timeout, its run was none", row.pk)
        case other:
            words = f"task {row.pk} is still {other} (run: {None if run is None else run.final})"
            yield Violation("stuck", words, row.pk)
    if row.rank is not None:
        yield Violation("stuck", f"task {row.pk} is {row.status} and still has rank {row.rank}", row.pk)


def _failure(evidence: Evidence, row: Row) -> Found:
    run, runs = evidence.run_of(row), evidence.runs_of(row)
    is_final = run is not None and run.scenario in HOPELESS
    if run is not None and run.is_good:
        yield Violation("untrue", f"task {row.pk} is failed, its result is good", row.pk)
    elif any(other.status == "completed" for other in evidence.siblings(row)):
        yield Violation("untrue", f"task {row.pk} is failed, another row of its source is completed", row.pk)
    elif not is_final and len(runs) < MAX_ATTEMPTS and not _follows(evidence, row):
        words = f"task {row.pk} is failed after {len(runs)} runs: {row.output[-200:]!r}"
        yield Violation("untrue", words, row.pk)
    if not row.output.strip():
        yield Violation("wordless", f"task {row.pk} is failed without a word", row.pk)


def _follows(evidence: Evidence, row: Row) -> bool:
    """Whether a row without an id shares the end of another one of its source, which has one."""
    return row.task_id is None and any(
        other.status == row.status and other.task_id is not None for other in evidence.siblings(row)
    )


# --- imports ---------------------------------------------------------------------------------------------


def _imports(evidence: Evidence) -> Found:
    done = {row.wish for row in evidence.rows.values() if row.status == "completed"}
    for row in evidence.rows.values():
        if row.type == "studio":
            yield from _studio(evidence, row, is_done=row.wish in done)
            continue
        video = evidence.videos.get(row.video or 0)
        if video is None:
            yield Violation("lost", f"the video of task {row.pk} is gone", row.pk)
        elif row.type == "encoding":
            if row.status == "completed" or row.wish not in done:
                yield from _encoded(evidence, row, video, is_done=row.wish in done)
        elif (video.tracks, video.files) != (int(row.wish in done),) * 2:
            words = f"task {row.pk} is {row.status}: {video.tracks} tracks, {video.files} files of subtitles"
            yield Violation("twice", words, row.pk)


def _studio(evidence: Evidence, row: Row, *, is_done: bool) -> Found:
    made = [video for video in evidence.videos.values() if video.title == row.title]
    if len(made) != int(is_done):
        words = f"task {row.pk} is {row.status}, its videos are {[one.id for one in made]}"
        yield Violation("twice", words, row.pk)
    for video in made:
        yield from _encoded(evidence, row, video, is_done=True)


def _encoded(evidence: Evidence, row: Row, video: VideoRows, *, is_done: bool) -> Found:
    """The rows of a video are those of one import, or there are none."""
    run = evidence.run_of(row)
    if is_done and run is None:
        return  # another row of the same source tells
    wanted = _NOTHING if run is None or not is_done else files.rows_of(run)
    if (video.counts, video.images, video.has_thumbnail) != (wanted, int(is_done), is_done):
        words = f"task {row.pk} is {row.status}: rows {video.counts}, not {wanted}; {video.images} thumbnails"
        yield Violation("twice", words, row.pk)


def _committed(evidence: Evidence) -> Found:
    """A result is committed once, by the journal and by the logs."""
    for (manager, task_id), count in Counter((one.manager, one.task_id) for one in evidence.imports).items():
        if count > 1:
            pk = next(one.task for one in evidence.imports if one.task_id == task_id)
            yield Violation("twice", f"the result {task_id} of {manager} was committed {count} times", pk)
    told = Counter(line.task for line in evidence.events("task.completed"))
    for task, count in told.items():
        if count > 1:
            yield Violation("twice", f"task {task} was completed {count} times", task)


# --- journal and submissions -----------------------------------------------------------------------------


def _journal(evidence: Evidence) -> Found:
    for row in evidence.open_rows:
        yield Violation("journal", f"an open row in {row.table} (task {row.task}): {row.words}", row.task)


def _double(evidence: Evidence) -> Found:
    """Two runs of one source at once, unless the first one's runner had died."""
    deaths = {
        str(entry["id"]): float(str(entry["at"]))
        for entry in evidence.noted
        if entry["what"] == "runner died"
    }
    tasks = {source: pk for pk in sorted(evidence.sources, reverse=True) for source in evidence.sources[pk]}
    for source, runs in evidence.runs_by_source.items():
        for position, run in enumerate(runs):
            for later in runs[position + 1 :]:
                is_dead = deaths.get(run.task_id, float("inf")) < later.at
                if later.at < run.live_until() and not is_dead:
                    words = f"{run.manager} {run.task_id} and {later.manager} {later.task_id} ran at once"
                    yield Violation("double", words, tasks.get(source))
