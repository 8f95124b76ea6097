"""The package as text: read and parsed once for all tests that look at it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import poddispatchd

PACKAGE = Path(poddispatchd.__file__).parent


@dataclass(frozen=True)
class Source:
    """A module: its path below the package, and its text."""

    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The module as Python's parser understands it."""
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """All that the module consists of, in the order of ``ast.walk``."""
        return tuple(ast.walk(self.tree))

    @property
    def dotted(self) -> str:
        """How it is imported."""
        return ".".join(("poddispatchd", *Path(self.name).with_suffix("").parts))


@cache
def sources() -> tuple[Source, ...]:
    """Every module, in the order of their names."""
    return tuple(
        Source(path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    )


def of_the_product() -> Iterator[Source]:
    """Every module but those of the sandbox."""
    return (source for source in sources() if not source.name.startswith("sandbox/"))
