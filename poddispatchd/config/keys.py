"""The keys of the configuration, found in the model: what exists, what takes a secret, what was meant."""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import get_args

from msgspec import Struct

from poddispatchd.config.model import Settings
from poddispatchd.config.section import Field, Section, fields_of
from poddispatchd.config.validation import KeyPath, read_value
from poddispatchd.domain.secret import SecretStr

__all__ = ["Key", "KeyPath", "changed_keys", "known_keys", "known_sections", "names_in", "suggestion"]

_NO_NAME = re.compile(r"[^\w.-]")


class Key(Struct, frozen=True):
    """One setting: where it stands and what its section says about it."""

    path: KeyPath
    field: Field

    @property
    def dotted(self) -> str:
        """The key as people write it: ``webhook.listen``."""
        return ".".join(self.path)

    @property
    def is_secret(self) -> bool:
        """Whether its value must never be shown."""
        return _holds(self.field.annotation, SecretStr)

    @property
    def takes_null(self) -> bool:
        """Whether ``null`` is one of its values."""
        return _holds(self.field.annotation, type(None))

    def accepts(self, value: object) -> bool:
        """Whether the value by itself is one this setting can take."""
        _, findings = read_value(self.field.annotation, value)
        return not findings


def names_in(path: KeyPath) -> str:
    """A key as far as it is a name: without a space behind its colon a value, or a secret, is part of it."""
    parts = [(part, _NO_NAME.split(part, maxsplit=1)) for part in path]
    return ".".join(part if part == name else f"{name}…" for part, (name, *_) in parts)


def _holds(annotation: object, kind: type) -> bool:
    """Whether a type is this one, or has it as a part."""
    return annotation is kind or any(_holds(part, kind) for part in get_args(annotation))


def _walk(section: type[Section], at: KeyPath) -> Iterator[tuple[KeyPath, Key | None]]:
    for field in fields_of(section):
        path = (*at, field.name)
        if field.section is None:
            yield path, Key(path, field)
        else:
            yield path, None
            yield from _walk(field.section, path)


@cache
def known_keys() -> Mapping[KeyPath, Key]:
    """Every setting there is, by its path, in the order of the model."""
    return MappingProxyType({path: key for path, key in _walk(Settings, ()) if key is not None})


@cache
def known_sections() -> frozenset[KeyPath]:
    """The path of every section."""
    return frozenset(path for path, key in _walk(Settings, ()) if key is None)


def changed_keys(old: Settings, new: Settings, *, within: Collection[str] | None = None) -> tuple[str, ...]:
    """The settings that differ, in the order of the model; ``within`` names the sections looked at."""
    return tuple(
        key.dotted
        for path, key in known_keys().items()
        if (within is None or path[0] in within) and _at(old, path) != _at(new, path)
    )


def _at(settings: Settings, path: KeyPath) -> object:
    value: object = settings
    for name in path:
        value = getattr(value, name)
    return value


def suggestion(path: KeyPath) -> str:
    """What was probably meant by a key that does not exist, as words to append; empty when nobody can tell.

    Looked for in this order: the same name in another section, a similar name in the same section, a similar
    name anywhere. Names of Pod's own settings are in capitals: they are compared without regard to case.
    """
    name = path[-1].lower()
    section = tuple(part.lower() for part in path[:-1])
    keys = known_keys()
    everywhere: dict[str, list[str]] = {}
    for known, key in keys.items():
        everywhere.setdefault(known[-1], []).append(key.dotted)
    if not section:
        # A section is meant only where one can stand.
        everywhere.update({known[-1]: [".".join(known)] for known in known_sections()})
    if name in everywhere and len(everywhere[name]) <= 3:
        return _did_you_mean(everywhere[name])
    beside = [known[-1] for known in (*keys, *known_sections()) if known[:-1] == section]
    near = difflib.get_close_matches(name, beside, n=1, cutoff=0.6)
    if near:
        return _did_you_mean([".".join((*section, near[0]))])
    if section and section not in known_sections():
        dotted = [key.dotted for key in keys.values()]
        return _did_you_mean(difflib.get_close_matches(".".join((*section, name)), dotted, n=1, cutoff=0.7))
    near = difflib.get_close_matches(name, list(everywhere), n=1, cutoff=0.75)
    return _did_you_mean(everywhere[near[0]]) if near and len(everywhere[near[0]]) <= 3 else ""


def _did_you_mean(candidates: list[str]) -> str:
    return f"; did you mean {' or '.join(candidates)}?" if candidates else ""
