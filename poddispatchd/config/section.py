"""What all sections of the settings have in common: they are frozen, with types of their own."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from poddispatchd.config.validation import Checked, KeyPath, Means, UnfitValue, notes_of, read_value
from poddispatchd.domain.mail_addresses import bare_address, mailbox
from poddispatchd.domain.outgoing_events import EventType, Subscribable


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("write a time zone name, as Europe/Paris") from None
    return name


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("write an absolute path")
    return path


TimeZone = Annotated[str, Checked(_time_zone)]
"""A name of the time zone database: ``Europe/Paris``."""

AbsolutePath = Annotated[Path, Checked(_absolute)]

Mailbox = Annotated[str, Checked(mailbox)]
"""A sender: ``pod@example.org`` or ``Pod <pod@example.org>``; empty: none."""

MailAddress = Annotated[str, Checked(bare_address)]
"""A recipient: ``someone@example.org``."""


def _subscription(kind: EventType) -> EventType:
    if kind not in Subscribable:
        raise ValueError("this one is sent by 'poddispatchd events test' only")
    return kind


Subscription = Annotated[EventType, Checked(_subscription)]
"""A type of events that can be asked for."""


class UnfitSettingsError(ValueError):
    """Plain data that is no settings; ``findings`` are all that is wrong with it."""

    def __init__(self, findings: list[UnfitValue]) -> None:
        self.findings = findings
        super().__init__(
            "; ".join(f"{'.'.join(each.path)}: {each.words or 'unknown key'}" for each in findings)
        )


class Section(Struct, frozen=True):
    """Settings are frozen, and unknown keys are errors. What is made without ``read`` is not looked at."""

    @classmethod
    def read(cls, data: object) -> Self:
        """The settings that plain data stands for; what it leaves out has its default.

        Raises:
            UnfitSettingsError: with everything that is wrong.
        """
        section, findings = _read(cls, data, ())
        if findings:
            raise UnfitSettingsError(findings)
        assert isinstance(section, cls)  # noqa: S101 - nothing is wrong with it
        return section


class Field(Struct, frozen=True):
    """One key of a section: its type, and the section that it is if it is one."""

    name: str
    annotation: object
    section: type[Section] | None

    @property
    def description(self) -> str:
        """What it means."""
        _, notes = notes_of(self.annotation)
        return next((note.description for note in notes if isinstance(note, Means)), "")


@cache
def fields_of(section: type[Section]) -> tuple[Field, ...]:
    """The keys of a section, in its order."""
    kinds = section.__annotations__.items()
    return tuple(Field(name, kind, _as_section(kind)) for name, kind in kinds)


def _as_section(kind: object) -> type[Section] | None:
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _read(section: type[Section], data: object, at: KeyPath) -> tuple[object, list[UnfitValue]]:
    if isinstance(data, section):
        return data, []
    if not isinstance(data, Mapping):
        return None, [UnfitValue(at, "write its keys below it, indented", data)]
    values: dict[str, object] = {}
    findings: list[UnfitValue] = []
    for field in fields_of(section):
        if field.name in data:
            value, path = data[field.name], (*at, field.name)
            if field.section is None:
                values[field.name], found = read_value(field.annotation, value, path)
            else:
                values[field.name], found = _read(field.section, value, path)
            findings += found
    findings += [UnfitValue((*at, str(name)), "") for name in data if name not in section.__struct_fields__]
    return None if findings else section(**values), findings
