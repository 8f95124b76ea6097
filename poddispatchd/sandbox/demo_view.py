"""What the demo shows in the terminal: a live view, the life of one task, a summary."""

import asyncio
import shlex
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import TextIO, TypeAlias

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from poddispatchd.domain.task import TaskStatus, TaskType
from poddispatchd.sandbox.demo import Demo, TaskLine, all_done

_STYLES = {
    TaskStatus.PENDING: "yellow",
    TaskStatus.RUNNING: "cyan",
    TaskStatus.COMPLETED: "green",
    TaskStatus.FAILED: "red",
    TaskStatus.TIMEOUT: "red",
}
_EVERY = 0.25

_Show: TypeAlias = Callable[[list[TaskLine]], None]


def _command() -> str:
    """How this program is called from here: it may be on no path."""
    if Path(sys.argv[0]).name == "poddispatchd":
        return shlex.quote(sys.argv[0])
    return f"{shlex.quote(sys.executable)} -m poddispatchd"


class DemoView:
    """A view of a running demo: live on a terminal, one line a change elsewhere."""

    def __init__(self, demo: Demo, stream: TextIO) -> None:
        self._demo = demo
        self._console = Console(file=stream, highlight=False)
        self._began = monotonic()

    def say(self, text: str) -> None:
        """Print one line."""
        self._console.print(Text(text), soft_wrap=True)

    def announce(self) -> None:
        """Say where to look."""
        demo = self._demo
        self.say(f"  metrics  {demo.ops_url}/metrics")
        self.say(f"  status   {demo.ops_url}/status")
        self.say(f"  log      {demo.log}")
        self.say(f"  try      {_command()} -c {demo.config} status")

    async def follow(self, seconds: float) -> bool:
        """Show the tasks until all have ended; whether they did within so many seconds."""
        until = self._began + seconds
        if self._console.is_terminal:
            with Live(console=self._console, refresh_per_second=8) as live:
                return await self._until_done(until, lambda tasks: live.update(self._picture(tasks)))
        return await self._until_done(until, self._print_changes())

    async def _until_done(self, until: float, show: _Show) -> bool:
        while monotonic() < until:
            tasks = await self._demo.tasks()
            show(tasks)
            if (failure := self._demo.daemon_failed) is not None:
                self.say(str(failure))
                return False
            if all_done(tasks):
                return True
            await asyncio.sleep(_EVERY)
        self.say("Not all tasks have ended in time.")
        return False

    def _print_changes(self) -> _Show:
        known: dict[int, str] = {}

        def show(tasks: list[TaskLine]) -> None:
            for task in tasks:
                if known.get(task.pk) != task.status:
                    known[task.pk] = task.status
                    where = f" on {task.manager}" if task.manager else ""
                    self.say(
                        f"{monotonic() - self._began:6.1f} s  task {task.pk:3} {task.type:13} "
                        f"{task.status:9} {task.source}{where}"
                    )

        return show

    def _picture(self, tasks: list[TaskLine]) -> Group:
        table = Table(box=None, pad_edge=False)
        for head in ("task", "type", "what", "status", "runner manager"):
            table.add_column(head)
        for task in tasks[-40:]:
            style = _STYLES.get(TaskStatus(task.status), "")
            table.add_row(str(task.pk), task.type, task.source, Text(task.status, style), task.manager or "")
        counts = Counter(task.status for task in tasks)
        line = "  ".join(f"{status.value} {counts[status]}" for status in TaskStatus)
        busy = "  ".join(
            f"{spec.name} {sum(not runner.free for runner in manager.runners)}/{len(manager.runners)} busy"
            for spec, manager in zip(self._demo.world.managers, self._demo.managers, strict=True)
        )
        return Group(table, Text(f"{line}    {busy}    {monotonic() - self._began:.0f} s", "bold"))

    async def summarise(self) -> bool:
        """Tell one task's life and how everything ended; whether all is completed."""
        tasks = await self._demo.tasks()
        encoding = next((task for task in tasks if task.type == TaskType.ENCODING), tasks[0])
        self.say(f"\nThe life of task {encoding.pk} ({encoding.source}) in the daemon's log:")
        for line in self._demo.life_of(encoding.pk):
            self.say(f"  {line}")
        counts = Counter((task.type, task.status) for task in tasks)
        self.say("")
        for (kind, status), count in sorted(counts.items()):
            self.say(f"  {kind:13} {status:9} {count:3}")
        completed = sum(task.status == TaskStatus.COMPLETED for task in tasks)
        restarts = (
            f", the daemon was started again {self._demo.restarts} times" if self._demo.restarts else ""
        )
        self.say(
            f"{completed} of {len(tasks)} tasks completed in {monotonic() - self._began:.1f} s{restarts}."
        )
        return completed == len(tasks)
