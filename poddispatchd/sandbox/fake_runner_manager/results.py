"""The result files of a task: the committed samples, named and filled in for its source."""

import json
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import cast

from poddispatchd.domain.task import RunnerTaskId, TaskType
from poddispatchd.sandbox.fake_runner_manager.faults import Crash
from poddispatchd.sandbox.fake_runner_manager.records import AcceptedTask, base_name

RESULTS = Path(__file__).resolve().parents[1] / "results"
SAMPLES = Path(__file__).resolve().parents[1] / "samples"

_AUDIO = (".mp3", ".ogg", ".wav", ".wma")
_SAMPLE_BASE = "source"


@cache
def _sample(name: str) -> dict[str, bytes]:
    """One committed result tree; read once, never changed."""
    return {path.name: path.read_bytes() for path in sorted((RESULTS / name).iterdir())}


def _renamed(tree: dict[str, bytes], base: str) -> dict[str, bytes]:
    """The tree with another base name: in its names, and where playlists and info_video.json repeat them."""
    names = {name: _with_base(name, base) for name in tree}
    renamed: dict[str, bytes] = {}
    for name, content in tree.items():
        adapted = content
        if name.endswith(".m3u8"):
            stream = name.replace(".m3u8", ".ts")
            adapted = content.replace(stream.encode(), names[stream].encode())
        elif name == "info_video.json":
            for old, new in names.items():
                adapted = adapted.replace(json.dumps(old).encode(), json.dumps(new).encode())
        renamed[names[name]] = adapted
    return renamed


def _with_base(name: str, base: str) -> str:
    stem, dot, extension = name.rpartition(".")
    if stem.endswith(f"_{_SAMPLE_BASE}"):
        stem = f"{stem.removesuffix(_SAMPLE_BASE)}{base}"
    elif stem == _SAMPLE_BASE or stem.startswith(f"{_SAMPLE_BASE}_"):
        stem = f"{base}{stem.removeprefix(_SAMPLE_BASE)}"
    return f"{stem}{dot}{extension}"


def result_files(
    submission: AcceptedTask, *, task_id: RunnerTaskId, when: datetime, crash: Crash | None = None
) -> dict[str, bytes]:
    """The files of a completed task, by name.

    Args:
        submission: gives the type, the source's name and what ``info_video.json`` repeats.
        task_id: written into ``task_metadata.json``.
        when: the end of the task, naive local time of the manager.
        crash: the tree a runner declares completed after it went down during the encoding.
    """
    source = submission.source_name.lower()
    match submission.task_type:
        case TaskType.STUDIO:
            tree = dict(_sample("studio"))
        case TaskType.TRANSCRIPTION:
            tree = _renamed(_sample("transcription"), submission.source_stem)
            if source.endswith(".mp3"):
                tree.pop(f"{submission.source_stem}.mp3")
        case _:
            sample = "audio" if source.endswith(_AUDIO) else "encoding"
            tree = _renamed(_sample(sample), base_name(submission.source_stem))
    tree["info_video.json"] = _filled_info(tree["info_video.json"], submission)
    metadata = cast("dict[str, object]", json.loads(tree["task_metadata.json"]))
    metadata["task_id"] = task_id
    metadata["timestamp"] = when.isoformat(timespec="microseconds")
    tree["task_metadata.json"] = _dump(metadata)
    return _after_crash(tree, crash) if crash is not None else tree


def _filled_info(content: bytes, submission: AcceptedTask) -> bytes:
    info = cast("dict[str, object]", json.loads(content))
    parameters = submission.parameters
    ids = {
        name: str(parameters[name])
        for name in ("video_id", "video_slug", "video_title")
        if parameters.get(name) is not None
    }
    transcription = cast("dict[str, object] | None", info.get("transcription"))
    if transcription is None:
        if parameters.get("cut"):
            info["cut_applied"] = True
        tail_keys = ("encode_video", "encode_thumbnail", "encode_overview", "encode_audio", "encode_result")
        tail = {key: info.pop(key) for key in tail_keys if key in info}
        return _dump({**info, **ids, **tail})
    wanted = str(parameters.get("language") or "auto")
    transcription["requested_subtitle_language"] = wanted
    transcription["requested_source_language"] = str(parameters.get("source_language") or "auto")
    final = "fr" if wanted == "auto" else wanted
    transcription["detected_source_language"] = transcription["final_subtitle_language"] = final
    translation = cast("dict[str, object]", transcription["translation"])
    translation["source_language"] = translation["target_language"] = final
    return _dump({**ids, **info}, ascii_only=False)


def _after_crash(tree: dict[str, bytes], crash: Crash) -> dict[str, bytes]:
    """What is left of a tree when the runner went down during ffmpeg, then called the task completed."""
    info = cast("dict[str, object]", json.loads(tree["info_video.json"]))
    if crash is Crash.EARLY:
        kept = {name: content[: len(content) // 2] for name, content in tree.items() if name.endswith(".ts")}
        info = {key: value for key, value in info.items() if not key.startswith("encode_")}
    else:
        lost = (".mp3", ".m4a", ".vtt", "overview.png", "task_metadata.json")
        kept = {name: content for name, content in tree.items() if not name.endswith(lost)}
        info = {
            key: info[key] for key in info if key not in ("encode_overview", "encode_audio", "encode_result")
        }
    kept["encoding.log"] = tree.get("encoding.log", b"")
    kept["info_video.json"] = _dump(info)
    return kept


def _dump(value: object, *, ascii_only: bool = True) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=ascii_only).encode()
