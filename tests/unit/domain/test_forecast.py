"""When tasks are expected to begin and end: honest about what is known, and about what is not."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import field
from msgspec.structs import replace

from poddispatchd.domain.arrivals import Arrivals
from poddispatchd.domain.availability import ALWAYS, Openings
from poddispatchd.domain.capacity import Capacity, ManagerNow, capacities, slots_seen
from poddispatchd.domain.forecast import Forecast, Interval, PendingWork, RunningWork, Workload, forecast
from poddispatchd.domain.queue_simulation import Played, QueuePlay, SimulatedTimes
from poddispatchd.domain.run_times import FEWEST, EndedRun, SourceSize, run_times
from poddispatchd.domain.task import ManagerId, SiteId, TaskPk

NOW = datetime(2026, 3, 10, 14, tzinfo=UTC)
SITE, MANAGER = SiteId(1), ManagerId(1)
ONE_RUNNER = (Capacity(MANAGER, SITE, 1, 0, None),)


def runs(*minutes: float, kind: str = "encoding", manager: ManagerId = MANAGER) -> list[EndedRun]:
    """Runs one after the other, the last of which has just ended."""
    found, end = [], NOW
    for length in minutes:
        found.append(EndedRun(kind, length * 60, end, manager))
        end -= timedelta(minutes=length)
    return found


TEN_MINUTES = runs(*[9.5, 10, 10.5] * 10)


def waiting(pk: int, kind: str = "encoding", **facts: object) -> PendingWork:
    return PendingWork(Played(TaskPk(pk), kind, site=SITE, **facts))  # type: ignore[arg-type]


def running(pk: int, minutes: float, **facts: object) -> RunningWork:
    played = Played(TaskPk(pk), "encoding", site=SITE, **facts)  # type: ignore[arg-type]
    return RunningWork(played, MANAGER, NOW - timedelta(minutes=minutes))


def expect(
    work: Workload, ended: Sequence[EndedRun] = TEN_MINUTES, managers: Sequence[Capacity] = ONE_RUNNER
) -> Forecast:
    return forecast(NOW, work, managers, ended, random=random.Random(1).random)


def minutes(interval: Interval) -> tuple[float, float]:
    return tuple((moment - NOW).total_seconds() / 60 for moment in (interval.low, interval.high))  # type: ignore[return-value]


def test_without_runs_to_learn_from_nothing_is_said() -> None:
    work = Workload([waiting(1)], [running(2, 3)])

    assert expect(work, runs(*[10] * (FEWEST - 1))) == Forecast(NOW)


def test_a_running_task_ends_when_its_time_is_over() -> None:
    low, high = minutes(expect(Workload(running=[running(1, 4)])).ends[TaskPk(1)])

    assert 5 < low < high < 7


def test_a_task_that_runs_longer_than_any_before_ends_nobody_knows_when() -> None:
    said = expect(Workload([waiting(2)], [running(1, 300)]))

    assert TaskPk(1) not in said.ends
    # Its runner may be free at once or as late again; what waits for it begins in that time.
    low, high = minutes(said.begins[TaskPk(2)])
    assert 0 < low < high < 300


def test_tasks_of_one_runner_follow_each_other() -> None:
    said = expect(Workload([waiting(2), waiting(3)], [running(1, 5)]))

    first, second = minutes(said.begins[TaskPk(2)]), minutes(said.begins[TaskPk(3)])
    assert 4 < first[0] < first[1] < 6.5
    assert 14 < second[0] < second[1] < 17
    assert minutes(said.ends[TaskPk(3)])[0] > second[0] + 9
    assert said.drained["encoding"] == said.ends[TaskPk(3)]


def test_a_type_that_no_manager_takes_is_unknown() -> None:
    only_encodings = (Capacity(MANAGER, SITE, 1, 0, frozenset({"encoding"})),)
    ended = [*TEN_MINUTES, *runs(*[2] * 20, kind="transcription", manager=ManagerId(2))]
    said = expect(Workload([waiting(1), waiting(2, "transcription")]), ended, only_encodings)

    assert set(said.begins) == {TaskPk(1)}
    assert set(said.drained) == {"encoding"}


def test_what_stands_behind_a_task_of_unknown_length_is_unknown_too() -> None:
    said = expect(Workload([waiting(1, "transcription"), waiting(2)]))

    assert set(said.begins) == {TaskPk(1)}
    assert said.ends == {}


def test_tasks_of_one_source_end_together() -> None:
    work = Workload([waiting(2, same="video 7"), waiting(3)], [running(1, 5, same="video 7")])
    said = expect(work)

    assert said.ends[TaskPk(2)] == said.ends[TaskPk(1)]
    assert minutes(said.begins[TaskPk(3)])[1] < 7


def test_a_task_that_is_held_back_does_not_begin_before() -> None:
    held = PendingWork(Played(TaskPk(1), "encoding", site=SITE), NOW + timedelta(minutes=45))

    assert minutes(expect(Workload([held])).begins[TaskPk(1)]) == (45, 45)


def test_runners_that_work_for_others_are_waited_for() -> None:
    taken = (Capacity(MANAGER, SITE, 1, 1, frozenset({"encoding"})),)
    low, high = minutes(expect(Workload([waiting(1)]), managers=taken).begins[TaskPk(1)])

    assert 0 < low < high < 11


def test_students_reckon_with_those_that_will_come_and_stand_before_them() -> None:
    # One priority task comes every twelve minutes, and runs for eight.
    moments = [NOW - timedelta(minutes=12 * n) for n in range(120)]
    ended = [EndedRun("encoding", 480, moment, MANAGER, waited=0, priority=0) for moment in moments]
    busy = RunningWork(Played(TaskPk(9), "encoding"), MANAGER, NOW)
    student = minutes(expect(Workload([waiting(1, priority=2)], [busy]), ended).begins[TaskPk(1)])
    other = minutes(expect(Workload([waiting(1, priority=0)], [busy]), ended).begins[TaskPk(1)])

    assert student[1] > 1.5 * other[1]


def test_a_long_queue_is_reckoned_from_its_beginning() -> None:
    queue = [waiting(pk) for pk in range(1, 21)]
    whole = minutes(expect(Workload(queue)).drained["encoding"])
    beginning = minutes(expect(Workload(queue, pending={"encoding": 100})).drained["encoding"])

    assert beginning == pytest.approx([5 * value for value in whole], rel=0.01)


def test_a_type_of_which_only_later_tasks_wait_is_unknown() -> None:
    said = expect(Workload([waiting(1)], pending={"encoding": 1, "studio": 50}))

    assert "studio" not in said.drained


def test_longer_sources_take_longer() -> None:
    ended = [
        EndedRun("transcription", 0.2 * length, NOW, MANAGER, SourceSize(seconds=length))
        for length in range(600, 7200, 200)
    ]
    work = Workload([waiting(1, "transcription", source=SourceSize(seconds=6000))])
    low, high = minutes(expect(work, ended).ends[TaskPk(1)])

    assert 18 < low <= 20 <= high < 22


@pytest.mark.parametrize("length", [-5, 0])
def test_a_source_that_is_said_to_have_no_length_is_one_of_unknown_length(length: int) -> None:
    """One video that a runner had called -5 s long, and nothing was known of any task any more."""
    odd = SourceSize(seconds=length, bytes=length)
    ended = [EndedRun("encoding", 600.0, NOW, MANAGER, SourceSize(seconds=60)) for _ in range(FEWEST)]

    said = expect(
        Workload([waiting(1, source=odd)]), [*ended, EndedRun("encoding", 600.0, NOW, MANAGER, odd)]
    )

    assert odd == SourceSize()
    assert TaskPk(1) in said.ends


def test_a_source_that_would_take_centuries_is_unknown_and_the_others_are_not() -> None:
    ended = [
        EndedRun("encoding", length**1.5, NOW, MANAGER, SourceSize(seconds=length))
        for length in range(60, 7200, 200)
    ]
    work = Workload([waiting(1), waiting(2, source=SourceSize(seconds=2**31 - 1))])

    said = expect(work, ended)

    assert set(said.ends) == {TaskPk(1)}


def test_a_size_helps_where_no_duration_is_known() -> None:
    ended = [
        EndedRun("encoding", size / 1e6, NOW, MANAGER, SourceSize(seconds=None, bytes=size))
        for size in range(100_000_000, 4_000_000_000, 100_000_000)
    ]
    law = run_times(ended).law("encoding", SourceSize(bytes=3_000_000_000))

    assert law is not None
    assert law.draw(0.5) == pytest.approx(3000, rel=0.1)


def test_a_slow_manager_is_known_as_such() -> None:
    ended = runs(*[10] * 30) + runs(*[20] * 30, manager=ManagerId(2))
    quick, slow = (
        law.draw(0.5)
        for number in (1, 2)
        if (law := run_times(ended).law("encoding", SourceSize(), ManagerId(number))) is not None
    )

    assert slow > 1.5 * quick


def test_slots_are_what_a_manager_had_at_once_for_a_while() -> None:
    two = runs(*[10] * 20) + runs(*[10] * 20)
    # The import of a result goes on while its runner has the next task.
    overlapping = [EndedRun("encoding", 601, run.ended_at, MANAGER) for run in runs(*[10] * 20)]

    assert slots_seen(two) == {MANAGER: 2}
    assert slots_seen(overlapping) == {MANAGER: 1}


def test_managers_without_tasks_are_left_out_and_full_ones_have_no_free_slot() -> None:
    here = [
        ManagerNow(MANAGER, SITE, full_for=frozenset({"encoding"})),
        ManagerNow(ManagerId(2), SITE, is_usable=False),
    ]
    [found] = capacities(here, runs(*[10] * 20) + runs(*[10] * 20), {MANAGER: 1})

    assert (found.slots, found.taken) == (2, 1)


@given(
    lengths=st.lists(st.floats(1, 500), min_size=FEWEST, max_size=40),
    waits=st.integers(0, 30),
    slots=st.integers(1, 4),
)
def test_intervals_are_in_order_and_the_queue_is_kept(lengths: list[float], waits: int, slots: int) -> None:
    queue = [waiting(pk) for pk in range(1, waits + 1)]
    said = expect(Workload(queue), runs(*lengths), (Capacity(MANAGER, SITE, slots, 0, None),))

    assert len(said.begins) == len(said.ends) == waits
    for pk, begins in said.begins.items():
        assert NOW <= begins.low <= begins.high
        assert begins.low <= said.ends[pk].low <= said.ends[pk].high
    order = [said.begins[item.task.pk].low for item in queue]
    assert order == sorted(order)


def test_an_interval_in_words() -> None:
    interval = Interval(NOW + timedelta(minutes=4), NOW + timedelta(minutes=12))

    assert interval.words(NOW) == "in 4 min to 12 min"
    assert interval.words(NOW + timedelta(minutes=5)) == "within 7 min"
    assert Interval(NOW, NOW).words(NOW) == "at once"


# --- windows ------------------------------------------------------------------------------------------------

_BOTH_KINDS = [*TEN_MINUTES, *runs(*[9.5, 10, 10.5] * 10, kind="transcription")]


def _open_from(hours: float, kind: str = "transcription") -> tuple[Capacity, ...]:
    """One runner, with a window of two hours for a type."""
    window = Openings((hours * 3600,), ((hours + 2) * 3600,))
    return (Capacity(MANAGER, SITE, 1, 0, None, {kind: window}),)


def test_a_task_that_waits_for_a_window_begins_when_it_opens() -> None:
    said = expect(Workload([waiting(1, "transcription")]), _BOTH_KINDS, _open_from(5))

    assert minutes(said.begins[TaskPk(1)]) == (300, 300)


def test_who_waits_for_a_window_holds_up_nobody_else() -> None:
    queue = [*(waiting(pk, "transcription") for pk in range(1, 4)), waiting(9)]
    said = expect(Workload(queue), _BOTH_KINDS, _open_from(5))

    assert minutes(said.begins[TaskPk(9)]) == (0, 0)
    low, high = minutes(said.begins[TaskPk(3)])
    assert 315 < low < high < 325


def test_what_does_not_fit_into_the_last_window_known_is_unknown() -> None:
    said = expect(Workload([waiting(pk, "transcription") for pk in range(1, 21)]), _BOTH_KINDS, _open_from(0))

    assert minutes(said.begins[TaskPk(11)])[1] < 120
    assert TaskPk(15) not in said.begins


@given(
    st.lists(st.tuples(st.sampled_from(["encoding", "transcription"]), st.integers(0, 3)), max_size=12),
    st.integers(1, 3),
)
def test_windows_that_are_always_open_change_no_forecast(kinds: list[tuple[str, int]], slots: int) -> None:
    queue = [waiting(pk, kind, same=source or None) for pk, (kind, source) in enumerate(kinds, start=1)]
    free = (Capacity(MANAGER, SITE, slots, 0, None),)
    always = (Capacity(MANAGER, SITE, slots, 0, None, {"transcription": ALWAYS}),)

    assert expect(Workload(queue), _BOTH_KINDS, free) == expect(Workload(queue), _BOTH_KINDS, always)


class _CountedOpenings(Openings, frozen=True):
    """Tells how often it is asked."""

    asked: list[float] = field(default_factory=list)

    def next(self, after: float) -> float:
        self.asked.append(after)
        return super().next(after)


def test_many_tasks_with_waits_of_their_own_are_looked_at_a_few_times_each() -> None:
    """Each by itself among all others, 300 that were put back into the queue took a minute."""
    hours = _CountedOpenings((0.0, 86_400.0), (43_200.0, 129_600.0))
    managers = [Capacity(MANAGER, SITE, 8, 0, None, {"encoding": hours})]
    queue = [waiting(pk).task for pk in range(1, 201)]
    play = QueuePlay(
        queue=[replace(task, ready=float(task.pk)) for task in reversed(queue)],
        running=[],
        managers=managers,
        times=run_times(TEN_MINUTES),
        arrivals=Arrivals(NOW),
        random=random.Random(1).random,
    )
    outcomes = SimulatedTimes()
    play.round(outcomes)
    assert len(hours.asked) < 10 * len(queue)
    # Eight by their waits; by then all others are ready, and go by their place in the queue.
    assert list(outcomes.begins) == [*range(1, 9), *range(200, 8, -1)]
