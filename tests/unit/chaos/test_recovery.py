"""Recovery times of the fault campaign: read from logs, undisturbed, and held to their limits."""

from pathlib import Path

from chaos.evidence import Evidence
from chaos.logs import Line
from chaos.pod_rows import Row
from chaos.recovery import Recovery, late, recoveries
from chaos.timeline import Incident, Kind, Timeline
from tests.unit.chaos.good_end import line, row


def _found(
    incidents: list[Incident],
    logs: dict[str, list[Line]],
    *,
    rows: tuple[Row, ...] = (),
    swallowed: dict[str, float] | None = None,
) -> dict[str, tuple[float, ...]]:
    for incident in incidents:
        incident.happened = True
    evidence = Evidence(
        media_root=Path(),
        logs={"daemon A": [], "daemon B": [], **logs},
        timeline=Timeline(incidents),
        rows={one.pk: one for one in rows},
    )
    return {one.name: one.seconds for one in recoveries(evidence, swallowed or {}) if one.seconds}


def test_a_dead_leader_is_followed_by_another_one() -> None:
    found = _found(
        [Incident(Kind.LEADER_KILL, "daemon A", 100.0, 112.0)],
        {
            "daemon A": [line("leader.acquired", 50.0), line("daemon.ready", 113.5)],
            "daemon B": [line("leader.acquired", 107.0)],
        },
    )
    assert found == {
        "dead leader: another one schedules": (7.0,),
        "daemon kill: ready after its start": (1.5,),
    }


def test_a_restarted_database_is_taken_up_by_each_daemon() -> None:
    found = _found(
        [Incident(Kind.DATABASE_RESTART, "database", 100.0, 103.0)],
        {
            "daemon A": [line("database.down", 100.1), line("database.up", 104.0)],
            "daemon B": [line("database.down", 104.5), line("database.up", 106.0)],
        },
    )
    assert found == {"database restart: taken up again": (1.0, 3.0)}


def test_a_restart_that_a_pooler_hides_is_not_taken_for_one_that_took_long() -> None:
    """The daemon lost the database later, by something else."""
    found = _found(
        [Incident(Kind.DATABASE_RESTART, "database", 100.0, 100.3)],
        {"daemon A": [line("database.down", 111.0), line("database.up", 123.0)]},
    )
    assert not found


def test_a_killed_pooler_is_taken_up_by_each_daemon() -> None:
    found = _found(
        [Incident(Kind.POOLER_KILL, "pooler", 100.0, 103.0)],
        {
            "daemon A": [line("database.down", 100.1), line("database.up", 103.5)],
            "daemon B": [line("database.down", 100.2), line("database.up", 104.0)],
        },
    )
    assert found == {"pooler kill: taken up again": (0.5, 1.0)}


def test_a_half_open_link_is_found_out_and_left_and_the_leader_replaced() -> None:
    found = _found(
        [Incident(Kind.LINK_HALF_OPEN, "daemon A", 100.0, 125.0)],
        {
            "daemon A": [
                line("leader.acquired", 20.0),
                line("database.down", 110.0),
                line("database.up", 111.0),
                line("leader.acquired", 112.0),
            ]
        },
    )
    assert found == {
        "half-open link: found out": (10.0,),
        "half-open link: works again": (11.0,),
        "leader cut off: somebody schedules": (12.0,),
    }


def test_a_lost_callback_is_made_up_for_and_other_faults_are_told_apart() -> None:
    found = _found(
        [Incident(Kind.MANAGER_PAUSE, "manager one", 205.0, 207.0)],
        {"daemon A": [line("task.completed", 106.0, task=1), line("task.completed", 209.0, task=2)]},
        rows=(row(1, "encoding", "completed", "calm"), row(2, "encoding", "completed", "wild")),
        swallowed={"calm": 100.0, "wild": 200.0, "unknown": 300.0},
    )
    assert found == {
        "lost callback: task completed": (6.0,),
        "lost callback, other faults meanwhile": (9.0,),
    }


def test_a_recovery_that_something_else_disturbed_does_not_count() -> None:
    disturbed = [
        Incident(Kind.LEADER_KILL, "daemon A", 100.0, 101.0),
        Incident(Kind.DATABASE_RESTART, "database", 103.0, 104.0),
    ]
    assert not _found(disturbed, {"daemon B": [line("leader.acquired", 109.0)]})


def test_a_recovery_beyond_its_limit_is_a_violation() -> None:
    [found] = late([Recovery("take-over", (3.0, 10.5), limit=10.0), Recovery("other", (99.0,))])
    assert found.rule == "late"
    assert "10.5 s" in found.words
