"""The recorded imports of a real Pod: which there are, and what one says."""

import json
from collections.abc import Mapping
from functools import cache

from poddispatchd.domain.task import TaskType
from tests.recorded.values import Json, items, mapping
from tests.shared import SHARED

TASK = 9001
"""The key of the task of every case."""


def cases(task_type: TaskType) -> list[str]:
    """``case/variant`` of every recorded import of a type; empty without the recorded material."""
    return [name for name, of in _types().items() if of == task_type]


@cache
def _types() -> Mapping[str, str]:
    """The type of the task of every case: they are read once, however many ask."""
    if SHARED is None:
        return {}
    return {
        f"{path.parent.name}/{path.name.split('.')[1]}": json.loads(path.read_text())["task_type"]
        for path in sorted((SHARED / "vectors" / "imports").glob("*/case.*.json"))
    }


def load(name: str) -> dict[str, Json]:
    """A case by its ``case/variant``."""
    assert SHARED is not None
    identifier, variant = name.split("/")
    loaded: dict[str, Json] = json.loads(
        (SHARED / "vectors" / "imports" / identifier / f"case.{variant}.json").read_text()
    )
    return loaded


def steps(case: Mapping[str, Json]) -> list[dict[str, Json]]:
    """What Pod did, for each stimulus."""
    expect = case["expect"]
    return [mapping(step) for step in (expect if isinstance(expect, list) else [expect])]


def completed(expect: Mapping[str, Json]) -> bool:
    """Whether Pod completed the task in this step."""
    for entry in map(mapping, items(expect.get("db_diff", []))):
        if entry["table"] == "runner_manager_task" and entry.get("id") == TASK:
            changed = mapping(entry["changes"])
            return items(changed.get("status", [None, None]))[1] == "completed"
    return False
