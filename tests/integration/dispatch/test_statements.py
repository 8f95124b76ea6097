"""What a submission costs the database."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from poddispatchd.domain.task import SUBMITTABLE, TaskType
from tests.integration.dispatch.scene import Scene, Spec, scene
from tests.plugins.postgres import PodDatabase

_MOST_STATEMENTS = 12
_MOST_TRANSACTIONS = 3


@contextmanager
def _counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Statements sent by the pool, and transactions: BEGIN … COMMIT, or a statement that writes by itself."""
    counts: Counter[str] = Counter()
    protocol = asyncpg.connection.Connection

    def counting(name: str) -> None:
        original = getattr(protocol, name)

        async def counted(self: object, query: str, *arguments: object, **named: object) -> object:
            counts["statements"] += 1
            words = query.upper()
            if words.startswith("COMMIT") or (
                not self.is_in_transaction()  # type: ignore[attr-defined]
                and any(verb in words for verb in ("INSERT INTO", "UPDATE ", "DELETE FROM"))
            ):
                counts["transactions"] += 1
            return await original(self, query, *arguments, **named)

        monkeypatch.setattr(protocol, name, counted)

    for name in ("fetch", "fetchrow", "fetchval", "execute"):
        counting(name)
    yield counts
    monkeypatch.undo()


async def _one(pod: Scene, kind: TaskType) -> None:
    match kind:
        case TaskType.ENCODING:
            await pod.encoding()
        case TaskType.STUDIO:
            await pod.studio()
        case TaskType.TRANSCRIPTION:
            await pod.transcription()


@pytest.mark.parametrize("kind", SUBMITTABLE)
async def test_one_submission_takes_few_statements_and_transactions(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch, kind: TaskType
) -> None:
    async with scene(pod_database, media_root, Spec("first", runners=9)) as pod:
        daemon = await pod.daemon()
        await daemon.settle()
        await _one(pod, kind)
        with _counted(monkeypatch) as counts:
            await daemon.dispatcher.step()
            await daemon.dispatcher.drain()
        assert await pod.statuses() == {"running": 1}
        # Two of them look at the queue, for all managers at once.
        assert counts["statements"] <= 5
        assert counts["statements"] <= _MOST_STATEMENTS
        assert counts["transactions"] <= 2 <= _MOST_TRANSACTIONS


async def test_what_several_managers_are_given_at_once_is_written_together(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = [Spec(f"m{number}", runners=9) for number in range(8)]
    async with scene(pod_database, media_root, *specs) as pod:
        daemon = await pod.daemon()
        await daemon.settle()
        await pod.encodings(8)
        with _counted(monkeypatch) as counts:
            await daemon.dispatcher.step()
            await daemon.dispatcher.drain()
        assert await pod.statuses() == {"running": 8}
        # The answers of the managers come one by one: as many commits as that at most.
        assert counts["statements"] <= 4 + 8
