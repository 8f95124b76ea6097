"""A full pass on recorded Pods has the effect that Pod's own CRON run had, but where we do better."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest

from poddispatchd.app import once
from poddispatchd.config.model import RetentionSettings
from poddispatchd.config.section import UnfitSettingsError
from poddispatchd.imports.importer import Importer
from poddispatchd.reconcile import reconciler
from tests.integration.notify.test_recorded_mails import recorded_mails
from tests.integration.pod.imports.changes import compare
from tests.integration.pod.imports.expected import recorded_changes
from tests.integration.pod.imports.vectors import load, steps
from tests.integration.reconcile.passes import Effect, Passed, make_pass, recorded_effect
from tests.plugins.shared_world import SharedWorldFactory
from tests.recorded.values import Json, items, mapping, text
from tests.shared import SHARED

CASES: Mapping[str, dict[str, Json]] = (
    {}
    if SHARED is None
    else {
        case["id"]: case for case in json.loads((SHARED / "vectors" / "reconcile.json").read_text())["cases"]
    }
)

TASK = "runner_manager_task 9001"
LOG = "video_encode_transcript_encodinglog"
STEP = "video_encode_transcript_encodingstep"
ASKED = "GET /rm1/task/status/golden-1"
FILM = b"base"
STUDENT = "da450550873992f126df136c723604527763d2759d8033a7883e85ebb1040427"
NOOWNER = "7b65b6c596b18959086b8bb6360e2d21bb45e812a341b98b6e52c92df4214e57"


@dataclass(frozen=True, slots=True)
class Better:
    """Where we do better than the recorded Pod.

    Args:
        why: in words.
        like: the case in which Pod did what we do here.
        change: what is different then.
    """

    why: str
    like: str | None = None
    change: Callable[[Effect], None] = lambda _: None


# --- what is different --------------------------------------------------------------------------------------


def _takes_turns(effect: Effect) -> None:
    """The second manager is next: the first one got the last task."""
    effect.rewrite(
        ("/rm1/task/execute", "/rm2/task/execute"),
        ('"rm1-1"', '"rm2-1"'),
        ('"task_id": "rm2-1", "runner_manager_id": 1', '"task_id": "rm2-1", "runner_manager_id": 2'),
    )
    effect.asked = [line.replace("/rm1/task/execute", "/rm2/task/execute") for line in effect.asked]


def _again(said: str, *asked: str, manager: int = 2, attempt: int = 2) -> Callable[[Effect], None]:
    """The submission of the recorded case, made once more, with other bytes if it is the second, and why."""

    def change(effect: Effect) -> None:
        prefix, query = f"rm{manager}", "" if attempt == 1 else f"?attempt={attempt}"
        effect.rewrite(
            ("/rm1/task/execute", f"/{prefix}/task/execute"),
            ("/notify_task_end/", f"/notify_task_end/{query}"),
        )
        effect.changes.updated[TASK] = {
            "task_id": f"{prefix}-1",
            "runner_manager_id": manager,
            "script_output": said,
        }
        effect.asked = [*asked, f"POST /{prefix}/task/execute"]

    return change


def _transcribed_again(effect: Effect) -> None:
    effect.changes.inserted[STEP] = [{"num_step": 5, "desc_step": "transcripting audio", "video_id": 11}]
    effect.changes.updated = {
        TASK: {"task_id": "rm2-1", "runner_manager_id": 2, "script_output": ""},
        "video_video 11": {"encoding_in_progress": True},
    }
    effect.asked = [ASKED, "POST /rm2/task/execute"]


def _timed_out(effect: Effect) -> None:
    """As by a callback, and the mail that Pod sends for failures alone."""
    effect.changes.inserted[STEP] = [
        {"num_step": -1, "desc_step": "Runner manager task timeout", "video_id": 11}
    ]
    effect.changes.updated = {TASK: {"status": "timeout", "script_output": ""}}
    subject = "[Django] [Pod] Error Encoding Task id: golden-1"
    effect.mails = [("noreply@univ.fr", ["admin@oracle.test"], [], subject)]


def _runs_already(effect: Effect) -> None:
    for part in (effect.changes.inserted, effect.changes.written):
        part.clear()
    effect.changes.updated = {TASK: {"status": "running"}}
    effect.asked = [ASKED]


def _is_asked(effect: Effect) -> None:
    effect.asked = [ASKED]


def _studio(effect: Effect) -> None:
    """As a studio task with such a result is imported after its callback."""
    expect = steps(load("st-repeat/podfile"))[0]
    effect.changes = recorded_changes(expect)
    effect.mails = sorted(recorded_mails(dict(expect)))
    effect.asked = [ASKED, *(f"GET {path}" for path in items(expect["runner_get_requests"]))]
    # The same result, but for the film itself, and a status says nothing of an output.
    del effect.changes.updated[TASK]["script_output"]
    [film] = (path for path in effect.changes.written if "/studio_base_" in path)
    effect.changes.written[film] = f"644 {hashlib.sha256(FILM).hexdigest()}"


def _of_the_user_without_owner(effect: Effect) -> None:
    _takes_turns(effect)
    effect.rewrite(
        (STUDENT, NOOWNER),
        ("/0002/", "/0014/"),
        ("0002-student-video", "0014-owner-row-missing"),
        ('"video_id": 2', '"video_id": 14'),
        ("video_video 2", "video_video 14"),
        ('"created_by_id": 1', '"created_by_id": 8'),
        ('"owner_id": 1', '"owner_id": 8'),
        ("student@oracle.test", "noowner@oracle.test"),
        ("#2 est", "#14 est"),
    )


def _old_warning_again(effect: Effect) -> None:
    """Task 9007 asked about twice, and submitted again."""
    made = recorded_effect(CASES["completed-then-pending-submitted"])
    made.only_about(3)
    _again("", manager=2)(made)
    effect.changes.inserted |= made.changes.inserted
    effect.changes.written |= made.changes.written
    effect.changes.updated |= {
        "video_video 3": {"encoding_in_progress": True},
        "runner_manager_task 9007": {
            "status": "running",
            "task_id": "rm2-1",
            "runner_manager_id": 2,
            "script_output": "It was lost, so that it is submitted again: Runner manager 'rm1' does not know "
            "task 'g'.\n---\n",
        },
    }
    effect.asked = ["GET /rm1/task/status/g", "GET /rm1/task/status/g", "POST /rm2/task/execute"]


_NEVER_FETCHED = (
    "a row that Pod calls a warning has a result that nobody fetched; its manager has forgotten it, "
    "so that it is done again"
)

BETTER: Mapping[str, Better] = {
    "answer-202": Better("a record is a record with any 2xx", like="old-encoding-warning"),
    "answer-404": Better(
        "a task that its manager denies twice is submitted again",
        like="old-pending-with-id",
        change=_again(
            "It was lost, so that it is submitted again: Runner manager 'rm1' does not know task "
            "'golden-1'.\n---\n",
            *(ASKED, ASKED),
        ),
    ),
    "completed-then-pending-submitted": Better("managers of equal priority take turns", change=_takes_turns),
    "inactive-encoding-completed": Better(
        "a manager that gets no new task is asked about those that it has", like="old-encoding-warning"
    ),
    "inactive-studio-completed": Better("the same, and a studio task is asked about too", change=_studio),
    "no-manager": Better(
        "a task that names nobody who could be asked is submitted again",
        like="old-pending-with-id",
        change=_again(
            "It was lost, so that it is submitted again: It runs nowhere: the row has no runner manager or "
            "no task id.\n---\n",
            manager=1,
            attempt=1,
        ),
    ),
    "noowner-blocks-pending": Better(
        "a user without owner row has videos like others, and no task holds up another one",
        like="completed-then-pending-submitted",
        change=_of_the_user_without_owner,
    ),
    "old-encoding-failed": Better(
        "a failure without a word or output is an order that never reached its runner: it goes out again",
        like="old-pending-with-id",
        change=_again("", ASKED),
    ),
    "old-pending-with-id": Better("a task that runs is not submitted again", change=_runs_already),
    "old-studio-completed": Better("a studio task is asked about too", change=_studio),
    "old-studio-pending": Better("a studio task is asked about too", change=_is_asked),
    "old-studio-warning": Better("a studio task is asked about too", change=_studio),
    "old-transcription-failed": Better(
        "an order that never reached its runner goes out again", change=_transcribed_again
    ),
    "old-transcription-timeout": Better("a timeout is told as after a callback", change=_timed_out),
    "purge--1": Better(_NEVER_FETCHED, change=_old_warning_again),
    "purge-3650": Better(_NEVER_FETCHED, change=_old_warning_again),
    "purge-60": Better(_NEVER_FETCHED, change=_old_warning_again),
    "purge-None": Better(_NEVER_FETCHED, change=_old_warning_again),
    "purge-empty": Better(_NEVER_FETCHED, change=_old_warning_again),
    "purge-huge": Better(
        f"{_NEVER_FETCHED}; and nothing is purged", like="purge-3650", change=_old_warning_again
    ),
    "purge-string-60": Better(_NEVER_FETCHED, change=_old_warning_again),
    "young-transcription-completed": Better(
        "a task is asked about however young its row is", like="old-transcription-completed"
    ),
}
"""What is right where the recorded Pod is not; every other case has the very effect that was recorded."""


# --- the passes ---------------------------------------------------------------------------------------------


def test_what_we_do_better_is_what_is_recorded_as_wrong_and_a_few_things_more() -> None:
    wrong = {name for name, case in CASES.items() if case.get("upstream_bug")}
    if CASES:
        assert len(CASES) == 42
        assert wrong <= BETTER.keys() <= CASES.keys()
        # Pod is not wrong here: any 2xx, turns of managers, and rows of its own webhook's making.
        purges = {name for name in BETTER if name.startswith("purge-")}
        assert BETTER.keys() - wrong == {"answer-202", "completed-then-pending-submitted", *purges} - wrong


@pytest.mark.parametrize("name", CASES)
async def test_a_pass_does_what_pods_did_or_better(
    name: str, shared_world: SharedWorldFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (once, reconciler):
        monkeypatch.setattr(module, "ASK_AGAIN_AFTER", 0.01)
    # One result after the other, as Pod: rows are numbered in the order in which they come in.
    monkeypatch.setattr(Importer, "_checked", lambda *_: None)
    better = BETTER.get(name, Better("as recorded"))
    wanted = recorded_effect(CASES[better.like or name])
    better.change(wanted)
    made = await make_pass(shared_world, CASES[name])
    _leave_out_what_transcriptions_leave(wanted, made.effect)
    assert compare(made.effect.changes, wanted.changes) == []
    assert made.effect.mails == wanted.mails
    assert sorted(made.effect.asked) == sorted(wanted.asked)
    _assert_headers(made, CASES[better.like or name])


def _leave_out_what_transcriptions_leave(*effects: Effect) -> None:
    """Their result stays out of the directory of the video, and the words of their log are ours."""
    for effect in effects:
        changes = effect.changes
        changes.written = {path: print_ for path, print_ in changes.written.items() if "/0011/" not in path}
        for row in changes.inserted.get(LOG, []):
            if row["video_id"] == 11:
                row["log"] = "…"


def _assert_headers(made: Passed, case: Mapping[str, Json]) -> None:
    """Each manager is asked with its own token, and for JSON, as Pod asks."""
    [step] = items(case["steps"])
    recorded = mapping(mapping(step)["expect"]).get("status_request_headers")
    for request in made.requests:
        prefix = request.path.split("/")[1]
        manager = "rm_site2" if prefix == "rms2" else prefix
        assert request.headers["authorization"] == f"Bearer tok-{manager}"
        if "/task/result/" not in request.path:
            assert request.headers["accept"] == "application/json"
        if request.method == "POST":
            assert request.headers["content-type"] == "application/json"
        elif recorded is not None and "/task/status/" in request.path:
            for name, value in mapping(recorded).items():
                assert request.headers[name.lower()] == text(value)


def test_a_retention_that_pod_dies_of_is_refused() -> None:
    with pytest.raises(UnfitSettingsError, match="write 36500 or less"):
        RetentionSettings.read({"completed_days": 1_000_000_000})
