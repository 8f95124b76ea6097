"""Whose turn it is at each runner manager: one submission at a time, and one that is ready to follow it."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable

from msgspec.structs import replace

from poddispatchd.clock import Clock
from poddispatchd.domain.routing import Lane
from poddispatchd.domain.task import ManagerId, TaskType
from poddispatchd.managers.registry import ManagerRegistry

_MOST_IN_A_ROW = 100
"""Turns that are posted before what is less urgent, at most: that waits for a moment, and not for ever."""


class SubmissionTurn:
    """One submission's turn at a manager: it begins, or never will, and ends with the manager's answer."""

    def __init__(
        self, manager: ManagerId, kind: TaskType | None, end: "Callable[[SubmissionTurn], None]"
    ) -> None:
        self.manager = manager
        self.kind = kind
        self.number: int | None = None
        """Of the registry's count, once it has begun."""
        self.is_posted = False
        """Whether the manager was asked: it may have the task, whatever follows goes wrong."""
        self.decision: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._end = end

    def decide(self) -> None:
        """It has begun if it has a number; else it never will."""
        if not self.decision.done():
            self.decision.set_result(None)

    async def comes(self) -> bool:
        """Wait for it; False when the manager has no room after all, or does not answer in time."""
        await self.decision
        return self.number is not None

    def end(self) -> None:
        """The manager has answered, or will never be asked: it is free; once is enough."""
        self._end(self)


class SubmissionTurns:
    """The turns at all managers.

    A turn may follow another one: the intent of its submission is committed while the manager still works on
    the one before, so that its POST goes out with the answer to that. It is given up when the manager has no
    room then, or is not worth waiting for any more (``domain.routing.ANSWERS_WITHIN``).

    Turns that follow at the same moment are posted one after the other, each before the one behind it is made
    ready. Managers that answered together would answer together for ever, and each wait for what is done for
    all of them. What is less urgent comes after the posts: looks at the queue, and what is stored.

    Args:
        registry: who is free.
        ring: is called whenever a manager becomes free.
        clock: of the daemon.
    """

    def __init__(self, registry: ManagerRegistry, ring: Callable[[], None], clock: Clock) -> None:
        self._registry = registry
        self._ring = ring
        self._clock = clock
        self._followers: dict[ManagerId, SubmissionTurn] = {}
        self._may_follow = False
        self._besides: Collection[ManagerId] = ()
        self._deciding: deque[SubmissionTurn] = deque()
        """Turns that have begun behind another one: one is posted with each turn of the event loop."""
        self._are_posted = asyncio.Event()
        self._are_posted.set()

    def plan(self, *, may_follow: bool, besides: Collection[ManagerId]) -> None:
        """Whether tasks are given to busy managers, besides some, until the next call."""
        self._may_follow, self._besides = may_follow, besides

    def with_next(self, lanes: list[Lane]) -> list[Lane]:
        """These managers, those that take a task that follows as open ones."""
        if not self._may_follow:
            return lanes
        now = self._clock.monotonic()
        closed = {*self._besides, *self._followers}
        return [
            replace(lane, takes_next=True)
            if lane.is_steady and lane.answers_soon(now) and lane.manager not in closed
            else lane
            for lane in lanes
        ]

    def take(self, manager: ManagerId, kind: TaskType | None = None) -> SubmissionTurn:
        """A turn at a manager: it begins now if that is free, else it follows, with a task of this type."""
        turn = SubmissionTurn(manager, kind, self._end)
        if self._registry.is_busy(manager):
            self._followers[manager] = turn
        else:
            turn.number = self._registry.begin(manager)
            turn.decide()
        return turn

    async def posted(self) -> None:
        """Wait until those that follow at this moment are posted."""
        await self._are_posted.wait()

    def none(self, manager: ManagerId) -> SubmissionTurn:
        """A turn that never begins: for what concerns a submission to a manager and asks it nothing."""
        turn = SubmissionTurn(manager, None, self._end)
        turn.decide()
        return turn

    def give_up_late(self, lanes: Iterable[Lane]) -> None:
        """Wait no longer behind a submission whose answer does not come, nor for a manager that is shut.

        Args:
            lanes: the active managers as they are now.
        """
        now = self._clock.monotonic()
        answering = {lane.manager: lane for lane in lanes if lane.answers_soon(now)}
        for manager, turn in tuple(self._followers.items()):
            if manager not in answering or not _has_room(answering[manager], turn, now):
                self._give_up(turn)

    def stop(self) -> None:
        """No turn that follows begins any more."""
        self._may_follow = False
        for turn in tuple(self._followers.values()):
            self._give_up(turn)

    def _give_up(self, turn: SubmissionTurn) -> None:
        del self._followers[turn.manager]
        turn.decide()

    def _end(self, turn: SubmissionTurn) -> None:
        # Its submission was over before it could begin, as by an error: the place is for another task.
        if self._followers.get(turn.manager) is turn:
            self._give_up(turn)
        if turn.number is None:
            return
        # Called twice: with the answer to the POST, and when all that follows from it is done.
        ended, turn.number = turn.number, None
        self._registry.end(turn.manager, ended)
        follower = self._followers.pop(turn.manager, None)
        if follower is None:
            # While others are being posted, the dispatcher is woken behind them (``_sent``).
            if self._are_posted.is_set():
                self._ring()
            return
        try:
            if self._may_begin(follower):
                follower.number = self._registry.begin(turn.manager)
        finally:
            # Whatever goes wrong here, nobody waits for ever (invariant I12).
            self._deciding.append(follower)
            if self._are_posted.is_set():
                self._are_posted.clear()
                self._decide_next(_MOST_IN_A_ROW)

    def _decide_next(self, left: int) -> None:
        """Let one turn be made ready, and sent in the turn of the event loop after that one."""
        loop = asyncio.get_running_loop()
        if self._deciding and left:
            self._deciding.popleft().decide()
            loop.call_soon(self._decide_next, left - 1)
        else:
            loop.call_soon(loop.call_soon, self._sent, left)

    def _sent(self, left: int) -> None:
        if self._deciding and left:
            self._decide_next(left)
            return
        # Who waits is woken by this, though it is cleared at once: asyncio.Event wakes all that wait.
        self._are_posted.set()
        self._ring()
        if self._deciding:
            self._are_posted.clear()
            self._decide_next(_MOST_IN_A_ROW)

    def _may_begin(self, turn: SubmissionTurn) -> bool:
        now = self._clock.monotonic()
        lanes = self._registry.lanes(turn.manager)
        return any(lane.busy_since is None and _has_room(lane, turn, now) for lane in lanes)


def _has_room(lane: Lane, turn: SubmissionTurn, now: float) -> bool:
    return turn.kind is not None and lane.has_room(turn.kind, now) and not lane.is_doubtful
