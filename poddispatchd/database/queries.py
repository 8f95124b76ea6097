"""Named queries: every statement lives in a ``.sql`` file with a name and one line that describes it."""

import re
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_PACKAGE = __name__.partition(".")[0]

_NAME = re.compile(r"^--\s*name:\s*(?P<name>\w+)\s*$", re.MULTILINE)
_PLACE = re.compile(r"\{(\w+)\}")
_TOKEN = re.compile(
    r"""
      [eE]'(?:[^'\\]|''|\\.)*'          # strings, with escapes
    | '(?:[^']|'')*'                    # and without
    | "(?:[^"]|"")*"                    # identifiers
    | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$   # texts in dollars
    | --[^\n]* | /\*.*?\*/              # comments
    | ::                                # casts
    | :(?P<parameter>[a-z_][a-z0-9_]*)
    """,
    re.VERBOSE | re.DOTALL,
)


class Query:
    """A statement with named parameters, written ``:name``; a call gives them their values.

    ::

        await connection.fetch(*_QUERIES["of_task"](task=pk))

    A name that stands several times is one parameter. Strings, comments and casts are left alone.

    Attributes:
        source: the text as it stands in its file.
    """

    def __init__(self, source: str) -> None:
        self.source = source

    @cached_property
    def sql(self) -> str:
        """The same for PostgreSQL, with numbered parameters.

        Always the same text, so that a prepared statement is found again.
        """
        return _numbered(self.source)[0]

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Their names, in the order of their numbers."""
        return _numbered(self.source)[1]

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.parameters)

    def __call__(self, **values: object) -> tuple[str, *tuple[object, ...]]:
        """The statement and its arguments, as a connection takes them.

        Raises:
            TypeError: the statement has other parameters.
        """
        if values.keys() != self._names:
            raise TypeError(
                f"the statement takes {', '.join(self.parameters) or 'no parameters'}, "
                f"and was given {', '.join(values) or 'none'}: {self.source[:80]!r}"
            )
        # By name up to here, by number from here on: PostgreSQL knows numbers only.
        return self.sql, *(values[name] for name in self.parameters)

    def fill(self, **parts: "Query | str") -> "Query":
        """The statement with these texts at the places that are called so: ``{like_this}``.

        Other places stay, for a later call.
        """
        texts = {name: part if isinstance(part, str) else part.source for name, part in parts.items()}
        return Query(_PLACE.sub(lambda match: texts.get(match[1], match[0]), self.source))


@lru_cache(maxsize=1024)
def _numbered(source: str) -> tuple[str, tuple[str, ...]]:
    """Found out when a statement is first used: it takes longer than reading it, and most are seldom used."""
    numbers: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        name = match["parameter"]
        return match[0] if name is None else f"${numbers.setdefault(name, len(numbers) + 1)}"

    return _TOKEN.sub(number, source), tuple(numbers)


def load_queries(package: str, file: str) -> Mapping[str, Query]:
    """The queries of one SQL file of a package, by name.

    A query starts at a line ``-- name: some_name`` and ends before the next one. Identifiers that differ
    between Pods (the table of custom images, say) are written ``{like_this}`` and filled in with ``render``.

    Raises:
        ValueError: a name stands twice, or text stands before the first name.
    """
    path = _ROOT.joinpath(*package.removeprefix(_PACKAGE).split("."), "sql", file)
    text = path.read_text(encoding="utf-8")
    head, *parts = _NAME.split(text)
    if any(line.strip() and not line.startswith("--") for line in head.splitlines()):
        raise ValueError(f"{package}/sql/{file}: statements before the first '-- name:' line")
    queries: dict[str, Query] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in queries:
            raise ValueError(f"{package}/sql/{file}: query {name!r} stands twice")
        queries[name] = Query(body.strip().rstrip(";"))
    return queries


@lru_cache(maxsize=128)
def render(query: Query, **identifiers: str) -> Query:
    """Fill in the ``{identifier}`` places of a query, each quoted as PostgreSQL quotes identifiers."""
    return query.fill(**{key: '"' + value.replace('"', '""') + '"' for key, value in identifiers.items()})
