"""Answers of real runner managers, when the recordings lie beside the checkout; the other tests of this
folder cover the same ground with samples of their own."""

import gzip
import json
import re
from collections.abc import Iterator

import pytest

from poddispatchd.domain.manifest import parse_manifest
from poddispatchd.domain.task import RunnerTaskId
from poddispatchd.errors import (
    PayloadRefusedError,
    ResultGoneError,
    ResultNotReadyError,
    RunnerManagerBusyError,
    RunnerManagerError,
    RunnerManagerFullError,
    RunnerManagerMisconfiguredError,
    RunnerManagerUnavailableError,
    RunnerTaskUnknownError,
    RunnerUnreachableError,
)
from poddispatchd.runner.answers import accepted, json_object, task_record
from poddispatchd.runner.http_errors import result_refusal
from poddispatchd.runner.transport import HttpAnswer
from tests.shared import SHARED
from tests.unit.runner.managers import manager

_SUBMISSION = {
    400: (PayloadRefusedError, RunnerManagerMisconfiguredError),
    401: (RunnerManagerMisconfiguredError,),
    405: (RunnerManagerMisconfiguredError,),
    307: (RunnerManagerMisconfiguredError,),
    422: (PayloadRefusedError, RunnerManagerMisconfiguredError),
    429: (RunnerManagerBusyError,),
    500: (RunnerManagerUnavailableError,),
    503: (RunnerManagerFullError,),
}


def recorded(path: str) -> Iterator[tuple[str, str, HttpAnswer]]:
    """Name, path and answer of every whole exchange whose path matches."""
    if SHARED is None:
        return
    file = SHARED / "contract" / "traces" / "esup-runner-exchanges.jsonl.gz"
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            exchange = json.loads(line)
            request, response = exchange.get("request"), exchange.get("response")
            if not response or not request or not re.fullmatch(path, request["path"]):
                continue
            body = response.get("body")
            if response.get("status") is None or (body is None and response.get("length")):
                continue
            headers = dict(response.get("headers") or [])
            kind = headers.get("content-type", "").partition(";")[0]
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            yield (
                exchange["name"],
                request["path"],
                HttpAnswer(response["status"], kind, content, headers.get("location", "")),
            )


if SHARED is not None:

    @pytest.mark.parametrize(
        "recording", list(recorded(r"(/manager)?/task/execute/?")), ids=lambda case: case[0]
    )
    def test_every_recorded_submission_is_understood(recording: tuple[str, str, HttpAnswer]) -> None:
        _, _, given = recording
        if given.status == 200:
            assert accepted(manager(), given).status == "running"
            return
        with pytest.raises(RunnerManagerError) as caught:
            accepted(manager(), given)
        assert type(caught.value) in _SUBMISSION[given.status]
        assert len(str(caught.value)) < 600

    @pytest.mark.parametrize(
        "recording", list(recorded(r"/task/status/[0-9a-f-]{36}")), ids=lambda case: case[0]
    )
    def test_every_recorded_task_is_understood(recording: tuple[str, str, HttpAnswer]) -> None:
        _, path, given = recording
        task_id = RunnerTaskId(path.rpartition("/")[2])
        if given.status == 200:
            record = task_record(manager(), given, task_id)
            assert record.status is not None
            assert record.source_url is not None
            return
        with pytest.raises((RunnerTaskUnknownError, RunnerManagerMisconfiguredError, RunnerManagerBusyError)):
            task_record(manager(), given, task_id)

    @pytest.mark.parametrize(
        "recording", list(recorded(r"/task/result/[0-9a-f-]{36}")), ids=lambda case: case[0]
    )
    def test_every_recorded_manifest_is_understood(recording: tuple[str, str, HttpAnswer]) -> None:
        _, path, given = recording
        if given.status == 200:
            task_id = RunnerTaskId(path.rpartition("/")[2])
            assert parse_manifest(json_object(manager(), given), task_id).files
            return
        assert type(result_refusal(manager(), given, "The list of result files")) in (
            ResultGoneError,
            ResultNotReadyError,
            RunnerManagerMisconfiguredError,
            RunnerManagerUnavailableError,
            RunnerTaskUnknownError,
            RunnerUnreachableError,
        )
