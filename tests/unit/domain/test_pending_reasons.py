"""Why a task is not moving: each cause in words, with what to do about it."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from poddispatchd.domain.breaker import BreakerState
from poddispatchd.domain.campaign_reasons import HeldCampaign, why_campaign
from poddispatchd.domain.manager_diagnosis import manager_findings
from poddispatchd.domain.pending_reasons import general_findings, why_task, why_type
from poddispatchd.domain.situation import (
    Backlog,
    Finding,
    ManagerView,
    Reason,
    Scheduling,
    Severity,
    Situation,
    WaitingTask,
    duration_words,
)
from poddispatchd.domain.task import ManagerId, SiteId, TaskPk, TaskType

NOW = datetime(2026, 3, 1, 17, 0, tzinfo=UTC)
HERE, THERE = SiteId(1), SiteId(2)
FREE = ManagerView(ManagerId(1), "first", HERE)
FULL = replace(
    FREE,
    full_since={TaskType.ENCODING: NOW - timedelta(minutes=50)},
    full_until={TaskType.ENCODING: NOW + timedelta(seconds=40)},
)
CALM = Situation(
    now=NOW,
    managers=(FREE,),
    sites={HERE: "pod.example.org", THERE: "other.example.org"},
    served={HERE, THERE},
)
TASK = WaitingTask(TaskPk(7), TaskType.ENCODING, HERE, rank=3, visible_at=NOW - timedelta(minutes=1))


def waiting(
    minutes: float = 1, *, running: int = 1, sites: frozenset[SiteId] | None = frozenset({HERE})
) -> Backlog:
    return Backlog(TaskType.ENCODING, 10, running, NOW - timedelta(minutes=minutes), sites)


def of_type(situation: Situation, backlog: Backlog | None = None) -> Finding:
    finding = why_type(backlog or waiting(), situation)
    assert finding is not None
    return finding


def test_a_type_of_which_none_waits_needs_no_reason() -> None:
    assert why_type(Backlog(TaskType.ENCODING, 0), CALM) is None


def test_with_a_free_runner_a_task_is_next() -> None:
    assert of_type(CALM).reason is Reason.NEXT
    assert why_task(replace(TASK, rank=1), CALM).words == "It is submitted next. It has place 1 in the queue."


def test_nobody_is_said_to_be_submitted_now_whose_source_may_not_be_there() -> None:
    """Beside the problem that a directory of the media tree is empty, all its tasks were "submitted now"."""
    bare = "/srv/media/videos is missing or empty: is it mounted?"
    situation = replace(CALM, source_problems=(bare,))

    assert of_type(situation).words == (
        f"A runner manager has room: those whose sources are there are submitted now. {bare}"
    )
    assert why_task(replace(TASK, rank=1), situation).words == (
        f"It is submitted next, if its source is there. It has place 1 in the queue. {bare}"
    )
    assert of_type(replace(situation, managers=(FULL,))) == of_type(replace(CALM, managers=(FULL,)))


def test_nobody_is_said_to_be_submitted_now_while_submitting_fails() -> None:
    """Beside the problem that the dispatcher fails, or each attempt with a task, all were "submitted now"."""
    failing = "The dispatcher fails, 4 times by now: Another database session holds a row or a table (55P03)."
    situation = replace(CALM, dispatch_problems=(failing,))

    assert of_type(situation).words == (
        f"A runner manager has room, and they are submitted as far as that does not fail. {failing}"
    )
    assert why_task(replace(TASK, rank=1), situation).words == (
        f"It is submitted next, if that does not fail. It has place 1 in the queue. {failing}"
    )
    assert of_type(replace(situation, managers=(FULL,))) == of_type(replace(CALM, managers=(FULL,)))

    both = replace(situation, source_problems=("A directory is bare.",))
    assert of_type(both).words.endswith(f"as far as that does not fail. {failing} A directory is bare.")
    assert why_task(replace(TASK, rank=1), both).words == (
        "It is submitted next, if its source is there and that does not fail. It has place 1 in the queue. "
        f"A directory is bare. {failing}"
    )


def test_full_managers_are_named_with_since_when_and_when_they_are_asked_again() -> None:
    finding = of_type(replace(CALM, managers=(FULL,)))

    assert (finding.reason, finding.severity) == (Reason.MANAGERS_FULL, Severity.NORMAL)
    assert finding.words == (
        "They wait for a free runner: first is full since 16:10:00 UTC, asked again at 17:00:40 UTC."
    )
    assert why_task(TASK, replace(CALM, managers=(FULL,))).words == (
        "It waits for a free runner: first is full since 16:10:00 UTC, asked again at 17:00:40 UTC."
        " It has place 3 in the queue."
    )


def test_a_manager_that_limits_our_rate_has_no_room_whatever_its_runners_do() -> None:
    """For a minute after a 429 its tasks were said to be submitted now."""
    limiting = replace(FREE, retry_at=NOW + timedelta(seconds=50))
    finding = of_type(replace(CALM, managers=(limiting,)))

    assert (finding.reason, finding.severity) == (Reason.MANAGERS_LIMIT, Severity.NORMAL)
    assert finding.words == (
        "They wait for a runner manager: first limits our rate of requests, asked again at 17:00:50 UTC."
    )
    assert why_task(TASK, replace(CALM, managers=(limiting,))).words.startswith(
        "It waits for a runner manager: first limits"
    )


def test_a_manager_that_has_got_as_many_tasks_as_it_takes_in_a_minute_is_named_beside_a_full_one() -> None:
    paced = replace(FREE, name="second", paced_until=NOW + timedelta(seconds=2))

    assert of_type(replace(CALM, managers=(FULL, paced))).words == (
        "They wait for a free runner: first is full since 16:10:00 UTC, asked again at 17:00:40 UTC; "
        "second has got as many as runners.submissions_per_minute allows, the next one at 17:00:02 UTC."
    )
    assert of_type(replace(CALM, managers=(FREE, paced))).reason is Reason.NEXT


def test_a_manager_full_for_another_type_takes_this_one() -> None:
    full = replace(FREE, full_until={TaskType.TRANSCRIPTION: NOW + timedelta(seconds=40)})
    assert of_type(replace(CALM, managers=(full,))).reason is Reason.NEXT


def test_a_queue_that_waits_for_long_behind_full_managers_is_mentioned() -> None:
    """Ten tasks waited for hours under "All is well."."""
    finding = of_type(replace(CALM, managers=(FULL,)), waiting(minutes=45))

    assert finding.severity is Severity.NOTICE
    assert finding.words.endswith("The oldest has been waiting for 45 min.")


def test_a_type_that_stands_still_is_a_problem() -> None:
    finding = of_type(replace(CALM, managers=(FULL,)), waiting(minutes=150, running=0))

    assert finding.severity is Severity.PROBLEM
    assert "None runs, and the oldest has been waiting for 2 h 30 min." in finding.words
    assert "poddispatchd runners list" in finding.remedy


def test_a_long_queue_that_moves_is_none() -> None:
    assert of_type(replace(CALM, managers=(FULL,)), waiting(minutes=600)).severity is Severity.NOTICE


def test_paused_managers_are_resumed_and_not_added() -> None:
    """All managers paused read "add one in Pod's administration"."""
    finding = of_type(replace(CALM, managers=(replace(FREE, is_paused=True),)))

    assert (finding.reason, finding.severity) == (Reason.MANAGERS_PAUSED, Severity.PROBLEM)
    assert finding.sentence == (
        "Every active runner manager of pod.example.org is paused (first). "
        "Resume one: 'poddispatchd runners resume first'."
    )


@pytest.mark.parametrize(
    ("managers", "reason", "words"),
    [
        ((), Reason.NO_MANAGER, "There is no runner manager. Add one in Pod's administration."),
        (
            (replace(FREE, site=THERE),),
            Reason.NO_MANAGER_FOR_SITE,
            "No runner manager belongs to pod.example.org. Add one for it in Pod's administration.",
        ),
        (
            (replace(FREE, is_active=False),),
            Reason.MANAGERS_INACTIVE,
            "Every runner manager of pod.example.org is inactive (first). "
            "Activate one in Pod's administration.",
        ),
        (
            (
                replace(
                    FREE,
                    state=BreakerState.OPEN,
                    error="It cannot be reached.",
                    retry_at=NOW + timedelta(minutes=2),
                ),
                replace(FREE, name="second", state=BreakerState.MISCONFIGURED, error="401"),
            ),
            Reason.MANAGERS_DOWN,
            "No runner manager of pod.example.org can be used: first is down (It cannot be reached), "
            "asked again at 17:02:00 UTC; second is misconfigured (401). "
            "See to it that it runs and can be reached: 'poddispatchd runners test'.",
        ),
        (
            (replace(FREE, state=BreakerState.MISCONFIGURED, error="Its token is wrong."),),
            Reason.MANAGERS_MISCONFIGURED,
            "No runner manager of pod.example.org can be used: first is misconfigured (Its token is wrong). "
            "Mend what is told of it; whether it is well then tells 'poddispatchd runners test'.",
        ),
    ],
)
def test_managers_that_take_nothing_are_told_of_with_the_remedy(
    managers: tuple[ManagerView, ...], reason: Reason, words: str
) -> None:
    for finding in (
        of_type(replace(CALM, managers=managers)),
        why_task(replace(TASK, rank=None), replace(CALM, managers=managers)),
    ):
        assert (finding.reason, finding.severity, finding.sentence) == (reason, Severity.PROBLEM, words)


def test_one_that_is_paused_is_named_beside_those_that_do_not_work() -> None:
    """Somebody was sent to a machine that is down, while a sound one had only to be resumed."""
    down = replace(FREE, name="second", state=BreakerState.OPEN, error="It cannot be reached.")
    paused = replace(FREE, is_paused=True, pause_reason="new disks")

    assert of_type(replace(CALM, managers=(paused, down))).sentence == (
        "No runner manager of pod.example.org can be used: second is down (It cannot be reached); first is "
        "paused: new disks. See to it that it runs and can be reached: 'poddispatchd runners test'. Or "
        "resume first: 'poddispatchd runners resume first'."
    )


def test_a_site_without_a_manager_is_told_of_though_another_one_has_one() -> None:
    finding = of_type(CALM, waiting(sites=frozenset({HERE, THERE})))

    assert finding.reason is Reason.NO_MANAGER_FOR_SITE
    assert finding.words == "No runner manager belongs to other.example.org."


def test_full_and_down_managers_are_told_apart() -> None:
    down = replace(FREE, name="second", state=BreakerState.OPEN, error="gone")
    assert of_type(replace(CALM, managers=(FULL, down))).words.endswith("; second is down.")


def test_a_lost_database_is_not_another_daemon() -> None:
    lost = replace(CALM, database_problem="No server answers.", scheduling=Scheduling.ANOTHER)

    assert [found.reason for found in general_findings(lost)] == [Reason.DATABASE_AWAY]
    assert of_type(lost).words == "The database is away, so nothing is scheduled: No server answers."
    assert why_task(TASK, lost).reason is Reason.DATABASE_AWAY


def test_a_database_that_takes_nothing_is_not_told_as_one_that_is_away_nor_as_a_free_runner() -> None:
    """``status`` once said that tasks are submitted now, below the words that nothing can be written."""
    refusing = replace(CALM, write_problem="The submission fails, 4 times by now.")
    assert of_type(refusing).words == (
        "The database does not take what is written, so nothing is scheduled: "
        "The submission fails, 4 times by now."
    )
    task = replace(TASK, source_problem="The source file does not exist.")
    assert why_task(task, refusing).reason is Reason.DATABASE_REFUSES


def test_who_schedules_is_told() -> None:
    another = replace(CALM, scheduling=Scheduling.ANOTHER, scheduler="pod2:1234")

    assert of_type(another).words == "Another daemon schedules (pod2:1234): its status says why they wait."
    assert of_type(replace(CALM, scheduling=Scheduling.NOBODY)).reason is Reason.NOBODY_SCHEDULES
    assert of_type(replace(CALM, scheduling=Scheduling.SHADOW)).reason is Reason.SHADOW


def test_between_single_passes_a_task_waits_for_the_next_one_and_for_what_keeps_it_from_that() -> None:
    """Where CRON runs `once` it was told as a problem that nobody schedules."""
    at = NOW - timedelta(minutes=4)
    between = replace(CALM, scheduling=Scheduling.PASSES, scheduled_at=at)
    words = (
        " by the next pass of 'poddispatchd once': no daemon runs now, and the last one, or the last pass, "
        "began at 16:56:00 UTC."
    )
    found = [of_type(between), why_task(TASK, between)]
    assert [finding.words for finding in found] == [
        f"They are submitted{words}",
        f"It is submitted{words} It has place 3 in the queue.",
    ]
    assert {finding.severity for finding in found} == {Severity.NOTICE}
    assert why_task(TASK, replace(between, managers=(FULL,))).reason is Reason.MANAGERS_FULL
    assert general_findings(between) == []


def test_a_media_tree_that_cannot_be_used_comes_before_the_managers() -> None:
    assert of_type(replace(CALM, media_problem="Nothing is mounted there.")).reason is Reason.MEDIA_NOT_USABLE


@pytest.mark.parametrize(
    ("task", "reason", "words"),
    [
        (
            replace(TASK, locked_by="psql of pod (pid 12), since 16:55"),
            Reason.ROW_LOCKED,
            "Its row is locked by psql of pod (pid 12), since 16:55: nothing can be written to it. "
            "End that transaction.",
        ),
        (
            replace(TASK, source_problem="Its source videos/a.mp4 does not exist."),
            Reason.SOURCE_MISSING,
            "Its source videos/a.mp4 does not exist.",
        ),
        (
            replace(TASK, site=None, site_names=("third.example.org",)),
            Reason.SITE_NOT_SERVED,
            "It belongs to third.example.org, which is not served here (dispatch.sites). "
            "Add the site to dispatch.sites, or let a daemon that serves it run.",
        ),
        (
            replace(TASK, behind=TaskPk(5), behind_runs=True),
            Reason.SAME_SOURCE_RUNS,
            "Task 5 works on the same source: this one ends with it. "
            "If that one hangs: 'poddispatchd tasks cancel 5'.",
        ),
        (
            replace(TASK, behind=TaskPk(5)),
            Reason.SAME_SOURCE_WAITS,
            "Task 5 waits for the same source and stands first: this one ends with it.",
        ),
        (
            replace(TASK, waits_until=NOW + timedelta(minutes=1)),
            Reason.RETRY_WAIT,
            "It was put back into the queue, and waits until 17:01:00 UTC before it is tried again.",
        ),
        (
            replace(TASK, visible_at=NOW - timedelta(seconds=10), grace=30),
            Reason.GRACE,
            "It is new: until 17:00:20 UTC Pod itself may submit it (dispatch.grace).",
        ),
    ],
)
def test_what_concerns_one_task_is_told_before_its_managers(
    task: WaitingTask, reason: Reason, words: str
) -> None:
    finding = why_task(task, replace(CALM, managers=(FULL,)))

    assert (finding.reason, finding.sentence) == (reason, words)


def test_a_last_run_that_is_kept_for_another_manager_says_so() -> None:
    """The one that lost the others has room."""
    task = replace(TASK, lost_by=frozenset({ManagerId(1)}), is_last_run=True)
    full = replace(FULL, id=ManagerId(2), name="second")
    both = replace(CALM, managers=(FREE, full))

    assert why_task(task, both).sentence == (
        "Its runs at first came to nothing: the last one is kept until another runner manager has room, for "
        "an hour at most."
    )
    assert why_task(replace(task, is_last_run=False), both).reason is Reason.NEXT
    assert why_task(task, CALM).reason is Reason.NEXT
    assert (
        why_task(task, replace(both, managers=(FREE, replace(FREE, id=ManagerId(2))))).reason is Reason.NEXT
    )


def test_waits_that_are_over_keep_nothing() -> None:
    task = replace(TASK, rank=1, waits_until=NOW - timedelta(seconds=1), grace=30)
    assert why_task(task, CALM).reason is Reason.NEXT


def test_one_of_several_managers_that_does_not_work_is_a_finding_of_its_own() -> None:
    managers = (
        FREE,
        replace(FREE, name="second", state=BreakerState.OPEN, error="It cannot be reached."),
        replace(FREE, name="third", is_paused=True),
        replace(FREE, name="fourth", is_active=False, error="old"),
    )
    found = manager_findings(replace(CALM, managers=managers))

    assert [(item.severity, item.words) for item in found] == [
        (Severity.PROBLEM, "Runner manager second is down: It cannot be reached."),
        (Severity.NOTICE, "Runner manager third is paused."),
    ]


def test_what_is_wrong_with_managers_behind_an_inactive_one_is_told_with_its_reason() -> None:
    managers = (
        replace(FREE, name="retired", is_active=False),
        replace(FREE, name="second", state=BreakerState.MISCONFIGURED, error="Its token is wrong."),
        replace(FREE, name="third", state=BreakerState.OPEN, error="It cannot be reached."),
        replace(FREE, name="fourth", is_paused=True),
    )

    assert [
        (item.reason, item.severity, item.words)
        for item in manager_findings(replace(CALM, managers=managers))
    ] == [
        (
            Reason.MANAGERS_MISCONFIGURED,
            Severity.PROBLEM,
            "Runner manager second is misconfigured: Its token is wrong.",
        ),
        (Reason.MANAGERS_DOWN, Severity.PROBLEM, "Runner manager third is down: It cannot be reached."),
        (Reason.MANAGERS_PAUSED, Severity.NOTICE, "Runner manager fourth is paused."),
    ]


def test_of_many_managers_four_are_named_and_the_others_counted() -> None:
    full = tuple(replace(FULL, name=f"full{number}", full_since={}, full_until={TaskType.ENCODING: NOW})
                 for number in range(7))  # fmt: skip
    paced = tuple(replace(FREE, name=f"paced{number}", paced_until=NOW) for number in range(5))
    words = of_type(replace(CALM, managers=full + paced)).words

    assert "full3 is full, asked again at 17:00:00 UTC; paced0 has got" in words
    assert words.endswith("; 3 more are full; 1 more wait.")
    names = "first0, first1, first2, first3"
    for number, told in ((4, f"({names})."), (6, f"({names} and 2 more).")):
        resting = tuple(replace(FREE, name=f"first{each}", is_paused=True) for each in range(number))
        assert of_type(replace(CALM, managers=resting)).words.endswith(told)


def test_the_sites_of_tasks_are_named_one_that_has_no_name_by_its_number_and_all_as_this_pod() -> None:
    resting = tuple(replace(FREE, site=SiteId(site), is_paused=True) for site in (1, 2, 3))
    situation = replace(CALM, managers=resting, sites={HERE: "pod.example.org", THERE: "b", SiteId(4): "d"})

    for sites, place in (({1, 3}, "pod.example.org and site 3"), ({1, 2, 3}, "this Pod")):
        words = of_type(situation, waiting(sites=frozenset(map(SiteId, sites)))).words
        assert words == f"Every active runner manager of {place} is paused (first)."


def test_a_manager_is_named_once_in_a_sentence_and_quoted_in_a_command() -> None:
    away = replace(
        FREE,
        name="salle d'examen",
        state=BreakerState.OPEN,
        error="""Runner manager "salle d'examen" cannot be reached: connection refused (10.0.0.3:80).""",
    )
    resting = replace(FREE, name="salle d'examen", is_paused=True)
    found = manager_findings(replace(CALM, managers=(away, resting)))

    assert [item.sentence for item in found] == [
        "Runner manager salle d'examen is down: it cannot be reached: connection refused (10.0.0.3:80). "
        """See to it that it runs and can be reached: poddispatchd runners test 'salle d'"'"'examen'.""",
        "Runner manager salle d'examen is paused. "
        """To give it tasks again: poddispatchd runners resume 'salle d'"'"'examen'.""",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0 s"), (59, "59 s"), (61, "1 min"), (3600, "1 h 00 min"), (90_000, "1 d 1 h")],
)
def test_a_length_of_time_is_short_and_plain(seconds: int, words: str) -> None:
    assert duration_words(timedelta(seconds=seconds)) == words


def test_a_moment_of_another_day_carries_its_date_and_zone() -> None:
    assert CALM.clock(NOW + timedelta(days=1)) == "2026-03-02 17:00 UTC"


# --- windows and planned pauses ---------------------------------------------------------------------------

NIGHT = replace(FREE, opens_at={TaskType.ENCODING: NOW + timedelta(hours=3)})


def test_what_waits_for_its_window_is_told_when_it_opens_and_that_is_no_problem() -> None:
    waits = waiting(minutes=60 * 13, running=0)
    finding = of_type(replace(CALM, managers=(NIGHT,)), waits)

    assert (finding.reason, finding.severity) == (Reason.WINDOW_CLOSED, Severity.NORMAL)
    assert finding.words == "They wait for their window, which opens at 20:00:00 UTC (in 3 h 00 min)."
    assert why_task(TASK, replace(CALM, managers=(NIGHT,))).words == (
        "It waits for its window, which opens at 20:00:00 UTC (in 3 h 00 min). It has place 3 in the queue."
    )


def test_of_several_managers_the_window_that_opens_first_is_told() -> None:
    later = replace(NIGHT, name="later", opens_at={TaskType.ENCODING: NOW + timedelta(days=1)})

    assert "20:00:00" in of_type(replace(CALM, managers=(later, NIGHT))).words


def test_a_manager_outside_its_window_is_named_beside_the_full_ones() -> None:
    finding = of_type(replace(CALM, managers=(FULL, replace(NIGHT, name="gpu"))))

    assert finding.words.endswith("asked again at 17:00:40 UTC; gpu is outside its window.")


def test_windows_that_are_never_open_are_a_problem() -> None:
    finding = of_type(replace(CALM, managers=(replace(FREE, opens_at={TaskType.ENCODING: None}),)))

    assert (finding.reason, finding.severity) == (Reason.WINDOW_NEVER_OPEN, Severity.PROBLEM)
    assert finding.words.endswith("is ever open at a runner manager of pod.example.org.")


def test_a_wait_from_before_the_window_opened_is_no_standstill() -> None:
    """Transcriptions that came in the morning were a problem for the first seconds of the night."""
    opened = replace(CALM, managers=(FULL,), opened_at={TaskType.ENCODING: NOW - timedelta(minutes=5)})

    assert of_type(opened, waiting(minutes=60 * 13, running=0)).severity is Severity.NORMAL


def test_planned_maintenance_tells_until_when_and_why() -> None:
    paused = replace(
        FREE, is_paused=True, paused_until=NOW + timedelta(minutes=90), pause_reason="new disks."
    )

    assert [finding.words for finding in manager_findings(replace(CALM, managers=(paused,)))] == [
        "Runner manager first is paused until 18:30:00 UTC (in 1 h 30 min): new disks."
    ]
    finding = of_type(replace(CALM, managers=(paused,)))
    assert (finding.reason, finding.severity) == (Reason.MANAGERS_PAUSED, Severity.NOTICE)
    assert finding.words == (
        "Every active runner manager of pod.example.org is paused (first). "
        "The first pause ends at 18:30:00 UTC (in 1 h 30 min)."
    )


def test_a_campaign_that_adds_no_task_says_why() -> None:
    """It stood at 0 % with three videos waiting, and said nothing else."""

    def why(situation: Situation, *, running: int = 0, pending: int = 0) -> str | None:
        return why_campaign(HeldCampaign(TaskType.ENCODING, running, 2, pending), situation)

    assert why(CALM) is None
    assert why(CALM, running=2) == "It has as many tasks as it may have at a time."
    assert why(CALM, pending=1) == "Tasks wait in Pod's queue, and go first."
    assert why(replace(CALM, managers=(FULL,)), pending=1) == (
        "It waits for a free runner: first is full since 16:10:00 UTC, asked again at 17:00:40 UTC."
    )
    assert (why(replace(CALM, scheduling=Scheduling.NOBODY)) or "").startswith("Nobody schedules:")
    paused = why(replace(CALM, managers=(replace(FREE, is_paused=True),)))
    assert paused is not None
    assert "paused (first)" in paused
    assert "'poddispatchd runners resume first'" in paused
