"""Named queries: every statement lives in a ``.sql`` file with a name and one line that describes it."""

import re
from collections.abc import Mapping
from importlib.resources import files

_NAME = re.compile(r"^--\s*name:\s*(?P<name>\w+)\s*$", re.MULTILINE)


def load_queries(package: str, file: str) -> Mapping[str, str]:
    """The queries of one SQL file of a package, by name.

    A query starts at a line ``-- name: some_name`` and ends before the next one. Identifiers that differ
    between Pods (the table of custom images, say) are written ``{like_this}`` and filled in with ``render``.

    Raises:
        ValueError: a name stands twice, or text stands before the first name.
    """
    text = files(package).joinpath("sql", file).read_text(encoding="utf-8")
    head, *parts = _NAME.split(text)
    if any(line.strip() and not line.startswith("--") for line in head.splitlines()):
        raise ValueError(f"{package}/sql/{file}: statements before the first '-- name:' line")
    queries: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in queries:
            raise ValueError(f"{package}/sql/{file}: query {name!r} stands twice")
        queries[name] = body.strip().rstrip(";")
    return queries


def render(query: str, **identifiers: str) -> str:
    """Fill in the ``{identifier}`` places of a query, each quoted as PostgreSQL quotes identifiers."""
    quoted = {key: '"' + value.replace('"', '""') + '"' for key, value in identifiers.items()}
    return re.sub(r"\{(\w+)\}", lambda match: quoted[match[1]], query)
