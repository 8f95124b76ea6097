"""Statements with named parameters: what PostgreSQL gets, and that every call gives what they take."""

import ast
import importlib
import re
from collections.abc import Iterable, Iterator, Mapping

import pytest

from poddispatchd.database.queries import Query, render
from tests.unit.sources import PACKAGE, sources


def test_a_name_becomes_a_number_and_its_value_the_argument_with_that_number() -> None:
    query = Query("SELECT * FROM task WHERE status = :status AND id > :after LIMIT :limit")

    assert query.sql == "SELECT * FROM task WHERE status = $1 AND id > $2 LIMIT $3"
    assert query(limit=5, after=7, status="pending") == (query.sql, "pending", 7, 5)


def test_a_name_that_stands_twice_is_one_parameter() -> None:
    query = Query("SELECT :task::bigint, :task")

    assert query(task=1) == ("SELECT $1::bigint, $1", 1)


@pytest.mark.parametrize(
    "text",
    [
        "'at 12:30, it''s :late'",
        r"E'\':not\n' || 'me'",
        '"a column:name"',
        "$$ SELECT :inside $$",
        "$body$ :a $$ :b $body$",
        "id::text::inet",
        "-- what :is said",
        "/* and\n:not meant */",
        "names[1:2]",
    ],
)
def test_strings_casts_and_comments_are_left_alone(text: str) -> None:
    query = Query(f"SELECT {text}\n, :real")

    assert query.sql == f"SELECT {text}\n, $1"
    assert query.parameters == ("real",)


@pytest.mark.parametrize(
    "values", [{}, {"task": 1}, {"tasks": [1], "limit": 1}, {"task": 1, "limit": 1, "x": 1}]
)
def test_a_call_with_other_names_is_refused_in_words(values: Mapping[str, object]) -> None:
    with pytest.raises(TypeError, match="takes task, limit, and was given"):
        Query("SELECT :task LIMIT :limit")(**values)


def test_parts_bring_their_parameters_with_them() -> None:
    part = Query("other.id <> :task")
    query = Query("SELECT FROM {table} AS other WHERE {part} LIMIT :limit").fill(part=part)

    assert render(query, table='odd"name')(limit=1, task=2) == (
        'SELECT FROM "odd""name" AS other WHERE other.id <> $1 LIMIT $2',
        2,
        1,
    )


def test_a_backslash_stands_only_in_strings_that_say_so() -> None:
    """With `standard_conforming_strings` off it was an escape, and `check` ended there."""
    files = PACKAGE.rglob("*.sql")
    plain = {
        (file.name, string)
        for file in files
        for is_escaped, string in re.findall(
            r"(E?)('(?:[^']|'')*')", _without_comments(file.read_text("utf-8"))
        )
        if "\\" in string and not is_escaped
    }
    assert not plain


def _without_comments(text: str) -> str:
    return "\n".join(line.partition("--")[0] for line in text.splitlines())


def test_a_statement_is_the_same_text_every_time() -> None:
    query = Query("SELECT FROM {table} WHERE id = :id")

    assert render(query, table="a").sql is render(query, table="a").sql


def _calls(nodes: Iterable[ast.AST]) -> Iterator[tuple[ast.Call, str, str]]:
    """Every call of a statement by its name: ``_QUERIES["name"](...)``, or ``self._sql["name"](...)``."""
    for node in nodes:
        match node:
            case ast.Call(func=ast.Subscript(value=ast.Name(id=table), slice=ast.Constant(value=str(name)))):
                yield node, table, name
            case ast.Call(
                func=ast.Subscript(value=ast.Attribute(attr="_sql"), slice=ast.Constant(value=str(name)))
            ):
                yield node, "_QUERIES", name


def _fits(call: ast.Call, query: Query) -> bool:
    """Whether a call names what its statement takes, and nothing else."""
    given = {keyword.arg for keyword in call.keywords}
    if None in given:  # some of them come as a mapping
        return not call.args and given - {None} <= set(query.parameters)
    return not call.args and given == set(query.parameters)


def test_every_call_gives_the_parameters_that_its_statement_names() -> None:
    modules = [source for source in sources() if "QUERIES[" in source.text or "_sql[" in source.text]
    calls = [(source, *call) for source in modules for call in _calls(source.nodes)]
    assert len(modules) > 25
    assert len(calls) > 120, "statements that are not named in full are not found here"
    wrong = [
        f"{source.name}:{call.lineno} {name}"
        for source, call, table, name in calls
        if not _fits(call, getattr(importlib.import_module(source.dotted), table)[name])
    ]
    assert wrong == []
