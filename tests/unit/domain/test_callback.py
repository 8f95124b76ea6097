import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from poddispatchd.domain.callback import Callback, CallbackBody
from poddispatchd.domain.script_output import LIMIT, merge_output
from poddispatchd.domain.task import RunnerStatus, RunnerTaskId
from poddispatchd.errors import CallbackRefusedError

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def _read(body: bytes) -> Callback:
    return CallbackBody.read(body).callback()


def _of(**fields: object) -> Callback:
    return _read(json.dumps({"task_id": "t", "status": "completed", **fields}).encode())


def _outcome(body: bytes) -> Callback | int:
    """The callback, or the status with which it is refused."""
    try:
        return _read(body)
    except CallbackRefusedError as refused:
        return refused.status


def _refusal(body: bytes) -> tuple[int, str]:
    with pytest.raises(CallbackRefusedError) as refused:
        _read(body)
    return refused.value.status, refused.value.message


def test_a_callback_of_a_runner_manager_is_read() -> None:
    body = b'{"task_id": "t-1", "status": "failed", "error_message": "boom", "script_output": null}'
    assert _read(body) == Callback(RunnerTaskId("t-1"), RunnerStatus.FAILED, "boom", None)


@given(st.binary(max_size=200))
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b"\xff\xfe{\x00")
@example(b'{"task_id": "t", "status": ' + b"1" * 5000 + b"}")
@example(b"\xef\xbb\xbf{}")
def test_whatever_the_bytes_nothing_else_than_a_refusal_is_raised(body: bytes) -> None:
    outcome = _outcome(body)
    assert isinstance(outcome, Callback) or outcome in (400, 404)


@given(_JSON, _JSON, _JSON, _JSON)
def test_whatever_the_fields_a_callback_can_be_stored(
    task_id: object, status: object, error: object, output: object
) -> None:
    fields = {"task_id": task_id, "status": status, "error_message": error, "script_output": output}
    callback = _outcome(json.dumps(fields).encode())
    if not isinstance(callback, Callback):
        assert callback in (400, 404)
        return
    for text in (callback.task_id, callback.error_message, callback.script_output):
        assert "\0" not in (text or "")
        assert len((text or "").encode()) <= LIMIT


@given(_JSON, _JSON)
def test_texts_that_are_none_are_written_as_pod_writes_them(error: object, output: object) -> None:
    callback = _of(error_message=error, script_output=output)
    read = json.loads(json.dumps([error, output]))
    expected = [None if value is None else merge_output("", None, str(value)) for value in read]
    assert [callback.error_message, callback.script_output] == expected


@pytest.mark.parametrize("depth", [500, 900, 990, 5000])
def test_a_deep_text_is_taken_or_refused(depth: int) -> None:
    body = b'{"task_id":"t","status":"failed","script_output":' + b"[" * depth + b"]" * depth + b"}"
    outcome = _outcome(body)
    if isinstance(outcome, Callback):
        assert outcome.script_output == "[" * depth + "]" * depth
    else:
        assert outcome == 400


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"t"', b"{", b"{}x", b"\xe9", b'{"task_id": "\xe9"}'])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    assert _refusal(body) == (400, "Invalid request.")


@pytest.mark.parametrize("task_id", ["", None, 0, 7, True, ["t"], {}])
def test_a_task_id_is_a_text_with_something_in_it(task_id: object) -> None:
    assert _refusal(json.dumps({"task_id": task_id}).encode()) == (400, "No task id in the request.")


@pytest.mark.parametrize("task_id", ["x" * 101, "a\0b", "\ud800"])
def test_an_id_that_no_row_can_have_is_unknown_but_no_reason_to_say_so_before_the_token_is_checked(
    task_id: str,
) -> None:
    notice = CallbackBody.read(json.dumps({"task_id": task_id}).encode())
    assert notice.task_id is None
    with pytest.raises(CallbackRefusedError) as refused:
        notice.callback()
    assert refused.value.status == 404


@pytest.mark.parametrize("status", ["", "COMPLETED", "cancelled", " completed", None, 1, [], {}, ["failed"]])
def test_a_status_that_no_manager_gives_is_refused(status: object) -> None:
    body = json.dumps({"task_id": "t", "status": status}).encode()
    assert _refusal(body) == (400, "Unknown status.")


def test_a_missing_status_has_pods_words_under_pods_key() -> None:
    with pytest.raises(CallbackRefusedError) as refused:
        _read(b'{"task_id": "t"}')
    assert (refused.value.status, refused.value.key) == (400, "status")
    assert refused.value.message == "Task has not yet been successfully achieved."


@pytest.mark.parametrize("status", list(RunnerStatus))
def test_every_status_of_a_runner_manager_is_known(status: RunnerStatus) -> None:
    assert _of(status=status.value).status is status


def test_a_text_longer_than_the_row_keeps_is_cut_in_its_middle() -> None:
    output = _of(script_output="BEGIN" + "é" * LIMIT + "END").script_output
    assert output is not None
    assert (output[:5], output[-3:]) == ("BEGIN", "END")
    assert len(output.encode()) <= LIMIT


def test_what_a_script_wrote_is_not_in_a_callbacks_repr() -> None:
    assert "confidential" not in repr(_of(script_output="confidential"))
    assert "confidential" not in repr(CallbackBody.read(b'{"task_id": "t", "x": "confidential"}'))
