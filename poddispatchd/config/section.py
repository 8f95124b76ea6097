"""What all sections of the settings have in common: they are frozen, with types of their own."""

from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict

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


TimeZone = Annotated[str, AfterValidator(_time_zone)]
"""A name of the time zone database: ``Europe/Paris``."""

AbsolutePath = Annotated[Path, AfterValidator(_absolute)]

Mailbox = Annotated[str, AfterValidator(mailbox)]
"""A sender: ``pod@example.org`` or ``Pod <pod@example.org>``; empty: none."""

MailAddress = Annotated[str, AfterValidator(bare_address)]
"""A recipient: ``someone@example.org``."""


def _subscription(kind: EventType) -> EventType:
    if kind not in Subscribable:
        raise ValueError("this one is sent by 'poddispatchd events test' only")
    return kind


Subscription = Annotated[EventType, AfterValidator(_subscription)]
"""A type of events that can be asked for."""


class Section(BaseModel):
    """Settings are frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
