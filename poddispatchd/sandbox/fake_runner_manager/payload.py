"""What a manager checks in a submission, and a runner before it starts: pure."""

import ipaddress
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import cast
from urllib.parse import urlsplit

from poddispatchd.domain.task import TaskType
from poddispatchd.sandbox.fake_runner_manager.records import AcceptedTask

_REQUIRED = ("etab_name", "app_name", "task_type", "source_url", "notify_url")
_OPTIONAL = ("app_version", "affiliation")
_ORDER = ("etab_name", "app_name", "app_version", "task_type", "source_url", "affiliation", "parameters")

_IDS = frozenset({"video_id", "video_slug", "video_title"})
_ENCODING = _IDS | {"rendition", "cut", "dressing"}
_KEYS: Mapping[str, frozenset[str]] = {
    TaskType.ENCODING: _ENCODING,
    TaskType.STUDIO: _ENCODING
    | {
        "presenter",
        "force_cpu",
        "studio_crf",
        "studio_preset",
        "studio_audio_bitrate",
        "studio_allow_nvenc",
    },
    TaskType.TRANSCRIPTION: _IDS
    | {"language", "source_language", "format", "model", "model_type", "duration", "normalize"},
}
_EXTENSIONS = frozenset(
    "3gp avi divx flv m2p m4v mkv mov mp4 mpeg mpg mts wmv mp3 ogg wav wma webm ts".split()  # noqa: SIM905 - easier to compare with the contract
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A submission that is refused: the status and the value of ``detail``."""

    status: int
    detail: object


def read_submission(content_type: str, body: bytes) -> AcceptedTask | Refusal:
    """The submission in a request body, or the 422 with one entry per finding, which echo the input."""
    if not body:
        return _unprocessable("missing", [], "Field required", None)
    media_type = content_type.partition(";")[0].strip().lower()
    subtype = media_type.removeprefix("application/")
    if subtype == media_type or not (subtype == "json" or subtype.endswith("+json")):
        return _no_object(body.decode(errors="replace"))
    try:
        value: object = json.loads(body)
    except json.JSONDecodeError as error:
        entry = _entry("json_invalid", [error.pos], "JSON decode error", {})
        return Refusal(422, [{**entry, "ctx": {"error": error.msg}}])
    except UnicodeDecodeError:
        return Refusal(400, "There was an error parsing the body")
    if not isinstance(value, dict):
        return _no_object(value)
    fields = cast("dict[str, object]", value)
    findings = list(_findings(fields))
    if findings:
        return Refusal(422, findings)
    return AcceptedTask(
        etab_name=cast("str", fields["etab_name"]),
        app_name=cast("str", fields["app_name"]),
        task_type=cast("str", fields["task_type"]),
        source_url=cast("str", fields["source_url"]),
        notify_url=cast("str", fields["notify_url"]),
        parameters=cast("dict[str, object]", fields.get("parameters", {})),
        app_version=cast("str | None", fields.get("app_version")),
        affiliation=cast("str | None", fields.get("affiliation")),
    )


def _no_object(value: object) -> Refusal:
    message = "Input should be a valid dictionary or object to extract fields from"
    return _unprocessable("model_attributes_type", [], message, value)


def _unprocessable(kind: str, where: list[object], message: str, value: object) -> Refusal:
    return Refusal(422, [_entry(kind, where, message, value)])


def _entry(kind: str, where: list[object], message: str, value: object) -> dict[str, object]:
    return {"type": kind, "loc": ["body", *where], "msg": message, "input": value}


def _findings(fields: Mapping[str, object]) -> list[dict[str, object]]:
    findings: list[dict[str, object]] = []
    for name in (*_ORDER, "notify_url"):
        value = fields.get(name)
        if name not in fields:
            if name in _REQUIRED:
                findings.append(_entry("missing", [name], "Field required", dict(fields)))
        elif name == "parameters":
            if not isinstance(value, dict):
                findings.append(_entry("dict_type", [name], "Input should be a valid dictionary", value))
        elif not (isinstance(value, str) or (value is None and name in _OPTIONAL)):
            findings.append(_entry("string_type", [name], "Input should be a valid string", value))
        elif name.endswith("_url") and (problem := url_problem(cast("str", value))):
            entry = _entry("value_error", [name], f"Value error, {name} {problem}", value)
            findings.append({**entry, "ctx": {"error": {}}})
    return findings


def url_problem(url: str) -> str | None:
    """Why a URL is refused with 422; an empty one is accepted."""
    if not url:
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return "must have a valid hostname"
    if parts.scheme not in ("http", "https"):
        return "must use http or https scheme"
    if not host:
        return "must have a valid hostname"
    if is_private(host):
        return "must not point to a private or reserved IP address"
    return None


def is_private(host: str) -> bool:
    """Whether a host is the literal of an address that a manager never calls."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return not address.is_global or address.is_multicast


def notify_problem(url: str, allowed_hosts: tuple[str, ...]) -> str | None:
    """Why a notify_url is refused with 400, as far as its text tells; ``allowed_hosts`` empty means all."""
    if not url:
        return None
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if parts.username is not None or parts.password is not None:
        return "notify_url must not include userinfo"
    listed = not allowed_hosts or any(host == name or host.endswith(f".{name}") for name in allowed_hosts)
    if host == "localhost" or not listed:
        return "notify_url host not allowed"
    return None


def start_problem(submission: AcceptedTask) -> str | None:
    """Why a runner fails this task at its start, in its words; None when it can begin."""
    kind, parameters = submission.task_type, submission.parameters
    known = _KEYS.get(kind)
    if known is None:
        return None
    if unknown := [key for key in parameters if key not in known]:
        return f"Invalid parameters for task type: {kind} (invalid fields: {', '.join(unknown)})"
    if kind != TaskType.STUDIO:
        extension = PurePosixPath(submission.source_name).suffix.removeprefix(".").lower()
        if extension not in _EXTENSIONS:
            return f"Source URL does not point to a valid video file: {submission.source_url}"
    return _name_problem(submission) or _cut_problem(parameters)


def _name_problem(submission: AcceptedTask) -> str | None:
    """A runner puts the name into a command line that it takes apart again, as a shell would."""
    if submission.task_type == TaskType.ENCODING:
        try:
            shlex.split(submission.source_name)
        except ValueError as error:
            return f"ValueError: {error}"
    return None


def _cut_problem(parameters: Mapping[str, object]) -> str | None:
    cut, dressing = _json_object(parameters.get("cut")), _json_object(parameters.get("dressing"))
    if not cut:
        return None
    start, end = str(cut.get("start", "")), str(cut.get("end", ""))
    credited = any(key.startswith(("opening_credits", "ending_credits")) for key in dressing)
    if credited or "." in start or "." in end or start == end:
        return (
            "Encoding aborted: effective video duration is 0 seconds after applying cut "
            f"(start={start}, end={end})."
        )
    return None


def _json_object(value: object) -> Mapping[str, object]:
    """A parameter that must be a JSON string; anything else is silently ignored, as runners do."""
    if not isinstance(value, str):
        return {}
    try:
        parsed: object = json.loads(value)
    except json.JSONDecodeError:
        return {}
    return cast("dict[str, object]", parsed) if isinstance(parsed, dict) else {}
