"""What a submission costs the database."""

from pathlib import Path

import pytest

from poddispatchd.domain.task import SUBMITTABLE, TaskType
from tests.integration.counting import counted
from tests.integration.dispatch.scene import Scene, Spec, scene
from tests.plugins.postgres import PodDatabase

_MOST_STATEMENTS = 12
_MOST_TRANSACTIONS = 3


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
        with counted(monkeypatch) as cost:
            await daemon.dispatcher.step()
            await daemon.dispatcher.drain()
        assert await pod.statuses() == {"running": 1}
        # Two of them look at the queue, for all managers at once.
        assert len(cost.statements) <= 5
        assert len(cost.statements) <= _MOST_STATEMENTS
        assert cost.transactions <= 2 <= _MOST_TRANSACTIONS


async def test_what_several_managers_are_given_at_once_is_written_together(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = [Spec(f"m{number}", runners=9) for number in range(8)]
    async with scene(pod_database, media_root, *specs) as pod:
        daemon = await pod.daemon()
        await daemon.settle()
        await pod.encodings(8)
        with counted(monkeypatch) as cost:
            await daemon.dispatcher.step()
            await daemon.dispatcher.drain()
        assert await pod.statuses() == {"running": 8}
        # Alone, each would cost four. How many come together is the machine's: the answers come one by one.
        assert len(cost.statements) <= 3 * 8
