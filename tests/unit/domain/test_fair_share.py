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
    may_put_back,
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
    return Overtaking(1, kind, (_MORNING + timedelta(minutes=minute), TaskPk(pk)), seconds, 2 * seconds)


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
    st.floats(0, 200),
    st.integers(0, 20),
)
def test_those_are_due_whom_one_run_more_could_put_back_for_longer_than_the_longest_delay(
    overtakings: list[Overtaking], longest: float, run: float, minute: int
) -> None:
    claim = _claim(15, "a", minute=minute)
    due = due_places(overtakings, longest, run)
    # By the same additions in the same order, so that no rounding can decide.
    behind = sorted((each.place, each.reckoned) for each in overtakings if each.place > claim.place)
    is_due = claim.kind in due and claim.place < due[claim.kind]

    assert is_due == any(
        sum(seconds for _, seconds in reversed(behind[number:])) > longest - run
        for number in range(len(behind))
    )


# --- played through ---------------------------------------------------------------------------------------


@dataclass
class _Job:
    claim: Claim
    arrives: float
    runs: float


@dataclass
class _Played:
    """What runners do, and what was decided; in Pod's order without a longest delay.

    Whenever runners are free the order is read once, and all of them get a task by it, as the daemon does.
    """

    jobs: Sequence[_Job]
    runners: int = 1
    longest: float | None = None
    reckoned: float = 0.0
    now: float = 0.0
    begins: dict[TaskPk, float] = field(default_factory=dict)
    put_back: dict[TaskPk, float] = field(default_factory=dict)
    running: dict[TaskPk, _Job] = field(default_factory=dict)
    overtook: set[TaskPk] = field(default_factory=set)

    @property
    def ends(self) -> float:
        return max((self.begins[job.claim.task] + job.runs for job in self.jobs), default=0.0)

    def play(self) -> "_Played":
        left = {job.claim.task: job for job in self.jobs}
        while left:
            here = [job for job in left.values() if job.arrives <= self.now]
            free = self.runners - len(self.running)
            for claim in self._order(here)[:free]:
                self._begin(left.pop(claim.task), [job for job in here if job.claim.task in left])
            here = [job for job in left.values() if job.arrives <= self.now]
            # No runner is ever idle while somebody waits.
            assert len(self.running) == self.runners or not here
            moments = [self.begins[pk] + job.runs for pk, job in self.running.items()]
            moments += [job.arrives for job in left.values() if job.arrives > self.now]
            self.now = min(moments, default=self.now)
            ended = [pk for pk, job in self.running.items() if self.begins[pk] + job.runs <= self.now]
            for pk in ended:
                del self.running[pk]
        return self

    def _begin(self, job: _Job, others: Sequence[_Job]) -> None:
        pk = job.claim.task
        self.begins[pk], self.running[pk] = self.now, job
        self.put_back[pk] = put_back(job.claim, self._overtakings())
        if any(other.claim.place < job.claim.place for other in others):
            self.overtook.add(pk)

    def _order(self, here: Sequence[_Job]) -> list[Claim]:
        claims = [job.claim for job in here]
        if self.longest is None or not may_put_back(self.longest, self.reckoned):
            return sorted(claims, key=lambda claim: claim.place)
        due = due_places(self._overtakings(), self.longest, self.reckoned)
        used: dict[str, float] = {}
        for job in self.jobs:
            if job.claim.task in self.begins:
                used[job.claim.party] = used.get(job.claim.party, 0.0) + job.runs
        return _order(claims, used, due)

    def _overtakings(self) -> list[Overtaking]:
        found = []
        for job in self.jobs:
            pk = job.claim.task
            if pk not in self.overtook:
                continue
            had = min(job.runs, self.now - self.begins[pk])
            reckoned = max(had, self.reckoned) if pk in self.running else had
            share = 1 / self.runners
            found.append(Overtaking(1, job.claim.type, job.claim.place, share * had, share * reckoned))
        return found


_lengths = st.sampled_from([100, 500, 1000, 1500])


def _jobs() -> st.SearchStrategy[list[_Job]]:
    return st.lists(
        st.tuples(st.sampled_from([0, 0, 10, 600, 2000]), _lengths, st.sampled_from("aab")),
        max_size=25,
    ).map(lambda facts: list(_made(sorted(facts))))


def _made(facts: Sequence[tuple[int, int, str]]) -> Iterator[_Job]:
    for pk, (arrives, runs, party) in enumerate(facts, start=1):
        yield _Job(_claim(pk, party, minute=arrives / 60), float(arrives), float(runs))


_runners = st.sampled_from([1, 2, 4])
"""By which numbers divide without rounding."""
_reckoned = st.sampled_from([100.0, 1000.0, 1500.0])
_longest = st.sampled_from([50.0, 1000.0, 1500.0, 2000.0, 3000.0])


def _beyond(jobs: Sequence[_Job], reckoned: float) -> float:
    """How much longer than reckoned a run takes at most."""
    return max((job.runs - reckoned for job in jobs), default=0.0) if jobs else 0.0


@given(_jobs(), _runners, _longest, _reckoned)
def test_nobody_is_put_back_for_longer_than_the_longest_delay_and_what_a_run_takes_beyond_the_reckoned(
    jobs: list[_Job], runners: int, longest: float, reckoned: float
) -> None:
    fair = _Played(jobs, runners, longest, reckoned).play()

    assert max(fair.put_back.values(), default=0.0) <= longest + max(0.0, _beyond(jobs, reckoned))


@given(_jobs(), _longest, _reckoned)
def test_with_one_runner_it_begins_no_later_than_in_pods_order_and_that_delay(
    jobs: list[_Job], longest: float, reckoned: float
) -> None:
    fair = _Played(jobs, 1, longest, reckoned).play()
    pods = _Played(jobs).play()

    bound = longest + max(0.0, _beyond(jobs, reckoned))
    assert all(fair.begins[pk] <= begins + bound for pk, begins in pods.begins.items())


@given(_jobs(), _runners, _longest, _reckoned)
def test_with_several_runners_less_than_two_runs_come_on_top_for_how_runs_happen_to_fit(
    jobs: list[_Job], runners: int, longest: float, reckoned: float
) -> None:
    """So it is between any two orders of the same runs: not all runners become free at the same moment.

    At the moment at which a task comes the work that is left differs by (m - 1) runs at most, and so does it
    when it begins; m runners do that in the m-th part of the time.
    """
    fair = _Played(jobs, runners, longest, reckoned).play()
    pods = _Played(jobs, runners).play()

    bound = longest + max(0.0, _beyond(jobs, reckoned))
    bound += 2 * (runners - 1) / runners * max((job.runs for job in jobs), default=0.0)
    assert all(fair.begins[pk] <= begins + bound for pk, begins in pods.begins.items())


@given(_jobs(), _longest, _reckoned)
def test_one_runner_is_done_at_the_same_time_in_any_order(
    jobs: list[_Job], longest: float, reckoned: float
) -> None:
    assert _Played(jobs, 1, longest, reckoned).play().ends == _Played(jobs).play().ends


@given(_jobs(), _runners, _reckoned)
def test_where_a_run_takes_longer_than_the_longest_delay_it_is_pods_order(
    jobs: list[_Job], runners: int, reckoned: float
) -> None:
    fair = _Played(jobs, runners, reckoned - 1, reckoned).play()

    assert fair.begins == _Played(jobs, runners).play().begins


@given(_jobs(), _runners)
def test_a_long_delay_lets_the_others_take_turns(jobs: list[_Job], runners: int) -> None:
    """The bounds hold not because nobody is ever overtaken."""
    fair = _Played(jobs, runners, 1e9, 1.0).play()
    for pk, begins in fair.begins.items():
        job = next(job for job in jobs if job.claim.task == pk)
        waits = [
            other
            for other in jobs
            if other.arrives <= begins < fair.begins[other.claim.task]
            and other.claim.party != job.claim.party
        ]
        had: dict[str, float] = {}
        for other in jobs:
            if fair.begins[other.claim.task] < begins:
                had[other.claim.party] = had.get(other.claim.party, 0.0) + other.runs
        if runners == 1:
            own = had.get(job.claim.party, 0.0)
            assert all(had.get(other.claim.party, 0.0) >= own for other in waits)


def test_a_place_is_due_as_soon_as_one_more_run_would_put_it_back_by_longer() -> None:
    overtaking = Overtaking(1, "encoding", (_MORNING, TaskPk(1)), 5.0, 10.0)
    assert due_places([overtaking], longest=20.0, run=10.0) == {}
    assert due_places([overtaking], longest=19.9, run=10.0) == {(1, "encoding"): (_MORNING, TaskPk(1))}
