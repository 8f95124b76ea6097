"""One recorded import replayed and judged, callback after callback."""

from collections.abc import Mapping

from tests.integration.pod.imports.changes import Changes, actual_changes, compare
from tests.integration.pod.imports.expected import Deviation, wanted_changes
from tests.integration.pod.imports.replay import Replay, replaying
from tests.integration.pod.imports.vectors import TASK, load, steps
from tests.plugins.shared_world import SharedWorldFactory
from tests.recorded.manager import Request
from tests.recorded.values import Json, items, mapping, text

_TASK_ROW = f"runner_manager_task {TASK}"
_LOG = "video_encode_transcript_encodinglog"
_STEP = "video_encode_transcript_encodingstep"
_TOLD = ("runner_manager_task", "video_video", "recorder_recording", _LOG, _STEP)
"""Tables whose rows tell people of a failure."""

AS_RECORDED = Deviation("none")


async def replay(
    shared_world: SharedWorldFactory,
    name: str,
    deviations: Mapping[str, Deviation],
    *,
    general: Deviation = AS_RECORDED,
    **pod: Json,
) -> None:
    """Replay a case: every callback ends as Pod's does, or as a deviation says.

    Args:
        shared_world: makes copies of the recorded Pod.
        name: ``case/variant``.
        deviations: by ``case`` or ``case/variant``; by ``case again`` for its second callback.
        general: how every import of this type differs.
        **pod: settings that replace the recorded ones.
    """
    case = load(name)
    identifier = text(case["id"])
    known = [deviations.get(name) or deviations.get(identifier), deviations.get(f"{identifier} again")]
    async with replaying(shared_world, case, **pod) as here:
        for number, stimulus in enumerate(map(mapping, items(case["stimulus"]))):
            if stimulus["do"] == "runner":
                here.manager.replace(stimulus["runner"])
            else:
                await _replay(here, case, number, general, known[number > 0] or AS_RECORDED)


async def _replay(
    here: Replay, case: Mapping[str, Json], number: int, general: Deviation, deviation: Deviation
) -> None:
    before, asked = await here.snapshot(), len(here.manager.requests)
    stimulus = mapping(items(case["stimulus"])[number])
    assert await here.callback(stimulus) == (200, {"status": "OK"})
    await here.settle()
    if deviation.waits:
        reason = await here.waiting()
        assert (await here.snapshot()).files == before.files
        _assert_words(reason, deviation.fails)
        await here.a_day_later()
    changes = actual_changes(before, await here.snapshot(), here.world.media_root)
    if deviation.fails:
        _assert_failed(changes, deviation.fails)
        return
    wanted = wanted_changes(case, number, (general, deviation))
    if general.other_log or deviation.other_log:
        for side in (changes, wanted):
            _forget_log(side)
    _assert_none(compare(changes, wanted))
    _assert_asked(here.manager.requests[asked:], steps(case)[number], deviation)


def _assert_failed(changes: Changes, words: tuple[str, ...]) -> None:
    """The task failed, its video and its recording say why, and nothing else has changed."""
    task = changes.updated[_TASK_ROW]
    assert task["status"] == "failed"
    _assert_words(text(task["script_output"]), ("Its result cannot be imported: ", *words))
    rows = [row for rows in (*changes.inserted.values(), [*changes.updated.values()]) for row in rows]
    for row in rows:
        assert row.get("num_step", -1) == -1
        for column in ("desc_step", "log", "comment"):
            if column in row:
                _assert_words(text(row[column]), words)
    touched = {*changes.inserted, *(key.rpartition(" ")[0] for key in changes.updated)}
    assert touched <= {*_TOLD}
    assert touched >= {_STEP, _LOG} or "recorder_recording" in touched or "video_video" not in touched
    changes.inserted.clear()
    changes.updated.clear()
    _assert_none(compare(changes, Changes()))


def _assert_words(told: str, words: tuple[str, ...]) -> None:
    for word in words:
        assert word in told


def _assert_asked(requests: list[Request], expect: Mapping[str, Json], deviation: Deviation) -> None:
    """The list of files is asked for first, each file once more often than it broke off, with the token."""
    recorded = [text(path) for path in items(expect.get("runner_get_requests") or [])]
    asked = [request.path for request in requests]
    wanted = (
        recorded[1:] if deviation.asks is None else [f"{recorded[0]}/file/{name}" for name in deviation.asks]
    )
    assert (asked[:1], sorted(asked[1:])) == (recorded[:1], sorted(wanted))
    for request in requests:
        kind = "file" if "/file/" in request.path else "manifest"
        # Pod may never have come as far; and a question without a body has no type, whatever Pod says.
        for name, value in mapping(mapping(expect["runner_get_headers"])[kind] or {}).items():
            assert request.headers.get(name.lower()) == (None if name == "Content-Type" else value)


def _forget_log(changes: Changes) -> None:
    for row in changes.inserted.get(_LOG, []):
        row["log"] = "…"
    for key, row in changes.updated.items():
        if key.startswith(_LOG):
            row["log"] = "…"


def _assert_none(differences: list[str]) -> None:
    assert not differences, "\n".join(["", *differences])
