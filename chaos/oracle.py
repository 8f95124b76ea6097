"""The judge: what the managers' own records say against what is in Pod, on the disk, and in the logs."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import asyncpg

from chaos import files as file_checks
from chaos import logs
from chaos.fates import Fate
from chaos.history import Run
from chaos.logs import Line
from chaos.pod_rows import Row, VideoRows, read_rows, read_videos
from chaos.setting import Stage
from chaos.timeline import Kind

_MAX_ATTEMPTS = 5
_AFTER = 80.0
"""Seconds after a fault of the database in which a daemon may still meet its consequences."""

_DATABASE = (
    Kind.DATABASE_RESTART,
    Kind.LINK_CUT,
    Kind.LINK_STALL,
    Kind.LINK_HALF_OPEN,
    Kind.LINK_DELAY,
    Kind.DAEMON_PAUSE,
)

_SPOILT = (Fate.PARTIAL, Fate.UNFINISHED, Fate.FORGOTTEN)


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be; ``life`` are the lines that tell how it came."""

    rule: str
    words: str
    task: int | None = None
    life: tuple[str, ...] = field(default=(), repr=False)


class Oracle:
    """Judges a stage whose daemons are stopped."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._found: list[Violation] = []
        self.logs: dict[str, list[Line]] = {one.name: logs.read(one.log) for one in stage.daemons}
        self.runs: dict[tuple[str, str], Run] = {
            (history.manager, task_id): run
            for history in stage.histories
            for task_id, run in history.runs().items()
        }
        self._by_source: dict[tuple[str, str], list[Run]] = defaultdict(list)
        for run in self.runs.values():
            self._by_source[run.submission.task_type, run.submission.source_url].append(run)
        self.ends: dict[str, int] = {}
        self.completed_at: dict[str, float] = {}
        self.notes: list[str] = []
        self._sources: dict[int, tuple[str, str]] = {}

    async def judge(self) -> list[Violation]:
        """Every violation."""
        connection = await self._stage.connect()
        try:
            rows = await read_rows(connection)
            videos = await read_videos(connection)
            self._sources = await _sources(connection)
            await self._check_journal(connection)
            referenced = await file_checks.referenced(connection)
        finally:
            await connection.close()
        self.ends = dict(Counter(f"{row.type} {row.status}" for row in rows.values()))
        self._remember_completions(rows)
        for lost in set(self._stage.tasks) - rows.keys():
            self._violates("lost", f"task {lost} has no row any more", lost)
        for row in rows.values():
            self._check_end(row)
        self._check_imports(rows, videos)
        for words, pk in file_checks.check(self._stage, rows, videos, referenced, self._run_of):
            self._violates("files", words, pk)
        self._check_overlaps()
        self._check_logs()
        for child in (*self._stage.daemons, *self._stage.managers):
            for surprise in child.surprises:
                self._violates("process", surprise)
        return self._found

    def _violates(self, rule: str, words: str, pk: int | None = None) -> None:
        self._found.append(Violation(rule, words, pk, () if pk is None else tuple(self.life(pk))))

    def _run_of(self, row: Row) -> Run | None:
        return self.runs.get((row.manager or "", row.task_id or ""))

    def _runs_of_task(self, pk: int) -> list[Run]:
        source = self._sources.get(pk)
        return [] if source is None else sorted(self._by_source[source], key=lambda run: run.at)

    def life(self, pk: int) -> Iterable[str]:
        """Everything that is known about a task, in order."""
        told: list[tuple[float, str]] = []
        ids = set()
        for run in self._runs_of_task(pk):
            ids.add(run.task_id)
            told.append((run.at, f"manager {run.manager}: accepted {run.task_id}, fate: {run.fate}"))
            told += [
                (change.at, f"manager {run.manager}: {run.task_id} is {change.status} {change.error or ''}")
                for change in run.changes
            ]
        for name, lines in self.logs.items():
            told += [
                (line.at, f"{name}: {line.text[:600]}")
                for line in lines
                if line.task == pk or line.facts.get("task_id") in ids
            ]
        return [f"{at:.2f} {words}" for at, words in sorted(told)]

    # --- ends ------------------------------------------------------------------------------------------

    def _remember_completions(self, rows: Mapping[int, Row]) -> None:
        for lines in self.logs.values():
            for line in lines:
                row = None if line.task is None else rows.get(line.task)
                if line.event == "task.completed" and row is not None:
                    self.completed_at[row.task_id or ""] = line.at

    def _check_end(self, row: Row) -> None:
        run, runs = self._run_of(row), self._runs_of_task(row.pk)
        match row.status:
            case "completed":
                if run is None:
                    self._violates("untrue", f"task {row.pk} is completed by a run that nobody made", row.pk)
                elif not run.had("completed", "warning") or run.fate in _SPOILT:
                    self._violates("untrue", f"task {row.pk} is completed, its run was: {run.fate}", row.pk)
            case "failed":
                is_final = run is not None and run.fate in (Fate.BAD_MEDIA, Fate.BAD_MEDIA_SILENT)
                if run is not None and run.is_good:
                    self._violates("untrue", f"task {row.pk} is failed, its result is good", row.pk)
                elif not is_final and len(runs) < _MAX_ATTEMPTS:
                    words = f"task {row.pk} is failed after {len(runs)} runs: {row.output[-200:]!r}"
                    self._violates("untrue", words, row.pk)
                if not row.output.strip():
                    self._violates("wordless", f"task {row.pk} is failed without a word", row.pk)
            case "timeout":
                if run is None or not run.had("timeout"):
                    self._violates("untrue", f"task {row.pk} is a timeout, its run was none", row.pk)
            case other:
                words = f"task {row.pk} is still {other} (run: {None if run is None else run.final})"
                self._violates("stuck", words, row.pk)

    def _check_imports(self, rows: Mapping[int, Row], videos: Mapping[int, VideoRows]) -> None:
        expected = Counter(
            videos[row.video].counts
            for row in rows.values()
            if row.type == "encoding" and row.status == "completed" and row.video is not None
        ).most_common(1)
        usual = expected[0][0] if expected else None
        self.notes.append(f"rows of an encoding (films, sounds, playlists): {usual}")
        for row in rows.values():
            done = row.status == "completed"
            if row.type == "studio":
                title = self._stage.titles.get(row.pk)
                made = [video for video in videos.values() if video.title == title]
                if len(made) != int(done):
                    words = f"task {row.pk} is {row.status}, its videos are {[one.id for one in made]}"
                    self._violates("twice", words, row.pk)
                if done and made and usual is not None and made[0].counts != usual:
                    self._violates("twice", f"task {row.pk}: its video has rows {made[0].counts}", row.pk)
                continue
            video = videos.get(row.video or 0)
            if video is None:
                self._violates("lost", f"the video of task {row.pk} is gone", row.pk)
            elif row.type == "encoding":
                wanted = usual if done else (0, 0, 0)
                if video.counts != wanted or video.images != int(done):
                    words = f"task {row.pk} is {row.status}: rows {video.counts}, {video.images} thumbnails"
                    self._violates("twice", words, row.pk)
            elif video.tracks != int(done):
                words = f"task {row.pk} is {row.status} and has {video.tracks} tracks"
                self._violates("twice", words, row.pk)

    # --- journal, submissions, logs ----------------------------------------------------------------------

    async def _check_journal(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        for table, query in {
            "submission": "SELECT task_pk FROM poddispatchd.submission WHERE state = 'open'",
            "callback": "SELECT NULL::bigint AS task_pk FROM poddispatchd.callback WHERE state = 'open'",
            "import": "SELECT task_pk FROM poddispatchd.import WHERE state = 'open'",
            "obsolete_file": "SELECT task_pk FROM poddispatchd.obsolete_file",
            "import_file": (
                "SELECT one.task_pk FROM poddispatchd.import_file JOIN poddispatchd.import AS one"
                " ON one.id = import_id"
            ),
        }.items():
            try:
                left = await connection.fetch(query)
            except asyncpg.UndefinedTableError:
                continue
            for row in left:
                self._violates("journal", f"an open row in {table} (task {row['task_pk']})", row["task_pk"])

    def _check_overlaps(self) -> None:
        deaths = {
            str(entry["id"]): float(str(entry["at"]))
            for history in self._stage.histories
            for entry in history.incidents("runner died")
        }
        by_source = {source: pk for pk, source in self._sources.items()}
        for source, runs in self._by_source.items():
            ordered = sorted(runs, key=lambda run: run.at)
            for position, run in enumerate(ordered):
                for later in ordered[position + 1 :]:
                    is_dead = deaths.get(run.task_id, float("inf")) < later.at
                    if later.at < run.live_until() and not is_dead:
                        words = f"{run.manager} {run.task_id} and {later.manager} {later.task_id} ran at once"
                        self._violates("double", words, by_source.get(source))

    def _check_logs(self) -> None:
        for name, lines in self.logs.items():
            for line in lines:
                if line.level in ("error", "critical") and not self._is_caused(name, line):
                    self._violates("log", f"{name}: {line.text[:3000]}", line.task)

    def _is_caused(self, daemon: str, line: Line) -> bool:
        timeline = self._stage.timeline
        runs = [] if line.task is None else self._runs_of_task(line.task)
        match line.event:
            case "database.down":
                return any(
                    one.covers(line.at, after=_AFTER)
                    for one in timeline.of(*_DATABASE)
                    if one.target in ("database", daemon)
                )
            case "task.failed":
                return any(run.had("failed", "timeout") for run in runs) or len(runs) >= _MAX_ATTEMPTS
            case "import.failed":
                return any(run.fate in _SPOILT for run in runs) or bool(
                    timeline.of(Kind.DOWNLOADS, Kind.MANAGER_KILL)
                )
            case "config.invalid":
                return any(
                    one.target == daemon and one.covers(line.at, after=5.0)
                    for one in timeline.of(Kind.DAEMON_BAD_RELOAD)
                )
            case _:
                return False


async def _sources(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[int, tuple[str, str]]:
    rows = await connection.fetch(
        "SELECT DISTINCT task_pk, task_type, convert_from(body, 'UTF8')::jsonb ->> 'source_url' AS source"
        " FROM poddispatchd.submission"
    )
    return {row["task_pk"]: (row["task_type"], row["source"]) for row in rows}
