"""Makes ``config.yaml.example`` from the model."""

import textwrap
from collections.abc import Iterator

import yaml

from poddispatchd.config.keys import KeyPath
from poddispatchd.config.loading import variable
from poddispatchd.config.model import Settings
from poddispatchd.config.section import Section, fields_of
from poddispatchd.config.showing import settings_as_dict

_WIDTH = 100

_LIVE: frozenset[KeyPath] = frozenset({("database", "dsn"), ("pod", "media_root")})
"""The settings nearly every installation has to change: they stand without the comment sign."""

_HEAD = f"""\
Configuration of poddispatchd, usually /etc/poddispatchd/config.yaml.

What is commented out shows the default. Durations are written 30s, 5m, 2h or 60d, sizes 512B, 64KiB, 8MiB
or 200GiB. Unknown keys are errors. `poddispatchd check` finds what is wrong, `poddispatchd config show`
prints all of it.

Stronger than this file: a systemd credential named <section>.<key> (LoadCredential=database.dsn:/path),
and stronger still the environment ({variable(("database", "dsn"))}=…).
"""


def example() -> str:
    """The text of ``config.yaml.example``: every section and key with its meaning and its default."""
    lines = [*_comment(_HEAD, "")]
    lines.extend(_section(Settings, settings_as_dict(Settings()), ()))
    return "\n".join(lines).rstrip() + "\n"


def _section(section: type[Section], values: dict[str, object], at: KeyPath) -> Iterator[str]:
    indent = "  " * len(at)
    for field in fields_of(section):
        name, value = field.name, values[field.name]
        if field.section is not None and isinstance(value, dict):
            yield ""
            yield from _comment(field.section.__doc__ or "", indent)
            yield f"{indent}{name}:"
            yield from _section(field.section, value, (*at, name))
        else:
            yield from _comment(field.description, indent)
            sign = "" if (*at, name) in _LIVE else "#"
            yield f"{indent}{sign}{name}: {shown_default(value)}"


def _comment(text: str, indent: str) -> Iterator[str]:
    for number, paragraph in enumerate(textwrap.dedent(text).strip().split("\n\n")):
        if number:
            yield f"{indent}#"
        for line in textwrap.wrap(
            " ".join(paragraph.split()), _WIDTH - len(indent) - 2, break_on_hyphens=False
        ):
            yield f"{indent}# {line}"


def shown_default(value: object) -> str:
    """A value as it is written behind its key."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False)
    return text.removesuffix("...\n").strip()
