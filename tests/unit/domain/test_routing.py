import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from poddispatchd.domain.routing import (
    ANSWERS_WITHIN,
    Assignment,
    Lane,
    Offer,
    assign,
    candidates,
    capacity,
    next_opening,
    next_window,
    site_of,
    unserved,
)
from poddispatchd.domain.task import SUBMITTABLE, ManagerId, SiteId, TaskPk, TaskType

_NOW = 1000.0
_HERE, _THERE = SiteId(1), SiteId(2)


def _lane(number: int, **values: object) -> Lane:
    return replace(Lane(ManagerId(number), _HERE, 1), **values)


def _offer(number: int, kind: TaskType = TaskType.ENCODING, site: SiteId = _HERE) -> Offer:
    return Offer(TaskPk(number), kind, site)


_sites = st.sampled_from([_HERE, _THERE])
_times = st.sampled_from([0.0, _NOW - 1, _NOW + 30])
_lanes = st.lists(
    st.builds(
        Lane,
        manager=st.integers(1, 8).map(ManagerId),
        site=_sites,
        priority=st.integers(1, 3),
        paused=st.sampled_from([False, False, False, True]),
        closed_until=_times,
        full_until=st.dictionaries(st.sampled_from(TaskType), _times, max_size=3),
        last_given=st.floats(0, 100),
        busy_since=st.sampled_from([None, None, _NOW - 1, _NOW - 10]),
        is_slow=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda lane: lane.manager,
)
_offers = st.lists(
    st.builds(
        Offer,
        task=st.integers(1, 1000).map(TaskPk),
        type=st.sampled_from(TaskType),
        site=_sites,
        refused_by=st.frozensets(st.integers(1, 8).map(ManagerId), max_size=3),
        lost_by=st.frozensets(st.integers(1, 8).map(ManagerId), max_size=2),
        others_until=_times,
    ),
    max_size=20,
    unique_by=lambda offer: offer.task,
)


@given(_offers, _lanes)
def test_every_assignment_is_one_that_its_manager_can_take_now(
    offers: list[Offer], lanes: list[Lane]
) -> None:
    given_to = assign(offers, lanes, _NOW)
    by_id = {lane.manager: lane for lane in lanes}
    by_task = {offer.task: offer for offer in offers}
    for assignment in given_to:
        lane = by_id[assignment.manager]
        assert lane.busy_since is None
        assert lane.can_take(by_task[assignment.task], _NOW)
    assert len({assignment.manager for assignment in given_to}) == len(given_to)
    assert len({assignment.task for assignment in given_to}) == len(given_to)


@given(_offers, _lanes)
def test_the_order_of_the_queue_is_kept(offers: list[Offer], lanes: list[Lane]) -> None:
    order = [offer.task for offer in offers]
    given_to = [order.index(assignment.task) for assignment in assign(offers, lanes, _NOW)]
    assert given_to == sorted(given_to)


@given(_offers, _lanes)
def test_a_task_that_cannot_be_placed_takes_nothing_from_the_others(
    offers: list[Offer], lanes: list[Lane]
) -> None:
    placeable = [offer for offer in offers if candidates(offer, lanes, _NOW)]
    assert assign(offers, lanes, _NOW) == assign(placeable, lanes, _NOW)


@given(_offers, _lanes)
def test_no_manager_stays_idle_beside_a_task_unless_a_better_ones_answer_is_near(
    offers: list[Offer], lanes: list[Lane]
) -> None:
    offers = [replace(offer, lost_by=frozenset()) for offer in offers]
    given_to = assign(offers, lanes, _NOW)
    placed, taken = {a.task for a in given_to}, {a.manager for a in given_to}
    for offer in offers:
        able = candidates(offer, lanes, _NOW)
        idle = [lane for lane in able if lane.busy_since is None and lane.manager not in taken]
        if offer.task in placed or not idle:
            continue
        assert any(
            lane.priority < idle[0].priority
            and ((lane.manager in taken and not lane.is_slow) or lane.answers_soon(_NOW))
            for lane in able
        )


@given(_offers, _lanes)
def test_an_unserved_manager_is_one_that_gets_nothing_from_this_page(
    offers: list[Offer], lanes: list[Lane]
) -> None:
    unserved_lanes = {lane.manager for lane in unserved(offers, lanes, _NOW)}
    assert unserved_lanes.isdisjoint(assignment.manager for assignment in assign(offers, lanes, _NOW))
    assert all(
        lane.manager in offer.lost_by or not lane.can_take(offer, _NOW)
        for lane in lanes
        for offer in offers
        if lane.manager in unserved_lanes
    )


@given(_offers, _lanes)
def test_who_gets_nothing_though_nobody_is_waited_for_is_unserved(
    offers: list[Offer], lanes: list[Lane]
) -> None:
    """Else a page of tasks that are kept for others would hide all behind it."""
    idle = [replace(lane, busy_since=None) for lane in lanes]
    if not assign(offers, idle, _NOW):
        assert unserved(offers, idle, _NOW) == [
            lane for lane in idle if any(lane.has_room(kind, _NOW) for kind in SUBMITTABLE)
        ]


def test_who_is_busy_or_full_is_not_unserved_and_who_is_idle_for_other_tasks_is() -> None:
    """Whoever is left out here never sees the tasks behind a page of others."""
    full = dict.fromkeys(TaskType, _NOW + 15)
    lanes = [
        _lane(1),
        _lane(2, site=_THERE),
        _lane(3, site=_THERE, busy_since=_NOW),
        _lane(4, site=_THERE, full_until=full),
        _lane(5, site=_THERE, full_until={**full, TaskType.STUDIO: 0.0}),
        _lane(6, site=_THERE, closed_until=_NOW + 1),
    ]
    assert [lane.manager for lane in unserved([_offer(1)], lanes, _NOW)] == [2, 5]
    assert [lane.manager for lane in unserved([], lanes, _NOW)] == [1, 2, 5]


def test_equal_priorities_take_turns_and_the_least_recently_given_comes_first() -> None:
    lanes = {number: _lane(number, last_given=0.0) for number in (1, 2, 3)}
    order = []
    for turn in range(1, 7):
        [assignment] = assign([_offer(turn)], list(lanes.values()), _NOW)
        order.append(assignment.manager)
        lanes[assignment.manager] = replace(lanes[assignment.manager], last_given=float(turn))
    assert order == [1, 2, 3, 1, 2, 3]


def test_a_lower_priority_waits_until_the_better_one_is_known_to_be_full() -> None:
    best, spare = _lane(1), _lane(2, priority=2)
    assert [a.manager for a in assign([_offer(1), _offer(2)], [best, spare], _NOW)] == [1]
    full = replace(best, full_until={TaskType.ENCODING: _NOW + 15})
    assert [a.manager for a in assign([_offer(1)], [full, spare], _NOW)] == [2]
    subtitles = _offer(1, TaskType.TRANSCRIPTION)
    assert [a.manager for a in assign([subtitles], [full, spare], _NOW)] == [1]


def test_the_answer_of_a_better_manager_is_waited_for_but_not_for_long() -> None:
    spare = _lane(2, priority=2)
    for since, expected in ((0.1, []), (ANSWERS_WITHIN, [2])):
        best = _lane(1, busy_since=_NOW - since)
        assert [a.manager for a in assign([_offer(1)], [best, spare], _NOW)] == expected
    slow = _lane(1, busy_since=_NOW, is_slow=True)
    assert [a.manager for a in assign([_offer(1)], [slow, spare], _NOW)] == [2]
    equal = _lane(3, busy_since=_NOW)
    assert [a.manager for a in assign([_offer(1)], [equal, _lane(4)], _NOW)] == [4]


def test_a_manager_that_refuses_a_task_hides_no_equal_one() -> None:
    offer = replace(_offer(1), refused_by=frozenset({ManagerId(1)}))
    assert [a.manager for a in assign([offer], [_lane(1), _lane(2), _lane(3, priority=2)], _NOW)] == [2]


def test_room_is_where_someone_can_be_asked_at_once() -> None:
    lanes = [
        _lane(1, full_until={TaskType.ENCODING: _NOW + 1}),
        _lane(2, site=_THERE, busy_since=_NOW),
        _lane(3, site=_THERE, paused=True),
        _lane(4, site=SiteId(9), closed_until=_NOW + 1),
    ]
    assert capacity(lanes, _NOW) == {
        TaskType.STUDIO: frozenset({_HERE}),
        TaskType.TRANSCRIPTION: frozenset({_HERE}),
    }


def test_the_next_opening_is_the_first_thing_that_ends_by_itself() -> None:
    assert next_opening([], _NOW) is None
    assert next_opening([_lane(1, closed_until=float("inf"), paused=True)], _NOW) is None
    lanes = [
        _lane(1, closed_until=_NOW + 60),
        _lane(2, full_until={TaskType.STUDIO: _NOW + 20}),
        _lane(3, busy_since=_NOW - 1.5),
        _lane(4, busy_since=_NOW - 1.9, is_slow=True),
    ]
    assert next_opening(lanes, _NOW) == _NOW + 0.5
    assert next_opening(lanes[:2], _NOW) == _NOW + 20


def test_the_next_window_is_the_first_that_opens_and_none_that_never_does() -> None:
    assert next_window([], _NOW) is None
    never, passed = float("inf"), _NOW
    assert next_window([_lane(1, shut_until={"encoding": never, "studio": passed})], _NOW) is None
    lanes = [
        _lane(1, shut_until={"encoding": _NOW + 60, "studio": never}),
        _lane(2, shut_until={"encoding": _NOW + 20}),
    ]
    assert next_window(lanes, _NOW) == _NOW + 20


def test_a_task_gets_its_own_site_and_the_current_one_if_it_is_on_it_or_on_none() -> None:
    both = frozenset({_HERE, _THERE})

    def chosen(*sites: SiteId, served: frozenset[SiteId] = both) -> SiteId | None:
        return site_of(sites, current=_HERE, served=served, with_managers=both)

    assert chosen() == chosen(_HERE) == chosen(_THERE, _HERE) == _HERE
    assert chosen(_THERE) == _THERE
    assert chosen(_THERE, _HERE, served=frozenset({_THERE})) == _THERE
    assert chosen(served=frozenset({_THERE})) is None
    assert chosen(SiteId(9)) is None
    assert site_of([_HERE, _THERE], current=_HERE, served=both, with_managers=frozenset({_THERE})) == _THERE


_BUSY = {"busy_since": _NOW - 0.1, "is_steady": True}
_NEXT = {**_BUSY, "takes_next": True}


def _tasks(assignments: list[Assignment]) -> dict[int, int]:
    return {each.manager: each.task for each in assignments}


def test_a_busy_manager_is_given_the_task_that_follows_once_all_free_ones_have_theirs() -> None:
    lanes = [_lane(1, **_NEXT), _lane(2, last_given=_NOW), _lane(3, **_BUSY)]
    assert _tasks(assign([_offer(number) for number in range(1, 6)], lanes, _NOW)) == {2: 1, 1: 2}


def test_a_manager_that_is_full_or_shut_is_given_no_task_that_follows() -> None:
    for values in (
        {"full_until": {TaskType.ENCODING: _NOW + 5}},
        {"paused": True},
        {"closed_until": _NOW + 5},
        {"shut_until": {TaskType.ENCODING: _NOW + 5}},
    ):
        assert assign([_offer(1)], [_lane(1, **_NEXT, **values)], _NOW) == []


def test_a_better_manager_is_waited_for_even_if_a_worse_one_could_take_the_task_that_follows() -> None:
    lanes = [_lane(1, priority=1, busy_since=_NOW - 0.1), _lane(2, priority=2, **_NEXT)]
    assert assign([_offer(1)], lanes, _NOW) == []


def test_tasks_are_read_for_managers_that_take_one_that_follows() -> None:
    assert capacity([_lane(1, **_BUSY)], _NOW) == {}
    assert capacity([_lane(1, **_NEXT)], _NOW).keys() == set(SUBMITTABLE)
    assert [lane.manager for lane in unserved([], [_lane(1, **_NEXT), _lane(2, **_BUSY)], _NOW)] == [1]


def _again(**values: object) -> Offer:
    """A task whose run came to nothing at manager 1, which stands before the other one."""
    return replace(_offer(7), lost_by=frozenset({ManagerId(1)}), **values)


def test_a_task_that_a_manager_lost_is_given_to_another_one_though_that_one_stands_behind() -> None:
    lanes = [_lane(1), _lane(2, priority=2)]
    assert assign([_again(), _offer(8)], lanes, _NOW) == [
        Assignment(TaskPk(7), ManagerId(2)),
        Assignment(TaskPk(8), ManagerId(1)),
    ]


def test_it_waits_for_the_answer_of_the_other_one_and_goes_back_where_that_one_has_no_room() -> None:
    answering = _lane(2, priority=2, busy_since=_NOW - 1)
    full = _lane(2, priority=2, full_until={TaskType.ENCODING: _NOW + 30})
    assert assign([_again()], [_lane(1), answering], _NOW) == []
    assert assign([_again()], [_lane(1), full], _NOW) == [Assignment(TaskPk(7), ManagerId(1))]
    assert assign([_again()], [_lane(1)], _NOW) == [Assignment(TaskPk(7), ManagerId(1))]


def test_a_manager_that_is_to_have_none_of_its_kept_tasks_is_asked_for_others() -> None:
    full = _lane(2, full_until=dict.fromkeys(TaskType, _NOW + 30))
    last = _again(others_until=_NOW + 1)
    assert [lane.manager for lane in unserved([last], [_lane(1), full], _NOW)] == [1]
    assert unserved([last], [_lane(1), full], _NOW + 1) == []
    assert [lane.manager for lane in unserved([_again()], [_lane(1), _lane(2)], _NOW)] == [1]


def test_all_managers_are_looked_at_once_for_tasks_that_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand tasks that one of a hundred managers had lost took a second of each look."""
    looked_at: list[ManagerId] = []
    can_take = Lane.can_take

    def counted(lane: Lane, offer: Offer, now: float) -> bool:
        looked_at.append(lane.manager)
        return can_take(lane, offer, now)

    monkeypatch.setattr(Lane, "can_take", counted)
    full = dict.fromkeys(TaskType, _NOW + 30)
    lanes = [_lane(1), *(_lane(number, full_until=full) for number in range(2, 50)), _lane(50, site=_THERE)]
    lost = [replace(_again(), task=TaskPk(number)) for number in range(200)]
    assert assign(lost, lanes, _NOW) == [Assignment(TaskPk(0), ManagerId(1))]
    assert [lane.manager for lane in unserved(lost, lanes, _NOW)] == [50]
    # Whether the one that is left can take it is asked for each.
    assert len([manager for manager in looked_at if manager != 50]) < 4 * len(lanes)


def test_its_last_run_waits_for_another_manager_that_works_and_for_no_other_one() -> None:
    last = _again(others_until=_NOW + 1)
    full = {TaskType.ENCODING: _NOW + 30}
    for other in (_lane(2, full_until=full), _lane(2, full_until=full, closed_until=_NOW + 30)):
        assert assign([last], [_lane(1), other], _NOW) == []
        assert assign([last], [_lane(1), other], _NOW + 1) == [Assignment(TaskPk(7), ManagerId(1))]
    for other in (
        _lane(2, paused=True),
        _lane(2, closed_until=_NOW + 61),
        _lane(2, shut_until={TaskType.ENCODING: _NOW + 30}),
        _lane(2, site=_THERE),
    ):
        assert assign([last], [_lane(1), other], _NOW) == [Assignment(TaskPk(7), ManagerId(1))]
    refusing = replace(last, refused_by=frozenset({ManagerId(2)}))
    assert assign([refusing], [_lane(1), _lane(2)], _NOW) == [Assignment(TaskPk(7), ManagerId(1))]
