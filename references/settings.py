"""The page about the configuration."""

from collections.abc import Iterator

from poddispatchd.config.example import shown_default
from poddispatchd.config.keys import KeyPath, known_keys
from poddispatchd.config.loading import DEFAULT_PATH, variable
from poddispatchd.config.model import Settings
from poddispatchd.config.section import Section, fields_of
from poddispatchd.config.showing import settings_as_dict
from references.markdown import code, prose


def page() -> str:
    """Every setting with its default."""
    head = (
        "# Settings\n\n"
        f"`{DEFAULT_PATH}`, or the file that `-c` or `PODDISPATCHD_CONFIG` names. Unknown keys are errors. "
        "Durations are written `30s`, `5m`, `2h` or `60d`, sizes `512B`, `64KiB`, `8MiB` or `200GiB`. "
        "`poddispatchd check` finds what is wrong, `poddispatchd config show` prints what is in effect.\n\n"
        "Stronger than the file: a systemd credential named `section.key` "
        "(`LoadCredential=database.dsn:/path`), and stronger still the environment "
        f"(`{variable(('database', 'dsn'))}`).\n"
    )
    return head + "".join(_settings(Settings, settings_as_dict(Settings()), ()))


def _settings(section: type[Section], values: dict[str, object], at: KeyPath) -> Iterator[str]:
    for field in fields_of(section):
        name, inner, value = field.name, field.section, values[field.name]
        path = (*at, name)
        dotted = ".".join(path)
        if inner is not None and isinstance(value, dict):
            yield f"\n## {dotted}\n\n{prose(inner.__doc__ or '')}\n"
            yield from _settings(inner, value, path)
        else:
            secret = " Never shown." if known_keys()[path].is_secret else ""
            yield f"\n### {dotted}\n\n{prose(field.description)}.{secret}\n"
            yield f"\nDefault: {code(shown_default(value))}\n"
