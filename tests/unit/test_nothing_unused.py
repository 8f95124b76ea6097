"""Nothing is kept that nobody uses: statements, events, metrics, settings."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import poddispatchd
from poddispatchd.observability.events import Event

_PACKAGE = Path(poddispatchd.__file__).parent
_NAME = re.compile(r"^--\s*name:\s*(\w+)\s*$", re.MULTILINE)
_STATEMENTS = sorted(path for path in _PACKAGE.rglob("sql/*.sql") if "sandbox" not in path.parts)


@cache
def _modules() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(_PACKAGE.rglob("*.py"))}


@cache
def _words(path: Path) -> frozenset[str]:
    return frozenset(
        node.value
        for node in ast.walk(_modules()[path])
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _attributes(path: Path) -> Iterator[str]:
    return (node.attr for node in ast.walk(_modules()[path]) if isinstance(node, ast.Attribute))


def _loads(path: Path, statements: Path) -> bool:
    """Whether a module loads a file of statements: by its name, from the package whose it is."""
    if statements.name not in _words(path):
        return False
    room = statements.parent.parent
    return path.parent == room or f"poddispatchd.{'.'.join(room.relative_to(_PACKAGE).parts)}" in _words(path)


def _imports_from(path: Path, modules: set[Path]) -> bool:
    names = {
        ".".join(["poddispatchd", *each.relative_to(_PACKAGE).with_suffix("").parts]) for each in modules
    }
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module in names
        and any(alias.name.endswith("QUERIES") for alias in node.names)
        for node in ast.walk(_modules()[path])
    )


@pytest.mark.parametrize("statements", _STATEMENTS, ids=lambda path: str(path.relative_to(_PACKAGE)))
def test_every_named_statement_is_used(statements: Path) -> None:
    users = {path for path in _modules() if _loads(path, statements)}
    users |= {path for path in _modules() if _imports_from(path, users)}
    used = {word for path in users for word in _words(path)}
    # A statement may be a part of others, written {so}.
    parts = set(re.findall(r"\{(\w+)\}", "".join(path.read_text("utf-8") for path in _STATEMENTS)))

    assert users, "no module loads it"
    assert set(_NAME.findall(statements.read_text(encoding="utf-8"))) <= used | parts


def test_every_event_is_logged_somewhere() -> None:
    logged = {
        name
        for path in _modules()
        if path.name != "events.py"
        for name in _attributes(path)
        if name in Event.__members__
    }

    assert logged == set(Event.__members__)


def _names_set_on_self(file: str) -> set[str]:
    return {
        target.attr
        for node in ast.walk(_modules()[_PACKAGE / file])
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Attribute)
    }


def test_every_metric_is_written_somewhere() -> None:
    metrics = _names_set_on_self("observability/metrics.py") - {"registry"}
    elsewhere = {name for path in _modules() if path.name != "metrics.py" for name in _attributes(path)}

    assert len(metrics) > 40
    assert metrics <= elsewhere


def test_every_setting_is_read_somewhere() -> None:
    settings = {
        node.target.id
        for node in ast.walk(_modules()[_PACKAGE / "config" / "model.py"])
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    read = {name for path in _modules() if path.name != "model.py" for name in _attributes(path)}

    assert len(settings) > 80
    assert settings <= read


def test_every_error_is_raised_or_is_what_others_are() -> None:
    classes = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for node in ast.walk(_modules()[_PACKAGE / "errors.py"])
        if isinstance(node, ast.ClassDef)
    }
    made = {
        node.id
        for path in _modules()
        for node in ast.walk(_modules()[path])
        if isinstance(node, ast.Name) and path.name != "errors.py"
    }

    assert set(classes) <= made | set().union(*classes.values())
