"""Whose turn it is: those that follow are posted one after the other, and the rest comes behind them."""

import asyncio

from poddispatchd.clock import Clock
from poddispatchd.dispatch.submission_turns import SubmissionTurn, SubmissionTurns
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.task import ManagerId, SiteId, TaskType
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.observability.metrics import Metrics

_ALL = [ManagerId(number) for number in range(1, 6)]


class _Here:
    """Managers that have taken several tasks, each with a turn in progress and one that follows it."""

    def __init__(self) -> None:
        clock = Clock()
        registry = ManagerRegistry(clock, Metrics())
        registry.refresh(
            [RunnerManager(pk, f"m{pk}", 1, f"http://m{pk}", SecretStr("a-token"), SiteId(1)) for pk in _ALL],
            {},
            {},
        )
        self.said: list[str] = []
        self.turns = SubmissionTurns(registry, lambda: self.said.append("look"), clock)
        self.turns.plan(may_follow=True, besides=())
        self.first = {pk: self.turns.take(pk, TaskType.ENCODING) for pk in _ALL}
        self.next = {pk: self.turns.take(pk, TaskType.ENCODING) for pk in _ALL}
        self.work = [asyncio.create_task(self._post(pk, turn)) for pk, turn in self.next.items()]

    async def _post(self, pk: ManagerId, turn: SubmissionTurn) -> None:
        if await turn.comes():
            self.said.append(f"make {pk}")
            await asyncio.sleep(0)  # aiohttp writes a request in a task of its own
            self.said.append(f"send {pk}")

    async def store(self) -> None:
        await self.turns.posted()
        self.said.append("store")

    async def all_posted(self) -> None:
        await asyncio.gather(*self.work)
        await self.turns.posted()


async def test_of_managers_that_answer_together_each_is_posted_to_before_the_next_but_one_is_made_ready() -> (
    None
):
    here = _Here()
    await asyncio.sleep(0)
    for turn in here.first.values():
        turn.end()
    await here.all_posted()
    assert here.said == [
        "make 1",
        *(step for pk in _ALL[1:] for step in (f"send {pk - 1}", f"make {pk}")),
        "send 5",
        "look",
    ]


async def test_what_was_answered_is_stored_behind_the_posts_to_all_that_answered_together() -> None:
    here = _Here()
    await asyncio.sleep(0)
    stored = asyncio.create_task(here.store())
    await stored  # nobody is posted to: at once
    here.first[_ALL[0]].end()
    stored = asyncio.create_task(here.store())
    for pk in _ALL[1:]:
        here.first[pk].end()
    await here.all_posted()
    await stored
    assert [word for word in here.said if not word.startswith("make")] == [
        "store",
        *(f"send {pk}" for pk in _ALL),
        "look",
        "store",
    ]


async def test_a_manager_that_answers_meanwhile_and_has_nobody_behind_is_looked_at_after_the_posts() -> None:
    here = _Here()
    await asyncio.sleep(0)
    here.first[_ALL[0]].end()
    here.next[_ALL[1]].end()  # its task cannot be posted after all
    here.first[_ALL[1]].end()
    assert here.said == []
    here.work.pop(1)
    here.work = here.work[:1]
    await here.all_posted()
    assert here.said == ["make 1", "send 1", "look"]
