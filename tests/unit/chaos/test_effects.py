"""What the fault campaign counts: what was caused, and what really happened."""

from dataclasses import replace
from pathlib import Path

from chaos.effects import Effect, effects, notes, spoilt_answers
from chaos.evidence import Evidence
from chaos.pod_rows import ImportRow
from chaos.timeline import Incident, Kind, Timeline
from tests.unit.chaos.good_end import line


def _effects(evidence: Evidence) -> dict[Kind, tuple[int, int]]:
    return {one.kind: (one.caused, one.happened) for one in effects(evidence) if one.caused or one.happened}


def test_every_kind_is_counted_and_none_has_happened_without_evidence() -> None:
    assert effects(Evidence(media_root=Path())) == [Effect(kind, 0, 0) for kind in Kind]


def test_what_was_caused_and_did_not_take_effect_is_told_apart() -> None:
    incidents = [
        Incident(Kind.LINK_CUT, "daemon A", 1.0, 2.0, happened=True),
        Incident(Kind.LINK_CUT, "daemon A", 3.0, 4.0),
    ]
    evidence = Evidence(media_root=Path(), timeline=Timeline(incidents))
    assert _effects(evidence) == {Kind.LINK_CUT: (2, 1)}


def test_spoilt_answers_count_when_a_request_met_them() -> None:
    orders = [
        Incident(kind, "manager one", 1.0, 1.0)
        for kind in (Kind.RATE_LIMIT, Kind.DOWNLOADS, Kind.STATUS_ANSWERS, Kind.RUNNER_DEATH)
    ]
    noted: list[dict[str, object]] = [
        {"what": "met", "endpoint": "execute", "kind": "status", "status": 429},
        {"what": "met", "endpoint": "execute", "kind": "cut", "status": None},
        {"what": "met", "endpoint": "file", "kind": "cut", "status": None},
        {"what": "met", "endpoint": "file", "kind": "cut", "status": None},
        {"what": "met", "endpoint": "slow", "kind": "slow", "status": None},
        {"what": "runner died", "id": "x"},
    ]
    evidence = Evidence(media_root=Path(), timeline=Timeline(orders), noted=noted)
    assert _effects(evidence) == {
        Kind.RATE_LIMIT: (1, 1),
        Kind.DOWNLOADS: (1, 2),
        Kind.STATUS_ANSWERS: (1, 0),
        Kind.RUNNER_DEATH: (1, 1),
        Kind.SUBMISSION_ANSWERS: (0, 1),
        Kind.MANAGER_SLOW: (0, 1),
    }
    assert spoilt_answers(evidence) == {
        "execute status 429": 1,
        "execute cut": 1,
        "file cut": 2,
        "slow slow": 1,
    }


def test_a_wrong_clock_counts_when_an_import_is_dated_by_it() -> None:
    steps = [
        Incident(Kind.CLOCK_STEP, "daemon A", 1.0, 1.0, "+90 s", happened=True),
        Incident(Kind.CLOCK_STEP, "daemon A", 2.0, 2.0, "-300 s", happened=True),
    ]
    imports = [ImportRow(1, "one", "a", 90.2), ImportRow(2, "one", "b", -0.1), ImportRow(3, "one", "c", None)]
    evidence = Evidence(media_root=Path(), timeline=Timeline(steps), imports=imports)
    assert _effects(evidence) == {Kind.CLOCK_STEP: (2, 1)}
    assert "imports committed under a wrong clock: 1" in notes(evidence)


def test_a_full_disk_is_counted_by_the_lines_of_those_that_met_it() -> None:
    full = Timeline([Incident(Kind.DISK_FULL, "disk", 100.0, 110.0, happened=True)])
    met = line("import.retried", 105.0, reason="There is no space left for x.mp4: No space left on device.")
    told = line("media.obstructed", 104.0, reason="0 bytes are free, less than imports.keep_free.")
    cut = line("import.retried", 106.0, reason="cut short")
    logs = {"daemon A": [told, met, replace(met, at=500.0)], "daemon B": [cut]}
    evidence = Evidence(media_root=Path(), timeline=full, logs=logs)
    assert "times that a daemon found no space on the disk: 2" in notes(evidence)


def test_a_fault_of_statements_has_happened_when_a_daemon_tells_of_it() -> None:
    incidents = [
        Incident(Kind.ROW_LOCKED, "task 7", 1.0, 9.0, "55P03"),
        Incident(Kind.ROW_LOCKED, "task 8", 1.0, 9.0, "55P03"),
        Incident(Kind.READ_ONLY, "database", 20.0, 29.0, "25006", happened=True),
        Incident(Kind.MIGRATION, "completion_track", 40.0, 49.0, "23502"),
        Incident(Kind.TABLE_REFUSED, "completion_track", 40.0, 49.0, "P0001", happened=True),
    ]
    lines = [
        line("row.locked", 5.0, task=7),
        line("row.locked", 99.0, task=8),
        line("import.retried", 45.0, reason="The tables have changed: not null violation (23502)."),
    ]
    evidence = Evidence(media_root=Path(), timeline=Timeline(incidents), logs={"daemon A": lines})
    assert _effects(evidence) == {
        Kind.ROW_LOCKED: (2, 1),
        Kind.READ_ONLY: (1, 0),
        Kind.MIGRATION: (1, 1),
        Kind.TABLE_REFUSED: (1, 1),
    }


def test_a_body_without_an_end_is_a_kind_of_its_own() -> None:
    met = {"what": "met", "endpoint": "file", "kind": "unended", "status": None}
    assert _effects(Evidence(media_root=Path(), noted=[met])) == {Kind.UNENDED_BODIES: (0, 1)}
