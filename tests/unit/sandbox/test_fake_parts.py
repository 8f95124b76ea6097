"""The pure parts of the fake runner manager."""

import asyncio
import json
from datetime import datetime

import pytest

from poddispatchd.domain.task import RunnerTaskId
from poddispatchd.sandbox.fake_runner_manager import (
    RESULTS,
    SAMPLES,
    AcceptedTask,
    AnswerFault,
    Behaviour,
    Crash,
    Endpoint,
    FaultKind,
    Faults,
    result_files,
)
from poddispatchd.sandbox.fake_runner_manager.callbacks import ConnectTo, callback_body, retry_delays
from poddispatchd.sandbox.fake_runner_manager.faults import parse_fault
from poddispatchd.sandbox.fake_runner_manager.payload import (
    Refusal,
    notify_problem,
    read_submission,
    start_problem,
    url_problem,
)
from poddispatchd.sandbox.fake_runner_manager.records import base_name
from poddispatchd.sandbox.fake_runner_manager.routes import Action, HealthRoute, find, redirect, routes

_FIELDS: dict[str, object] = {
    "etab_name": "University / Pod",
    "app_name": "Esup-Pod",
    "task_type": "encoding",
    "source_url": "http://pod.test/media/a.mp4",
    "notify_url": "http://pod.test/notify/",
}


def _submission(**changes: object) -> AcceptedTask:
    read = read_submission("application/json", json.dumps(_FIELDS | changes).encode())
    assert isinstance(read, AcceptedTask)
    return read


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("0001-x", "0001-x"),
        ("vidéo été (2)", "video_ete_(2)"),
        ("e\u0301te\u0301", "ete"),
        ("a.b+c", "a.b+c"),
    ],
)
def test_a_base_name_loses_accents_and_spaces_only(stem: str, expected: str) -> None:
    assert base_name(stem) == expected


def test_callbacks_are_repeated_after_the_recorded_gaps() -> None:
    assert retry_delays() == [60, 90, 135, 202, 303]


def test_a_callback_body_is_compact_and_keeps_its_letters() -> None:
    body = callback_body("x", "completed", error_message=None, script_output="é")
    expected = '{"task_id":"x","status":"completed","error_message":null,"script_output":"é"}'
    assert body == expected.encode()


@pytest.mark.parametrize(
    ("content_type", "body", "kind"),
    [
        ("application/json", b"", "missing"),
        ("", b"{}", "model_attributes_type"),
        ("text/plain", b"{}", "model_attributes_type"),
        ("application/json", b"[]", "model_attributes_type"),
        ("application/json", b"{", "json_invalid"),
        ("application/json; charset=utf-8", json.dumps(_FIELDS | {"parameters": None}).encode(), "dict_type"),
        ("application/json", json.dumps(_FIELDS | {"app_version": 4}).encode(), "string_type"),
        (
            "application/json",
            json.dumps(_FIELDS | {"source_url": "http://10.0.0.1/a"}).encode(),
            "value_error",
        ),
    ],
)
def test_a_body_that_is_no_submission_is_a_422(content_type: str, body: bytes, kind: str) -> None:
    refusal = read_submission(content_type, body)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 422
    assert isinstance(refusal.detail, list)
    assert [entry["type"] for entry in refusal.detail] == [kind]


def test_every_missing_field_is_told_in_one_answer() -> None:
    refusal = read_submission("application/json", b"{}")
    assert isinstance(refusal, Refusal)
    assert isinstance(refusal.detail, list)
    fields = [entry["loc"][1] for entry in refusal.detail]
    assert fields == ["etab_name", "app_name", "task_type", "source_url", "notify_url"]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", None),
        ("http://pod.test/a", None),
        ("https://93.184.216.34/a", None),
        ("ftp://pod.test/a", "must use http or https scheme"),
        ("http:///a", "must have a valid hostname"),
        ("http://[::1]/a", "must not point to a private or reserved IP address"),
        ("http://169.254.0.1/a", "must not point to a private or reserved IP address"),
    ],
)
def test_urls_are_judged_by_their_text(url: str, problem: str | None) -> None:
    assert url_problem(url) == problem


def test_only_listed_hosts_and_their_subdomains_may_be_notified() -> None:
    assert notify_problem("http://a.pod.test/x", ("pod.test",)) is None
    assert notify_problem("http://notpod.test/x", ("pod.test",)) == "notify_url host not allowed"
    assert notify_problem("http://localhost/x", ()) == "notify_url host not allowed"


def test_the_fingerprint_ignores_version_affiliation_and_key_order() -> None:
    one = _submission(parameters={"a": 1, "b": "{}"}, app_version="1")
    other = _submission(parameters={"b": "{}", "a": 1}, app_version="2", affiliation="x")
    assert one.fingerprint == other.fingerprint
    assert one.fingerprint != _submission(parameters={"a": 1, "b": "{ }"}).fingerprint
    assert one.fingerprint != _submission(notify_url="http://pod.test/notify/?attempt=2").fingerprint


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"parameters": {"cut": {"start": "no", "end": "string"}}}, None),
        ({"parameters": {"nope": 1}}, "(invalid fields: nope)"),
        ({"source_url": "http://pod.test/media/a.m4a"}, "does not point to a valid video file"),
        ({"source_url": ""}, "does not point to a valid video file"),
        ({"task_type": "transcription", "parameters": {"lang": "fr"}}, "(invalid fields: lang)"),
        (
            {"parameters": {"cut": '{"start": "00:00:01.500000", "end": "00:00:04"}'}},
            "duration is 0 seconds after applying cut (start=00:00:01.500000, end=00:00:04)",
        ),
        (
            {
                "parameters": {
                    "cut": '{"start": "00:00:01", "end": "00:00:04"}',
                    "dressing": '{"opening_credits": "x"}',
                }
            },
            "duration is 0 seconds after applying cut",
        ),
    ],
)
def test_a_runner_says_why_it_cannot_start(changes: dict[str, object], words: str | None) -> None:
    problem = start_problem(_submission(**changes))
    assert problem is None if words is None else words in str(problem)


def _tree(crash: Crash | None = None, **changes: object) -> dict[str, bytes]:
    when = datetime.fromisoformat("2030-01-01")
    return result_files(_submission(**changes), task_id=RunnerTaskId("x"), when=when, crash=crash)


def test_every_json_of_a_result_survives_an_awkward_name() -> None:
    tree = _tree(source_url="http://pod.test/media/a%22%5Cb%20source_%C3%A9.mp4")
    info = json.loads(tree["info_video.json"])
    assert info["encode_thumbnail"][0]["filename"] == 'a"\\b_source_e_0.png'
    assert info["source_fps"] == 25.0
    assert 'a"\\b_source_e_0.png' in tree


def test_a_transcription_keeps_accents_and_takes_the_language() -> None:
    tree = _tree(
        task_type="transcription",
        source_url="http://pod.test/media/audio_192k_vid%C3%A9o%20(1).mp3",
        parameters={"language": "en", "source_language": "fr"},
    )
    assert set(tree) == {"audio_192k_vidéo (1).vtt", "info_video.json", "task_metadata.json"}
    transcription = json.loads(tree["info_video.json"])["transcription"]
    assert transcription["final_subtitle_language"] == "en"
    assert transcription["requested_source_language"] == "fr"


def test_only_a_video_that_is_not_a_mp3_brings_a_sound_extract() -> None:
    assert "a.mp3" in _tree(task_type="transcription")


def test_an_audio_source_brings_sound_only() -> None:
    info = json.loads(_tree(source_url="http://pod.test/media/a.mp3")["info_video.json"])
    assert [entry["filename"] for entry in info["encode_audio"]] == ["audio_192k_a.m4a", "audio_192k_a.mp3"]
    assert "encode_video" not in info


def test_a_late_crash_leaves_videos_without_a_verdict() -> None:
    info = json.loads(_tree(Crash.LATE)["info_video.json"])
    assert "encode_video" in info
    assert "encode_result" not in info


def test_the_samples_stay_small() -> None:
    assert sum(path.stat().st_size for path in RESULTS.rglob("*") if path.is_file()) < 300_000
    assert (SAMPLES / "source.mp4").stat().st_size < 60_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file=cut:1000*2", (Endpoint.FILE, AnswerFault(kind=FaultKind.CUT, length=1000), 2)),
        ("execute=status:503", (Endpoint.EXECUTE, AnswerFault(kind=FaultKind.STATUS, status=503), None)),
        ("status=slow:2.5", (Endpoint.STATUS, AnswerFault(kind=FaultKind.SLOW, seconds=2.5), None)),
        ("result=html", (Endpoint.RESULT, AnswerFault(kind=FaultKind.HTML), None)),
    ],
)
def test_a_fault_is_read_from_a_command_line(
    text: str, expected: tuple[Endpoint, AnswerFault, int | None]
) -> None:
    assert parse_fault(text) == expected


@pytest.mark.parametrize("text", ["file", "file=nope", "nowhere=cut", "file=drop:3", "file=cut:x"])
def test_a_fault_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_fault(text)


def test_faults_are_used_up_in_order_and_behaviours_before_the_script() -> None:
    faults = Faults(default=Behaviour(seconds=9))
    faults.inject("file", AnswerFault(kind=FaultKind.DROP), times=2)
    taken = [faults.take(Endpoint.FILE, "/a") for _ in range(3)]
    assert [fault.kind if fault else None for fault in taken] == [FaultKind.DROP, FaultKind.DROP, None]
    faults.behaviours.append(Behaviour(seconds=1))
    faults.script = lambda submission: Behaviour(seconds=2) if submission.task_type == "studio" else None
    submissions = [_submission(), _submission(task_type="studio"), _submission()]
    assert [faults.behaviour_of(submission).seconds for submission in submissions] == [1, 2, 9]


def test_routes_match_decoded_paths_with_and_without_the_prefix() -> None:
    table = routes(HealthRoute.API, can_stop=True)
    for path in ("/task/result/x/file/a/b", "/manager/task/result/x/file/a/b"):
        match = find(table, path, "/manager")
        assert match is not None
        assert (match.route.action, match.arguments) == (Action.FILE, ("x", "a/b"))
    assert find(table, "/task/status/a/b", "") is None
    assert redirect(table, "/task/list/", "") == "/task/list"
    assert redirect(table, "/nowhere/", "") is None


def test_a_fake_manager_that_asks_for_names_can_be_made_before_it_runs() -> None:
    """The command with --resolve-names ended at once: the resolver wanted a running loop."""
    resolver = ConnectTo({}, resolve_others=True)

    [found, *_] = asyncio.run(resolver.resolve("127.0.0.1", 80))

    assert (found["host"], found["port"]) == ("127.0.0.1", 80)
