"""Fair share inside a class of Pod's order: turns for everybody, and nobody put back for too long."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from poddispatchd.domain.fair_share import (
    Claim,
    FairOrder,
    FairShare,
    Kind,
    Overtaking,
    Place,
    due_places,
    fair_order,
    put_back,
)
from poddispatchd.domain.task import TaskPk

_MORNING = datetime(2026, 11, 30, 8, tzinfo=UTC)
_COSTS = {"encoding": 600.0, "transcription": 1200.0}


def _claim(pk: int, party: str, *, minute: float = 0, priority: int = 1, kind: str = "encoding") -> Claim:
    return Claim(TaskPk(pk), priority, kind, _MORNING + timedelta(minutes=minute), party)


def _order(claims: Sequence[Claim], used: Mapping[str, float], due: Mapping[Kind, Place]) -> list[Claim]:
    return fair_order(claims, FairOrder(FairShare.OWNER, used, _COSTS, due))


def _pks(claims: Sequence[Claim]) -> list[int]:
    return [claim.task for claim in claims]


_claims = st.lists(
    st.builds(
        Claim,
        task=st.integers(1, 1000).map(TaskPk),
        priority=st.integers(0, 2),
        type=st.sampled_from(["encoding", "transcription"]),
        date_added=st.integers(0, 50).map(lambda minutes: _MORNING + timedelta(minutes=minutes)),
        party=st.sampled_from("abc"),
    ),
    max_size=20,
    unique_by=lambda claim: claim.task,
)
_used = st.dictionaries(st.sampled_from("abc"), st.floats(0, 5000))


# --- the order --------------------------------------------------------------------------------------------


@given(_claims, _used)
def test_every_task_stands_somewhere_and_no_class_is_mixed_with_another(
    claims: list[Claim], used: dict[str, float]
) -> None:
    ordered = _order(claims, used, {})

    assert sorted(ordered, key=lambda claim: claim.task) == sorted(claims, key=lambda claim: claim.task)
    assert [claim.priority for claim in ordered] == sorted(claim.priority for claim in claims)


@given(_claims, _used)
def test_the_tasks_of_one_party_keep_pods_order_among_themselves(
    claims: list[Claim], used: dict[str, float]
) -> None:
    for party in "abc":
        own = [claim for claim in _order(claims, used, {}) if claim.party == party]
        assert own == sorted(own, key=lambda claim: (claim.priority, claim.place))


@given(_claims, st.floats(0, 5000))
def test_one_party_alone_has_pods_order(claims: list[Claim], used: float) -> None:
    alone = [Claim(c.task, c.priority, c.type, c.date_added, "a") for c in claims]

    assert _order(alone, {"a": used}, {}) == sorted(alone, key=lambda claim: (claim.priority, claim.place))


@given(_claims, _used)
def test_tasks_that_are_due_go_first_by_pods_order(claims: list[Claim], used: dict[str, float]) -> None:
    last = _MORNING + timedelta(minutes=30), TaskPk(0)
    due = {(1, "encoding"): last}
    ordered = [claim for claim in _order(claims, used, due) if claim.priority == 1]
    first = [claim for claim in ordered if claim.type == "encoding" and claim.place < last]

    assert ordered[: len(first)] == sorted(first, key=lambda claim: claim.place)


def test_a_flood_does_not_hold_up_the_one_task_of_another() -> None:
    flood = [_claim(pk, "flood") for pk in range(1, 51)]

    assert _pks(_order([*flood, _claim(99, "one", minute=30)], {}, {}))[:3] == [1, 99, 2]


def test_whoever_had_least_runner_time_lately_goes_first() -> None:
    claims = [
        _claim(1, "much"),
        _claim(2, "much"),
        _claim(3, "little", minute=5),
        _claim(4, "none", minute=9),
    ]

    assert _pks(_order(claims, {"much": 3600, "little": 900}, {})) == [4, 3, 1, 2]


def test_turns_are_taken_by_the_time_that_runs_take() -> None:
    """Two encodings take as long as one transcription."""
    claims = [_claim(pk, "a", kind="transcription") for pk in (1, 2)]
    claims += [_claim(pk, "b", minute=1) for pk in (3, 4, 5)]

    assert _pks(_order(claims, {}, {})) == [1, 3, 4, 2, 5]


# --- how far somebody is put back -------------------------------------------------------------------------


def _overtaking(pk: int, seconds: float, *, minute: float = 10, kind: str = "encoding") -> Overtaking:
    return Overtaking(1, kind, (_MORNING + timedelta(minutes=minute), TaskPk(pk)), seconds)


def test_a_task_is_put_back_by_those_that_stood_behind_it_and_had_a_runner_it_could_have_had() -> None:
    overtakings = [
        _overtaking(5, 100),
        _overtaking(6, 50, minute=20),
        _overtaking(7, 30, kind="transcription"),
    ]

    assert put_back(_claim(1, "a"), overtakings) == 150
    assert put_back(_claim(9, "a", minute=15), overtakings) == 50
    assert put_back(_claim(9, "a", minute=30), overtakings) == 0
    assert put_back(_claim(1, "a", priority=0), overtakings) == 0


@given(
    st.lists(
        st.builds(_overtaking, st.integers(1, 30), st.floats(0, 100), minute=st.integers(0, 20).map(float)),
        max_size=10,
    ),
    st.floats(1, 200),
    st.integers(0, 20),
)
def test_the_tasks_that_are_due_are_those_put_back_for_the_longest_delay(
    overtakings: list[Overtaking], longest: float, minute: int
) -> None:
    claim = _claim(15, "a", minute=minute)
    due = due_places(overtakings, longest)
    # By the same additions in the same order, so that no rounding can decide.
    behind = sorted((each.place, each.seconds) for each in overtakings if each.place > claim.place)

    assert (claim.kind in due and claim.place < due[claim.kind]) == (
        sum(seconds for _, seconds in reversed(behind)) >= longest
    )


# --- played through ---------------------------------------------------------------------------------------


@dataclass
class _Job:
    claim: Claim
    arrives: float
    runs: float


@dataclass
class _Played:
    """What one runner does, and what was decided."""

    longest: float | None
    begins: dict[TaskPk, float] = field(default_factory=dict)
    overtakings: dict[TaskPk, Overtaking] = field(default_factory=dict)
    idle_while_waiting: bool = False
    passed_over: bool = False

    def play(self, jobs: Sequence[_Job]) -> None:
        now, used = 0.0, dict[str, float]()
        left = {job.claim.task: job for job in jobs}
        while left:
            here = [job for job in left.values() if job.arrives <= now]
            if not here:
                now = min(job.arrives for job in left.values())
                continue
            job = left.pop(self._next(here, used).task)
            self.begins[job.claim.task] = now
            if any(other.claim.place < job.claim.place for other in here):
                self.overtakings[job.claim.task] = Overtaking(1, job.claim.type, job.claim.place, job.runs)
            used[job.claim.party] = used.get(job.claim.party, 0.0) + job.runs
            now += job.runs

    def _next(self, here: Sequence[_Job], used: dict[str, float]) -> Claim:
        claims = [job.claim for job in here]
        if self.longest is None:
            return min(claims, key=lambda claim: claim.place)
        due = due_places(list(self.overtakings.values()), self.longest)
        first = _order(claims, used, due)[0]
        for claim in claims:
            is_due = put_back(claim, self.overtakings.values()) >= self.longest
            self.passed_over |= is_due and claim.place < first.place
        return first


def _jobs() -> st.SearchStrategy[list[_Job]]:
    return st.lists(
        st.tuples(st.integers(0, 4000), st.integers(1, 1500), st.sampled_from("aaab")), max_size=25
    ).map(lambda facts: list(_made(sorted(facts))))


def _made(facts: Sequence[tuple[int, int, str]]) -> Iterator[_Job]:
    for pk, (arrives, runs, party) in enumerate(facts, start=1):
        yield _Job(_claim(pk, party, minute=arrives / 60), float(arrives), float(runs))


@given(_jobs(), st.integers(1, 3000))
def test_nobody_begins_later_than_by_pods_order_and_the_longest_delay_and_one_run(
    jobs: list[_Job], longest: int
) -> None:
    fair, pods = _Played(float(longest)), _Played(None)
    fair.play(jobs)
    pods.play(jobs)

    one_run = max((job.runs for job in jobs), default=0.0)
    for job in jobs:
        pk = job.claim.task
        assert fair.begins[pk] <= pods.begins[pk] + longest + one_run
    assert not fair.passed_over


@given(_jobs(), st.integers(1, 3000))
def test_the_runner_is_never_idle_while_somebody_waits(jobs: list[_Job], longest: int) -> None:
    fair, pods = _Played(float(longest)), _Played(None)
    fair.play(jobs)
    pods.play(jobs)
    ends = [
        max((played.begins[job.claim.task] + job.runs for job in jobs), default=0.0)
        for played in (fair, pods)
    ]

    assert ends[0] == ends[1]


@given(_jobs())
def test_with_the_shortest_delay_a_task_is_overtaken_once(jobs: list[_Job]) -> None:
    fair = _Played(1.0)
    fair.play(jobs)

    for job in jobs:
        overtakers = [
            other
            for other in jobs
            if other.claim.place > job.claim.place
            and job.arrives <= fair.begins[other.claim.task] < fair.begins[job.claim.task]
        ]
        assert len(overtakers) <= 1
