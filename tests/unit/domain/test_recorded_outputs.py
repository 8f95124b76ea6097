"""The texts that Pod itself made of callbacks."""

import json
from typing import Any

import pytest

from poddispatchd.domain.script_output import failure_words, merge_output
from tests.shared import SHARED


def _texts() -> list[Any]:
    """Of every recorded callback with texts: its id, what it said, the column before and after, the step."""
    if SHARED is None:
        return []
    found = []
    for case in json.loads((SHARED / "vectors" / "webhook.json").read_bytes())["cases"]:
        for number, step in enumerate(case["steps"]):
            try:
                body = json.loads(step["request"]["body"])
            except (KeyError, ValueError):
                continue
            if not isinstance(body, dict):
                continue
            changes = step["expect"].get("db_diff") or []
            outputs = [
                change["changes"]["script_output"]
                for change in changes
                if change["table"] == "runner_manager_task" and "script_output" in change.get("changes", {})
            ]
            said = [body.get("error_message"), body.get("script_output")]
            if (
                case.get("upstream_bug")
                or len(outputs) != 1
                or not all(text is None or isinstance(text, str) for text in said)
            ):
                continue
            steps = [
                change["row"]["desc_step"]
                for change in changes
                if change["table"] == "video_encode_transcript_encodingstep" and change["op"] == "insert"
            ]
            found.append(pytest.param(body, *outputs[0], steps, id=f"{case['id']}-{number}"))
    return found


@pytest.mark.parametrize(("body", "old", "new", "steps"), _texts())
def test_texts_are_those_that_pod_made(
    body: dict[str, str | None], old: str | None, new: str | dict[str, object], steps: list[str]
) -> None:
    error, output = body.get("error_message"), body.get("script_output")
    if not isinstance(new, dict):  # long texts are recorded as a digest
        assert merge_output(old, error, output) == new
    for shown in steps:
        assert failure_words(error, output, str(body["status"]))[:255] == shown
