"""The keys of the configuration, found in the model: what exists, what takes a secret, what was meant."""

import difflib
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import get_args

from msgspec import Struct
from pydantic import BaseModel, PlainSerializer, SecretBytes, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from poddispatchd.config.model import Settings
from poddispatchd.config.units import format_duration, format_size

KeyPath = tuple[str, ...]


class Key(Struct, frozen=True):
    """One setting: where it stands and what its model says about it."""

    path: KeyPath
    model: type[BaseModel]
    field: FieldInfo

    @property
    def dotted(self) -> str:
        """The key as people write it: ``webhook.listen``."""
        return ".".join(self.path)

    @property
    def is_secret(self) -> bool:
        """Whether its value must never be shown."""
        return _holds(self.field.annotation, (SecretStr, SecretBytes))

    @property
    def takes_null(self) -> bool:
        """Whether ``null`` is one of its values."""
        return type(None) in get_args(self.field.annotation)

    def accepts(self, value: object) -> bool:
        """Whether the value by itself is one this setting can take."""
        name = self.path[-1]
        try:
            self.model.model_validate({self.field.alias or name: value})
        except ValidationError as error:
            return not any(finding["loc"][:1] == (name,) for finding in error.errors(include_url=False))
        return True

    def write(self, bound: object) -> str:
        """A value or a bound of this setting with its unit, as people write it."""
        writers: set[object] = {
            data.func for data in self.field.metadata if isinstance(data, PlainSerializer)
        }
        if format_duration in writers:
            return format_duration(float(str(bound)))
        return format_size(int(str(bound))) if format_size in writers else str(bound)


def _holds(annotation: object, kinds: tuple[type, ...]) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, kinds):
        return True
    return any(_holds(part, kinds) for part in get_args(annotation))


def section_model(annotation: object) -> type[BaseModel] | None:
    """The model of a section when a field is one (also ``Section | None``)."""
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _walk(model: type[BaseModel], at: KeyPath) -> Iterator[tuple[KeyPath, Key | None]]:
    for name, field in model.model_fields.items():
        inner = section_model(field.annotation)
        if inner is None:
            yield (*at, name), Key((*at, name), model, field)
        else:
            yield (*at, name), None
            yield from _walk(inner, (*at, name))


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


def _at(settings: BaseModel, path: KeyPath) -> object:
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
