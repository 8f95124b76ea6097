"""What comments, docstrings and pages name exists: a name that was changed is changed there, too."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from keyword import iskeyword
from pathlib import Path

from poddispatchd.config.keys import known_keys, known_sections
from poddispatchd.observability.events import Event
from tests.unit.sources import PACKAGE, Source, sources

ROOT = PACKAGE.parent
_PLACES = ("benchmarks", "chaos", "docs", "fuzz", "packaging", "poddispatchd", "references", "soak", "tests")
_PAGES = (
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if path.parent.name != "reference"),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
)

_OF_OTHERS = {
    "manage.py",
    "settings.py",
    "settings_local.py",
    "poddispatchd/database/migrations/NNNN_name.sql",
}
"""Files of Pod's, and one that is an example."""

_WORDS_OF_OTHERS = {"WxH", "buffer", "import_task_result", "zh_hans"}
"""Names in Pod, in Python and of languages."""

_FILE = re.compile(r"(?<![\w./<{-])((?:\w+/)*\w+\.py|(?:\w+/)+\w+\.sql)\b")
_MODULE = re.compile(r"`([a-z_]+(?:[./][a-z_]+)+)(?:\.[A-Z_]+)?/?`")
_WORD = re.compile(r"``([A-Za-z_]{2,})``")


@cache
def _files() -> frozenset[str]:
    """All our modules and statements, each also by every end of its path."""
    found: set[str] = set()
    for place in _PLACES:
        for path in (ROOT / place).rglob("*.*"):
            if path.suffix in (".py", ".sql"):
                parts = path.relative_to(ROOT).parts
                found.update("/".join(parts[first:]) for first in range(len(parts)))
    return frozenset(found)


def _texts() -> Iterator[Path]:
    for place in _PLACES:
        yield from sorted((ROOT / place).rglob("*.py"))
    yield from (*_PAGES, ROOT / "pyproject.toml", ROOT / "Makefile")


def test_every_file_of_ours_that_is_named_anywhere_exists() -> None:
    """In tests, what has no directory before it may be made up."""
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in _texts()
        for name in _FILE.findall(path.read_text(encoding="utf-8"))
        if name not in _files() | _OF_OTHERS and ("/" in name or "tests" not in path.parts)
    ]
    assert missing == []


def test_every_module_that_a_page_or_a_docstring_names_exists() -> None:
    texts = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in _PAGES}
    texts |= {source.name: source.text for source in sources()}
    assert {name: found for name, text in texts.items() if (found := _unknown_modules(text))} == {}


def _unknown_modules(text: str) -> list[str]:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    named = (name.replace("/", ".") for name in _MODULE.findall(text))
    return [
        name
        for name in named
        if name.partition(".")[0] in rooms and not _is_module(name) and not _is_something_else(name)
    ]


def _is_module(name: str) -> bool:
    """Whether it is a module, a package, or what one defines."""
    path = PACKAGE.joinpath(*name.split("."))
    if path.is_dir() or path.with_suffix(".py").exists():
        return True
    module = path.parent.with_suffix(".py")
    return module.exists() and re.search(rf"\b{path.name}\b", module.read_text(encoding="utf-8")) is not None


@cache
def _settings() -> frozenset[str]:
    return frozenset(
        {key.dotted for key in known_keys().values()} | {".".join(path) for path in known_sections()}
    )


def _is_something_else(name: str) -> bool:
    """A setting, an event, or a file that is no module."""
    return name in {*_settings(), *Event} or name.endswith((".py", ".sql", ".yaml", ".example"))


def test_every_name_in_a_docstring_is_one_of_the_package() -> None:
    known = _names()
    unknown = [
        f"{source.name}: {word}"
        for source in sources()
        for docstring in _docstrings(source)
        for word in _WORD.findall(str(docstring.value))
        if word not in known and not iskeyword(word) and not word.startswith("PODDISPATCHD_")
    ]
    assert unknown == []


def _docstrings(source: Source) -> Iterator[ast.Constant]:
    """Of the module, its classes and functions, and of what is documented behind its definition."""
    for node in source.nodes:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def _names() -> set[str]:
    """What is defined, used, or written into texts and statements."""
    found = {*_WORDS_OF_OTHERS}
    for path in PACKAGE.rglob("*.*"):
        if path.suffix in (".sql", ".j2", ".js"):
            found.update(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    for source in sources():
        found.update(Path(source.name).with_suffix("").parts)
        documented = {id(docstring) for docstring in _docstrings(source)}
        for node in source.nodes:
            match node:
                case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                    found.add(name)
                case ast.keyword(arg=str(name)):
                    found.add(name)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    found.add(name)
                case ast.Constant(value=str(text)) if id(node) not in documented:
                    found.update(re.findall(r"\w+", text))
    return found
