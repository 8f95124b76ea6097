"""Everything that is known when a campaign is over, in one place: what the oracle judges."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from chaos import logs
from chaos.history import Run
from chaos.logs import Line
from chaos.pod_rows import (
    ImportRow,
    OpenRow,
    Row,
    VideoRows,
    read_imports,
    read_named,
    read_open_rows,
    read_rows,
    read_submitted,
    read_texts,
    read_videos,
)
from chaos.stage import Stage
from chaos.timeline import Timeline

RunKey = tuple[str, str]
"""A manager's name, and an id there."""

Source = tuple[str, str]
"""A type of task and the address of what it works on: how a manager's record says what a run is about."""


@dataclass(frozen=True)
class Evidence:
    """What the managers' own records say, and what is in Pod, on the disk, in the journal and in the logs.

    Attributes:
        tasks: the rows that were stored.
        sources: what each task was submitted with.
        named: every path that a row names, with the kind of row.
        texts: what people read beside the output of tasks: whose it is, and the text.
        noted: other lines of the managers' records (runners that died, faults that were met).
        surprises: processes that did what nobody wanted, in words.
        secrets: what nobody may read anywhere: tokens that are good.
    """

    media_root: Path
    tasks: Sequence[int] = ()
    rows: Mapping[int, Row] = field(default_factory=dict)
    videos: Mapping[int, VideoRows] = field(default_factory=dict)
    open_rows: Sequence[OpenRow] = ()
    imports: Sequence[ImportRow] = ()
    sources: Mapping[int, frozenset[Source]] = field(default_factory=dict)
    named: Mapping[str, str] = field(default_factory=dict)
    texts: Sequence[tuple[str, str]] = ()
    runs: Mapping[RunKey, Run] = field(default_factory=dict)
    noted: Sequence[Mapping[str, object]] = ()
    logs: Mapping[str, Sequence[Line]] = field(default_factory=dict)
    timeline: Timeline = field(default_factory=Timeline)
    surprises: Sequence[str] = ()
    secrets: Sequence[str] = ()

    def run_of(self, row: Row) -> Run | None:
        """The run that a row names."""
        return self.runs.get((row.manager or "", row.task_id or ""))

    def runs_of(self, row: Row) -> list[Run]:
        """Every run of what a row asks for, in order; rows that ask for the same share them."""
        wanted = {
            source for other in self._by_wish[row.wish] for source in self.sources.get(other.pk, frozenset())
        }
        found = [run for source in wanted for run in self.runs_by_source.get(source, ())]
        return sorted(found, key=lambda run: run.at)

    def siblings(self, row: Row) -> list[Row]:
        """The other rows that ask for the same."""
        return [other for other in self._by_wish[row.wish] if other.pk != row.pk]

    @cached_property
    def runs_by_source(self) -> Mapping[Source, list[Run]]:
        """The runs of each source, in order."""
        found: dict[Source, list[Run]] = defaultdict(list)
        for run in sorted(self.runs.values(), key=lambda run: run.at):
            found[run.source].append(run)
        return found

    @cached_property
    def _by_wish(self) -> Mapping[tuple[str, int | None], list[Row]]:
        found: dict[tuple[str, int | None], list[Row]] = defaultdict(list)
        for row in self.rows.values():
            found[row.wish].append(row)
        return found

    def events(self, *names: str) -> list[Line]:
        """The lines of some events, of all daemons, in order."""
        lines = [line for lines in self.logs.values() for line in lines if line.event in names]
        return sorted(lines, key=lambda line: line.at)

    def life(self, row: Row) -> list[str]:
        """All that is known about a task, in order."""
        told: list[tuple[float, str]] = []
        runs = self.runs_of(row)
        pks = {row.pk, *(other.pk for other in self.siblings(row))}
        ids = {run.task_id for run in runs}
        for run in runs:
            told.append((run.at, f"manager {run.manager}: accepted {run.task_id}, scenario: {run.scenario}"))
            told += [
                (change.at, f"manager {run.manager}: {run.task_id} is {change.status} {change.error or ''}")
                for change in run.changes
            ]
        for name, lines in self.logs.items():
            told += [
                (line.at, f"{name}: {line.text[:600]}")
                for line in lines
                if line.task in pks or line.facts.get("task_id") in ids
            ]
        return [f"{at:.2f} {words}" for at, words in sorted(told)]


async def gather(stage: Stage) -> Evidence:
    """Read everything that is there by now.

    Long files are read in a thread: the links of daemons that still run go through the event loop.
    """
    connection = await stage.connect()
    try:
        rows = await read_rows(connection)
        videos = await read_videos(connection)
        open_rows = await read_open_rows(connection)
        imports = await read_imports(connection)
        submitted = await read_submitted(connection)
        named = await read_named(connection)
        texts = await read_texts(connection)
    finally:
        await connection.close()

    def with_files() -> Evidence:
        runs = {
            (history.manager, run.task_id): run
            for history in stage.histories
            for run in history.runs().values()
        }
        return Evidence(
            media_root=stage.media_root,
            tasks=stage.pod.tasks,
            rows=rows,
            videos=videos,
            open_rows=open_rows,
            imports=imports,
            sources=sources_of(rows.values(), submitted, runs),
            named=named,
            texts=texts,
            runs=runs,
            noted=[line for history in stage.histories for line in history.others()],
            logs={one.name: logs.read(one.log) for one in stage.daemons},
            timeline=stage.timeline,
            surprises=[words for one in (*stage.daemons, *stage.managers) for words in one.surprises],
            secrets=[one.token for one in stage.managers],
        )

    return await asyncio.to_thread(with_files)


def sources_of(
    rows: Iterable[Row],
    submitted: Iterable[tuple[int, str | None, str | None, str | None]],
    runs: Mapping[RunKey, Run],
) -> dict[int, frozenset[Source]]:
    """What each task was submitted with: by the journal, and by the runs that it and its row name."""
    found: dict[int, set[Source]] = defaultdict(set)
    types = {row.pk: row.type for row in rows}
    named = [(row.pk, row.manager, row.task_id, None) for row in rows]
    for pk, manager, task_id, address in (*submitted, *named):
        if address is not None and pk in types:
            found[pk].add((types[pk], address))
        run = runs.get((manager or "", task_id or ""))
        if run is not None:
            found[pk].add(run.source)
    return {pk: frozenset(group) for pk, group in found.items()}
