"""The judge of the fault campaign fails where it must: one thing spoilt at a time, and its rule says so."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest

from chaos.evidence import Evidence
from chaos.history import Change
from chaos.logs import read
from chaos.oracle import judge
from chaos.pod_rows import ImportRow, OpenRow, Row
from chaos.scenarios import Scenario
from chaos.timeline import OF_STATEMENTS, OF_THE_DATABASE, Incident, Kind, Timeline
from poddispatchd.errors import SessionEndedError
from tests.unit.chaos.good_end import (
    BEGIN,
    ENCODING,
    FAILED,
    STUDIO,
    TIMED_OUT,
    TRANSCRIPTION,
    TWIN,
    good_end,
    line,
    run,
)

Spoil: TypeAlias = Callable[[Evidence], Evidence]


def _rules(evidence: Evidence) -> set[tuple[str, int | None]]:
    return {(found.rule, found.task) for found in judge(evidence)}


def _row(pk: int, **changes: object) -> Spoil:
    def spoil(evidence: Evidence) -> Evidence:
        changed: Row = replace(evidence.rows[pk], **changes)  # type: ignore[arg-type]  # a column and its value
        return replace(evidence, rows={**evidence.rows, pk: changed})

    return spoil


def _run(task_id: str, **changes: object) -> Spoil:
    def spoil(evidence: Evidence) -> Evidence:
        changed = replace(evidence.runs["one", task_id], **changes)  # type: ignore[arg-type]  # a field and its value
        return replace(evidence, runs={**evidence.runs, ("one", task_id): changed})

    return spoil


def _video(pk: int, **changes: object) -> Spoil:
    def spoil(evidence: Evidence) -> Evidence:
        changed = replace(evidence.videos[pk], **changes)  # type: ignore[arg-type]  # a column and its value
        return replace(evidence, videos={**evidence.videos, pk: changed})

    return spoil


def _logged(*lines: object) -> Spoil:
    return lambda evidence: replace(
        evidence,
        logs={"daemon A": [*evidence.logs["daemon A"], *lines]},  # type: ignore[list-item]  # lines of the log
    )


def _file(path: str, content: bytes | None) -> Spoil:
    def spoil(evidence: Evidence) -> Evidence:
        target = evidence.media_root / path
        if content is None:
            target.unlink()
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return evidence

    return spoil


def _second_video_of_the_recording(evidence: Evidence) -> Evidence:
    return replace(evidence, videos={**evidence.videos, 9: replace(evidence.videos[3], id=9)})


def _second_run_meanwhile(evidence: Evidence) -> Evidence:
    other = replace(run("x", "encoding", "videos/o/lecture.mp4"), at=BEGIN + 1, manager="two")
    return replace(evidence, runs={**evidence.runs, ("two", "x"): other})


def test_an_end_without_fault_is_found_without_fault(tmp_path: Path) -> None:
    assert not judge(good_end(tmp_path))


@pytest.mark.parametrize(
    ("spoil", "rule", "task"),
    [
        pytest.param(lambda one: replace(one, tasks=[*one.tasks, 77]), "lost", 77, id="a row is gone"),
        pytest.param(
            lambda one: replace(one, videos={pk: video for pk, video in one.videos.items() if pk != 2}),
            "lost",
            TRANSCRIPTION,
            id="a video is gone",
        ),
        pytest.param(_row(ENCODING, status="running"), "stuck", ENCODING, id="still running"),
        pytest.param(_row(ENCODING, status="pending"), "stuck", ENCODING, id="still pending"),
        pytest.param(_row(FAILED, rank=3), "stuck", FAILED, id="still in the queue"),
        pytest.param(_row(ENCODING, task_id="none"), "untrue", ENCODING, id="completed by nobody's run"),
        pytest.param(
            _run("e", changes=[Change(BEGIN + 5, "failed")], scenario=Scenario.BAD_MEDIA),
            "untrue",
            ENCODING,
            id="completed, the run failed",
        ),
        pytest.param(
            _run("e", scenario=Scenario.PARTIAL), "untrue", ENCODING, id="completed with a partial tree"
        ),
        pytest.param(
            _run("f", changes=[Change(BEGIN + 5, "completed")], scenario=Scenario.FINE),
            "untrue",
            FAILED,
            id="failed, the result is good",
        ),
        pytest.param(
            _run("f", scenario=Scenario.HOST_CRASHED), "untrue", FAILED, id="failed, attempts were left"
        ),
        pytest.param(_row(TWIN, status="failed"), "untrue", TWIN, id="failed, its duplicate is completed"),
        pytest.param(
            _run("o", changes=[Change(BEGIN + 5, "failed")]), "untrue", TIMED_OUT, id="no run timed out"
        ),
        pytest.param(
            lambda one: _row(FAILED, output="Bearer of-the-token")(replace(one, secrets=["of-the-token"])),
            "secret",
            FAILED,
            id="a token in the output",
        ),
        pytest.param(
            lambda one: _logged(line("task.failed", 1.0, words="of-the-token"))(
                replace(one, secrets=["of-the-token"])
            ),
            "secret",
            None,
            id="a token in a log",
        ),
        pytest.param(
            lambda one: replace(
                one, secrets=["of-the-token"], texts=[("the step of video 1", "of-the-token")]
            ),
            "secret",
            None,
            id="a token in a text of Pod's",
        ),
        pytest.param(
            lambda one: _file("videos/o/0001/encoding.log", b"... of-the-token")(
                replace(one, secrets=["of-the-token"])
            ),
            "secret",
            None,
            id="a token in a file",
        ),
        pytest.param(_row(FAILED, output=" \n"), "wordless", FAILED, id="failed without a word"),
        pytest.param(_video(1, images=2), "twice", ENCODING, id="two thumbnails"),
        pytest.param(_video(1, sounds=[]), "twice", ENCODING, id="a row too few"),
        pytest.param(_video(4, films=["x"]), "twice", FAILED, id="rows of a failure"),
        pytest.param(_video(2, tracks=2), "twice", TRANSCRIPTION, id="two tracks"),
        pytest.param(_video(2, files=2), "twice", TRANSCRIPTION, id="two files of subtitles"),
        pytest.param(_second_video_of_the_recording, "twice", STUDIO, id="two videos of a recording"),
        pytest.param(_row(STUDIO, title="Another"), "twice", STUDIO, id="no video of a recording"),
        pytest.param(
            lambda one: replace(one, imports=[*one.imports, ImportRow(TWIN, "one", "e")]),
            "twice",
            ENCODING,
            id="a result committed twice",
        ),
        pytest.param(
            _logged(line("task.completed", 1020.0, task=ENCODING)), "twice", ENCODING, id="completed twice"
        ),
        pytest.param(_second_run_meanwhile, "double", ENCODING, id="two runs at once"),
        pytest.param(
            _logged(line("service.crashed", 1020.0, level="error", task=ENCODING)),
            "log",
            ENCODING,
            id="an error without a cause",
        ),
        pytest.param(
            _logged(line("database.down", 1020.0, level="error")), "log", None, id="a database that was up"
        ),
        pytest.param(
            lambda one: replace(one, surprises=["daemon A ended by itself"]), "process", None, id="a process"
        ),
        pytest.param(_file("videos/o/lecture.mp4", None), "files", None, id="a named file is gone"),
        pytest.param(_file("files/o/talk.vtt", b""), "files", None, id="a named file is empty"),
        pytest.param(_file("videos/o/0001/overview.png", b"x"), "files", ENCODING, id="other bytes"),
        pytest.param(_file("videos/o/studio.mp4", b"x"), "files", STUDIO, id="another film of a recording"),
        pytest.param(_file("videos/o/0001/360p_lecture.ts", None), "files", ENCODING, id="a file too few"),
        pytest.param(_file("videos/o/0004/left.mp4", b"x"), "files", None, id="an orphan"),
        pytest.param(_file("left.mp4", b"x"), "files", None, id="an orphan at the top"),
        pytest.param(
            _file("videos/o/.poddispatchd-1/left.mp4", b"x"), "files", None, id="a staging directory"
        ),
    ],
)
def test_what_must_not_be_is_reported(tmp_path: Path, spoil: Spoil, rule: str, task: int | None) -> None:
    assert (rule, task) in _rules(spoil(good_end(tmp_path)))


@pytest.mark.parametrize(
    "table",
    ["submission", "callback", "import", "import_file", "obsolete_file", "sighting", "notice", "delivery"],
)
def test_an_open_row_of_the_journal_is_reported(tmp_path: Path, table: str) -> None:
    [found] = judge(replace(good_end(tmp_path), open_rows=[OpenRow(table, ENCODING, "why")]))
    assert (found.rule, found.task) == ("journal", ENCODING)
    assert table in found.words


def test_what_is_no_log_line_is_reported(tmp_path: Path) -> None:
    log = tmp_path / "daemon.log"
    log.write_text('Traceback (most recent call last):\n{"cut short by a kill', encoding="utf-8")
    evidence = replace(good_end(tmp_path / "media"), logs={"daemon A": read(log)})
    [found] = [found for found in judge(evidence) if found.rule == "log"]
    assert "Traceback" in found.words


def test_an_error_with_its_cause_is_none(tmp_path: Path) -> None:
    lines = [
        line("database.down", 1020.0, level="error"),
        line("config.invalid", 1021.0, level="error"),
        line("task.failed", 1022.0, level="error", task=FAILED),
        line("import.failed", 1023.0, level="error", task=ENCODING),
        line("media.obstructed", 1024.0, level="error"),
    ]
    causes = [
        Incident(Kind.LINK_CUT, "daemon A", 1015.0, 1019.0),
        Incident(Kind.DAEMON_BAD_RELOAD, "daemon A", 1020.5, 1021.5),
        Incident(Kind.DISK_FULL, "disk", 1020.0, 1025.0),
    ]
    met = {"what": "met", "endpoint": "file", "kind": "cut", "at": 1022.5, "manager": "one"}
    evidence = _logged(*lines)(good_end(tmp_path))
    assert not judge(replace(evidence, timeline=Timeline(causes), noted=[met]))
    others = replace(evidence, timeline=Timeline([replace(one, target="daemon B") for one in causes[:2]]))
    assert {"database.down", "config.invalid", "import.failed", "media.obstructed"} == {
        found.words.split()[2] for found in judge(others)
    }


@pytest.mark.parametrize("event", ["service.failed", "service.crashed"])
@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (Kind.ROW_LOCKED, "55P03"),
        (Kind.ROW_REFUSED, "P0001"),
        (Kind.TABLE_REFUSED, "53100"),
        (Kind.READ_ONLY, "25006"),
        (Kind.MIGRATION, "23502"),
    ],
)
def test_a_refused_statement_explains_errors_that_name_its_code(
    tmp_path: Path, event: str, kind: Kind, code: str
) -> None:
    told = line(event, 1020.0, level="error", reason=f"The database refused a statement ({code}).")
    evidence = _logged(told)(good_end(tmp_path))
    cause = Incident(kind, "somebody", 1010.0, 1019.0, code)
    assert _rules(evidence) == {("log", None)}
    assert not judge(replace(evidence, timeline=Timeline([cause])))
    assert judge(replace(evidence, timeline=Timeline([replace(cause, detail="XX000")])))
    assert judge(replace(evidence, timeline=Timeline([replace(cause, begin=1.0, end=2.0)])))


@pytest.mark.parametrize(("kind", "is_explained"), [(Kind.READ_ONLY, True), (Kind.ROW_REFUSED, False)])
def test_a_session_that_a_pooler_keeps_is_met_long_after_it_could_only_read(
    tmp_path: Path, kind: Kind, is_explained: bool
) -> None:
    told = line("service.failed", 1400.0, level="error", reason="It is read-only (25006).")
    cause = Incident(kind, "database", 1010.0, 1019.0, "25006")
    evidence = replace(_logged(told)(good_end(tmp_path)), timeline=Timeline([cause]))
    assert (not judge(evidence)) is is_explained


@pytest.mark.parametrize(
    "reason", [str(SessionEndedError()), "The database cannot be reached: no answer in time."]
)
def test_an_item_that_meets_several_faults_of_the_database_is_explained_by_them(
    tmp_path: Path, reason: str
) -> None:
    told = line("service.failed", 1020.0, level="error", reason=reason)
    evidence = _logged(told)(good_end(tmp_path))
    cause = Incident(OF_THE_DATABASE[0], "database", 1010.0, 1019.0, "")
    assert _rules(evidence) == {("log", None)}
    assert not judge(replace(evidence, timeline=Timeline([cause])))
    assert judge(replace(evidence, timeline=Timeline([replace(cause, begin=1.0, end=2.0)])))


def test_a_question_that_is_answered_badly_again_and_again_is_explained_by_answers_that_were_spoilt(
    tmp_path: Path,
) -> None:
    told = line(
        "service.failed", 1020.0, level="error", job="question about a running task", reason="A web page."
    )
    evidence = _logged(told)(good_end(tmp_path))
    met = {"what": "met", "at": 1010.0, "endpoint": "status", "kind": "html", "status": None}
    assert _rules(evidence) == {("log", None)}
    assert not judge(replace(evidence, noted=[met]))
    assert judge(replace(evidence, noted=[met | {"endpoint": "file"}]))
    assert judge(replace(evidence, noted=[met | {"at": 1.0}]))
    refused = line(
        "service.crashed", 1020.0, level="error", job="question about a running task", reason="(P0001)."
    )
    cause = Incident(OF_STATEMENTS[0], "database", 1010.0, 1019.0, "P0001")
    assert not judge(replace(_logged(refused)(good_end(tmp_path)), timeline=Timeline([cause])))


@pytest.mark.parametrize(
    ("event", "kinds"),
    [
        ("media.missing", {Kind.MEDIA_EMPTY}),
        ("media.slow", {Kind.DISK_FULL, Kind.MEDIA_HUNG, Kind.MEDIA_STOPPED, Kind.MEDIA_EMPTY}),
        ("media.obstructed", {Kind.DISK_FULL, Kind.MEDIA_HUNG, Kind.MEDIA_STOPPED, Kind.MEDIA_EMPTY}),
    ],
)
def test_only_faults_of_the_media_tree_explain_what_is_said_of_it(
    tmp_path: Path, event: str, kinds: set[Kind]
) -> None:
    evidence = _logged(line(event, 1020.0, level="error"))(good_end(tmp_path))
    explained = {
        kind
        for kind in Kind
        if not judge(replace(evidence, timeline=Timeline([Incident(kind, "disk", 1010.0, 1021.0)])))
    }
    assert explained == kinds


def test_only_another_token_of_that_manager_explains_that_it_refuses_ours(tmp_path: Path) -> None:
    told = line("runner_manager.misconfigured", 1020.0, level="error", runner_manager="two")
    evidence = _logged(told)(good_end(tmp_path))
    cause = Incident(Kind.TOKEN_ROTATED, "manager two", 1010.0, 1019.0)
    assert not judge(replace(evidence, timeline=Timeline([cause])))
    assert judge(replace(evidence, timeline=Timeline([replace(cause, target="manager one")])))
    assert judge(replace(evidence, timeline=Timeline([replace(cause, kind=Kind.MANAGER_KILL)])))


def test_no_refused_statement_excuses_a_result_that_was_given_up(tmp_path: Path) -> None:
    given_up = line("import.failed", 1020.0, level="error", task=ENCODING, reason="(P0001)")
    cause = Incident(Kind.TABLE_REFUSED, "video_video", 1010.0, 1019.0, "P0001", happened=True)
    evidence = replace(_logged(given_up)(good_end(tmp_path)), timeline=Timeline([cause]))
    assert _rules(evidence) == {("log", ENCODING)}


def test_a_fault_of_the_pooler_explains_a_lost_database(tmp_path: Path) -> None:
    lost = _logged(line("database.down", 1020.0, level="error"))(good_end(tmp_path))
    cause = Timeline([Incident(Kind.POOLER_CROWDED, "pooler", 1015.0, 1019.0)])
    assert _rules(lost) == {("log", None)}
    assert not judge(replace(lost, timeline=cause))


def test_a_run_after_the_death_of_the_first_ones_runner_is_no_double(tmp_path: Path) -> None:
    evidence = _second_run_meanwhile(good_end(tmp_path))
    dead = {"what": "runner died", "id": "e", "at": BEGIN + 0.5, "manager": "one"}
    assert not judge(replace(evidence, noted=[dead]))


def test_a_violation_tells_the_life_of_its_task(tmp_path: Path) -> None:
    [found, *_] = judge(_row(ENCODING, status="running")(good_end(tmp_path)))
    assert any("accepted e" in words for words in found.life)
    assert any("task.completed" in words for words in found.life)
